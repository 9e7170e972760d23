"""From rows to items: the same ones in every run, and what is left out is counted."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lft.corpus.language import detected
from lft.data.overlap import near_duplicates
from lft.data.sentences import paragraphs
from lft.errors import InputError
from lft.evaluate.item import Wanted
from lft.evaluate.suite import Loaded, find_suite, items_of, load_suite, read_from, suite_names
from lft.evaluate.suite_schema import Part, Suite

OFFLINE = [name for name in suite_names() if name != "mmlu"]


def loaded(suite: Suite, offline: bool = False, limit: int | None = None) -> Loaded:
    return items_of(suite, offline, Path("/nonexistent"), lambda _: None, limit)


def suite_of(tmp_path: Path, rows: list[dict[str, Any]], suite: dict[str, Any] | None = None, **part: Any) -> Suite:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = {
        "name": "mine", "version": 1, "about": "x", "group": "out-of-domain", "licence": "x", "origin": "x",
        "prompt": {"en": "Say {input}", "de": "Sag {input}"}, "reference": "{output}",
    }  # fmt: skip
    return Suite(**{**made, "data": ({"path": str(path), "lang": "en"} | part,), **(suite or {})})


def many(count: int) -> list[dict[str, Any]]:
    return [{"input": f"word {n}", "output": f"text {n}", "source": "ab"[n % 2]} for n in range(count)]


# --- what ships ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_items_are_complete(name: str) -> None:
    suite = load_suite(find_suite(name))
    found = loaded(suite, offline=True)
    assert not found.left_out
    assert len({item.id for item in found.items}) == len(found.items) >= 8
    assert {item.lang for item in found.items} == set(suite.prompt)
    for item in found.items:
        assert item.instruction
        assert "{" not in item.instruction
        assert bool(item.reference) == bool(suite.reference)
        assert not item.reference or len(item.reference.split()) >= 70


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_texts_are_in_their_language(name: str) -> None:
    pytest.importorskip("py3langid")
    for item in loaded(load_suite(find_suite(name)), offline=True).items:
        for text in (item.reference or item.instruction, item.instruction):
            lang, confidence = detected(text)
            assert lang == item.lang or confidence < 0.9, (item.lang, lang, text)


def test_ids_stay_what_they_are() -> None:
    """Results of one version are compared by id: a change here must raise the suite's version."""
    found = {name: loaded(load_suite(find_suite(name)), offline=True) for name in ("longform", "rgen")}
    assert found["longform"].items[0].id == "a7904058be65fd60"
    assert found["rgen"].items[0].id == "5a0a38770b34bd57"


def test_recipes_are_asked_as_in_the_paper() -> None:
    item = loaded(load_suite(find_suite("rgen")), offline=True).items[1]
    assert item.instruction.startswith("Write directions of a cooking recipe with these ingredients: 4 carrots, 1 can")
    assert len(item.reference.split("\n")) == 6


def test_lengths_are_asked_for_as_the_rows_say() -> None:
    items = loaded(load_suite(find_suite("length")), offline=True).items
    assert all(len(item.wanted) == 1 and str(item.wanted[0].number) in item.instruction for item in items)
    assert {item.wanted[0].relation for item in items} == {"equal", "at-most", "at-least"}
    in_longform = [item for item in loaded(load_suite(find_suite("longform")), offline=True).items if item.wanted]
    assert {item.lang for item in in_longform} == {"en", "de", "es", "fr", "ru"}
    assert all(len(item.reference.split()) == item.wanted[0].number for item in in_longform)


def test_no_offline_text_is_among_the_training_samples() -> None:
    sample = Path(__file__).parents[2] / "lft" / "data" / "samples" / "longform-mini.jsonl"
    trained = [row[key] for row in map(json.loads, sample.open(encoding="utf-8")) for key in ("input", "output")]
    items = [item for name in OFFLINE for item in loaded(load_suite(find_suite(name)), offline=True).items]
    asked = [text for item in items for text in (item.reference, item.instruction) if text]
    assert near_duplicates(trained, asked, 0.5) == []
    rows = {row for text in trained for row in in_a_row(text)}
    assert [text for text in asked if rows & set(in_a_row(text))] == []


def in_a_row(text: str, size: int = 13) -> list[tuple[str, ...]]:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def test_texts_have_paragraphs_that_end() -> None:
    for name in ("longform", "eli5", "news-multilingual", "technical-docs"):
        for item in loaded(load_suite(find_suite(name)), offline=True).items:
            assert len(paragraphs(item.reference)) >= 2
            assert item.reference == item.reference.strip()


# --- rows of one's own ---------------------------------------------------------------------------------------------


def test_the_same_items_are_drawn_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = many(300)
    first = {item.id for item in loaded(suite_of(tmp_path, rows, limit=40)).items}
    random.Random(1).shuffle(rows)
    again = loaded(suite_of(tmp_path, rows, limit=40))
    assert {item.id for item in again.items} == first
    assert len(first) == 40
    assert again.left_out == {"not drawn": 260}
    fewer = loaded(suite_of(tmp_path, rows, limit=40), limit=10)
    assert {item.id for item in fewer.items} < first
    assert fewer.left_out == {"not drawn": 260, "over the limit": 30}


