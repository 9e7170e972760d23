"""Suite files: closed, with every mistake named at once; the shipped ones say what the paper printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from lft.evaluate.suite import SUITES, find_suite, load_suite, read_from, suite_names
from lft.evaluate.suite_schema import METRICS, Suite
from lft.evaluate.suite_table import with_tables
from lft.recipe.problems import BadRecipe

GOOD = """\
name: mine
version: 1
about: a test
group: out-of-domain
licence: CC0-1.0
origin: nowhere
data:
  - {path: ./rows.jsonl, lang: en, split: test}
prompt: {en: "Say {input}"}
reference: "{output}"
"""


def wrong(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecipe) as caught:
        load_suite(path)
    return str(caught.value)


def test_the_nine_suites_of_the_issue_are_there() -> None:
    assert set(suite_names()) == {
        "longform", "rgen", "eli5", "writingprompts", "news-multilingual", "length", "mmlu", "technical-docs",
        "academic-abstracts",
    }  # fmt: skip


@pytest.mark.parametrize("name", suite_names())
def test_a_shipped_suite_says_all_that_a_reader_needs(name: str) -> None:
    suite = load_suite(find_suite(name))
    assert suite.name == name
    assert suite.version >= 1
    assert suite.licence
    assert suite.origin
    assert suite.decoding.top_p == 0.9
    assert suite.harness or (suite.data and suite.offline)
    assert all(part.licence == "CC0-1.0" for part in suite.offline)


def test_every_key_has_a_meaning() -> None:
    seen: list[type[BaseModel]] = [Suite]
    for model in seen:
        for field in model.model_fields.values():
            assert field.description, (model, field)
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            seen += [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel) and one not in seen]
    assert len(seen) == 6


def test_all_mistakes_are_named_at_once_with_place_and_nearest_word(tmp_path: Path) -> None:
    said = wrong(
        tmp_path,
        GOOD.replace("licence:", "license:").replace("split: test", "splitt: test")
        + "metrics: [meteorr, bleu]\ndecoding: {top_p: 2}\n",
    )
    assert "mine.yaml:5:1: unknown key 'license'; nearest: 'licence'" in said
    assert "mine.yaml:8:36: unknown key 'splitt' in data[0]; nearest: 'split'" in said
    assert "mine.yaml:11:11: metrics[0]: expected one of" in said
    assert "nearest: 'meteor'" in said
    assert "decoding.top_p" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('prompt: {en: "Say {input}"}', "prompt: {}"), "prompt is missing"),
        (GOOD.replace("Say {input}", "Say {input"), "a template is broken"),
        (GOOD.replace("Say {input}", "Say {input.name}"), "names of columns in braces only"),
        (GOOD.replace("lang: en", "lang: de"), "prompt has no wording for it"),
        (GOOD + "kind: harness\n", "needs the section harness"),
        (GOOD + "harness: {tasks: [mmlu], shots: 5}\n", "does not go with"),
        (
            GOOD + "published: [{model: M, metric: meteorite, score: 1.0, source: S}]\n",
            "no metric is named 'meteorite'; nearest: 'meteor'",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in wrong(tmp_path, text)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(BadRecipe) as caught:
        find_suite("writingpromts")
    assert "nearest: 'writingprompts'" in str(caught.value)


def test_a_suite_of_ones_own_finds_its_rows_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_suite(path).data[0].path == str(tmp_path / "rows.jsonl")
    assert read_from(load_suite(path), "/elsewhere.jsonl").data[0].path == "/elsewhere.jsonl"


def test_overrides_change_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_suite(path, ("decoding.samples=3",)).decoding.samples == 3


@pytest.mark.parametrize(
    ("suite", "model", "score"),
    [
        ("rgen", "Flan-T5", 20.9), ("rgen", "LongForm-LLaMA-7B", 21.7), ("eli5", "OPT-30B", 12.2),
        ("eli5", "LongForm-T5-XL", 18.3), ("writingprompts", "LongForm-OPT-2.7B", 19.9),
        ("writingprompts", "Tk-Instruct", 2.4), ("longform", "Alpaca-LLaMA-7B", 15.2),
        ("longform", "LongForm-OPT-6.7B", 24.2), ("mmlu", "LLaMA-7B on FLAN + LongForm-C", 38.9),
        ("mmlu", "LongForm-QLoRA-7B", 32.1),
    ],
)  # fmt: skip
def test_published_scores_are_the_papers(suite: str, model: str, score: float) -> None:
    found = {one.model: one for one in load_suite(find_suite(suite)).published}
    assert found[model].score == score
    assert found[model].source


def test_suites_name_metrics_that_there_are() -> None:
    assert {"meteor", "s-l", "life", "bits-per-byte", "judge"} <= set(METRICS)
    assert {"s-l", "life"} <= set(load_suite(find_suite("length")).metrics)


def test_the_tables_of_the_documentation_are_up_to_date() -> None:
    document = Path(__file__).parents[2] / "docs" / "evaluation-suites.md"
    text = document.read_text(encoding="utf-8")
    assert text.count("<!-- end -->") == 3
    assert with_tables(text) == text, "run: python scripts/suites_table.py"


def test_the_sets_that_ship_are_small() -> None:
    assert sum(path.stat().st_size for path in SUITES.iterdir()) < 300_000
