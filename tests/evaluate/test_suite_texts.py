"""What suites ask for is not trained on: their texts, and `lft corpus select` cutting copies of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lft.cli.main import run
from lft.evaluate.item import Item
from lft.evaluate.suite import SUITES, find_suite, items_of, load_suite, suite_names
from lft.evaluate.suite_draw import DRAWS, _key
from lft.evaluate.suite_texts import suite_texts, suite_texts_digest
from lft.files import json_lines
from lft.recipe.problems import BadRecipe

NOWHERE = Path("nowhere")
BUILD = """\
name: tried
output: {folder}/out
sources:
  - {{name: mine, kind: jsonl, path: {folder}/documents.jsonl, licence: CC0-1.0}}
select:
  quality: {{min_words: 1, gopher: false, repetition: false, boilerplate: false}}
  language: {{check: false}}
instruct: {{backend: {{kind: transformers, model: none}}}}
"""


def test_every_suite_gives_its_questions_and_answers_without_its_wording() -> None:
    found = [*suite_texts(["all"], NOWHERE)]
    assert {name for name, _ in found} == set(suite_names()) - {"mmlu"}
    texts = [text for name, text in found if name == "news-multilingual"]
    assert len(texts) == 48
    assert not any("Zeitungsartikel" in text for text in texts)
    assert len([*suite_texts(["rgen"], NOWHERE)]) == 24


def test_what_was_drawn_from_the_hub_is_looked_for_too(tmp_path: Path) -> None:
    suite = load_suite(find_suite("eli5"))
    part = next(one for one in suite.data)
    item = Item("0" * 16, "en", "s", "", "why is the sky so blue", "", "because of how light is scattered")
    draw = tmp_path / DRAWS / _key(part, suite) / f"{'a' * 40}.json"
    draw.parent.mkdir(parents=True)
    before = suite_texts_digest(tmp_path)
    draw.write_text(json.dumps({"items": [asdict(item)], "left_out": {}, "place": "x"}))
    new = {text for _, text in suite_texts(["eli5"], tmp_path)} - {text for _, text in suite_texts(["eli5"], NOWHERE)}
    assert new == {item.instruction, item.reference}
    assert suite_texts_digest(tmp_path) != before


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(BadRecipe, match="nearest: 'rgen'"):
        suite_texts(["rgn"], NOWHERE)


def test_a_suite_of_ones_own_gives_texts_of_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "what is it", "a": "it is this"}\n')
    data = "data: [{path: ./rows.jsonl, lang: en}, {path: user/hub, lang: en}]"
    text = (SUITES / "rgen.yaml").read_text(encoding="utf-8").partition("by_hand")[0]
    path = tmp_path / "own.yaml"
    path.write_text(f"{text}{data}\nprompt: {{en: '{{q}}'}}\nreference: '{{a}}'\n", encoding="utf-8")
    assert [text for _, text in suite_texts([str(path)], NOWHERE)] == ["what is it", "it is this"]


def test_a_change_of_a_shipped_set_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = suite_texts_digest(NOWHERE)
    (tmp_path / "x.jsonl").write_text("{}\n")
    monkeypatch.setattr("lft.evaluate.suite_texts.SUITES", tmp_path)
    assert suite_texts_digest(NOWHERE) != before


def test_a_document_that_copies_a_suite_is_cut_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = items_of(load_suite(SUITES / "longform.yaml"), True, tmp_path, lambda _: None).items
    copied = next(item.reference for item in items if item.lang == "de")
    own = " ".join(f"Word {n} of a text that nobody asks for stands here." for n in range(20))
    texts = [own, f"A page.\n\n{copied.upper()}\n\n{own[:50]}"]
    lines = (json.dumps({"text": text, "title": f"page {n}"}) + "\n" for n, text in enumerate(texts))
    (tmp_path / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "build.yaml").write_text(BUILD.format(folder=tmp_path), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["lft", "corpus", "select", str(tmp_path / "build.yaml")])
    run()
    said = capsys.readouterr()
    assert "select: 1 of 2" in said.out + said.err
    kept = [line for path in (tmp_path / "out/tried/2-select").glob("0*.jsonl") for line in json_lines(path)[0]]
    assert [one["title"] for one in kept] == ["page 0"]
    report = (tmp_path / "out/tried/2-select/step.json").read_text(encoding="utf-8")
    assert "shares 13 words in a row with an evaluation text" in report