def test_a_draw_that_is_pruned_on_the_way_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(tmp_path, many(200), source="{source}", per_source=7, limit=10)
    whole = loaded(suite)
    monkeypatch.setattr("lft.evaluate.suite_draw._PRUNE", 20)
    assert loaded(suite) == whole
    assert len(whole.items) == 10


def test_each_source_gives_at_most_its_share(tmp_path: Path) -> None:
    found = loaded(suite_of(tmp_path, many(60), source="{source}", per_source=5))
    assert Counter(item.source for item in found.items) == {"a": 5, "b": 5}


def test_only_the_first_rows_are_looked_at_if_asked(tmp_path: Path) -> None:
    assert len(loaded(suite_of(tmp_path, many(60), scan=12)).items) == 12


def test_rows_that_cannot_be_asked_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        {"input": "a", "output": "b", "lang": "en", "words": 50},
        {"input": "a", "output": "b", "lang": "en", "words": 50},
        {"input": "", "output": "b", "lang": "en"},
        {"input": "c", "output": " \n", "lang": "de"},
        {"input": "d", "output": None, "lang": "de"},
        {"input": "e", "output": "f", "lang": "ja"},
        {"input": "g", "output": "h", "lang": "en", "words": "many"},
        {"input": "i", "output": "j", "lang": "en", "relation": "roughly", "words": 5},
    ]
    demand = {"wanted": ({"number": "{words}", "relation": "{relation}"},)}
    found = loaded(suite_of(tmp_path, rows, demand, lang=None))
    assert [(item.instruction, item.wanted) for item in found.items] == [("Say a", (Wanted(50),))]
    assert found.left_out == {
        "empty instruction": 1,
        "empty reference": 2,
        "the suite has no wording for its language": 1,
        "the length that it asks for is no whole number above 0": 1,
        "its length is asked for by an unknown relation; there are equal, at-most, at-least": 1,
        "the same item twice": 1,
    }


def test_columns_are_found_inside_columns_and_lists_are_joined(tmp_path: Path) -> None:
    rows = [{"q": {"title": "why?"}, "answers": {"text": ["best", "next"]}, "tags": ["x", "y"]}]
    columns = {"input": "q.title", "output": "answers.text.0"}
    found = loaded(suite_of(tmp_path, rows, {"context": "{tags}"}, columns=columns))
    assert found.items[0].instruction == "Say why?"
    assert found.items[0].reference == "best"
    assert found.items[0].context == "x, y"


def test_clauses_on_length_are_read_from_instructions(tmp_path: Path) -> None:
    rows = [
        {"input": "this. Respond in 3 sentences.", "output": "x"},
        {"input": "that. Respond briefly.", "output": "x"},
    ]
    found = loaded(suite_of(tmp_path, rows, {"wanted_in_prompt": True}))
    assert [item.wanted for item in found.items] == [(Wanted(3, "sentences"),), ()]


def test_a_missing_column_names_the_place_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        loaded(suite_of(tmp_path, [{"input": "a", "ouput": "b"}]))
    assert "rows.jsonl:1: no column 'output'; nearest: 'ouput'" in str(caught.value)


def test_an_unreadable_row_names_its_line(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, many(2))
    with Path(suite.data[0].path).open("a", encoding="utf-8") as file:
        file.write('{"input": "cut')
    with pytest.raises(InputError) as caught:
        loaded(suite)
    assert "rows.jsonl:3: broken JSON" in str(caught.value)


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        loaded(suite_of(tmp_path, [{"input": "a", "output": ""}]))
    assert "no item is left of the suite mine (empty reference: 1)" in str(caught.value)


def test_data_that_must_be_fetched_by_hand_say_how() -> None:
    with pytest.raises(InputError) as caught:
        loaded(load_suite(find_suite("rgen")))
    assert "recipenlg.jsonl: no such file" in str(caught.value)
    assert "full_dataset.csv" in str(caught.value)


def test_data_fetched_by_hand_are_read_with_the_suites_wording(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Write 500 words.", "type": "essay", "length": 500}\n')
    suite = read_from(load_suite(find_suite("length")), str(tmp_path / "mine.jsonl"))
    assert loaded(suite).items[0].wanted == (Wanted(500),)


def test_parquet_columns_of_any_name_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"headline": ["one"], "body": ["two"]}), tmp_path / "test.parquet")
    suite = suite_of(tmp_path, many(1))
    part = Part(path=str(tmp_path), lang="en", columns={"input": "headline", "output": "body"})
    (tmp_path / "rows.jsonl").unlink()
    assert loaded(suite.model_copy(update={"data": (part,)})).items[0].reference == "two"


def test_rows_of_another_split_are_not_asked(tmp_path: Path) -> None:
    rows = [{"input": str(n), "output": "x", "split": "test" if n < 2 else "train"} for n in range(5)]
    assert [item.instruction for item in loaded(suite_of(tmp_path, rows)).items] == ["Say 0", "Say 1"]


def test_the_digest_covers_items_and_decoding_but_not_words_about_the_suite(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, many(5))
    digest = loaded(suite).digest
    assert loaded(suite.model_copy(update={"about": "other", "origin": "other"})).digest == digest
    assert loaded(suite.model_copy(update={"version": 2})).digest != digest
    assert loaded(suite, limit=4).digest != digest


def test_the_harness_suite_has_no_items_here() -> None:
    with pytest.raises(InputError, match="lm-evaluation-harness"):
        loaded(load_suite(find_suite("mmlu")))
