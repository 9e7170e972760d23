"""What evaluation will ask for is not trained on."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.schema import Contamination
from lft.corpus.select.contamination import (
    Suites,
    contamination,
    evaluation_texts,
    indexed,
    load_texts,
    save_texts,
    suite_texts,
)
from lft.corpus.select.words import words
from lft.errors import InputError
from tests.corpus.selecting import build, document, made_up, prose, selected

SHARED_ROW = "shares 13 words in a row with an evaluation text"


def test_a_quotation_is_found_across_case_punctuation_and_line_breaks() -> None:
    lot = random.Random(1)
    asked = prose(lot, 60)
    row = words(asked)[20:33]
    known = indexed([asked], ngram=13, similarity=0.5)
    assert contamination(prose(lot) + " «" + ",\n".join(row).upper() + "» " + prose(lot), known) == SHARED_ROW
    assert contamination(prose(lot) + " ".join(row[:12]) + prose(lot), known) is None


def test_a_copy_with_a_change_every_few_words_is_found() -> None:
    lot = random.Random(2)
    asked = words(prose(lot, 130))
    changed = [word if i % 12 else "changed" for i, word in enumerate(asked)]
    known = indexed([" ".join(asked)], ngram=13, similarity=0.5)
    assert (
        contamination(" ".join(changed), known) == "has so many phrases of an evaluation text that it is a copy of it"
    )
    assert contamination(" ".join(changed), indexed([" ".join(asked)], ngram=13, similarity=0.9)) is None


def test_a_short_question_counts_only_as_a_whole() -> None:
    known = indexed(["How do I turn on bounce keys in settings?", "Too short to say."], ngram=13, similarity=0.5)
    assert known.too_short == 1
    assert contamination("He asked: how do I turn on bounce keys in Settings, and waited.", known) is not None
    assert contamination("He asked: how do I turn on bounce keys, and waited for the answer.", known) is None


@given(st.integers(0, 10**6))
def test_texts_that_have_nothing_in_common_are_never_cut(seed: int) -> None:
    lot = random.Random(seed)
    assert contamination(prose(lot), indexed([prose(lot) for _ in range(3)], 13, 0.5)) is None


def test_without_texts_nothing_is_found() -> None:
    assert contamination(prose(random.Random(1)), indexed([], 13, 0.5)) is None
    assert evaluation_texts(Contamination(suites=()), Suites()) is None


def test_what_is_saved_for_tasks_is_the_same(tmp_path: Path) -> None:
    lot = random.Random(3)
    asked = prose(lot)
    known = indexed([asked, "four words and more"], 13, 0.5)
    save_texts(known, tmp_path / "texts")
    again = load_texts(tmp_path / "texts")
    assert (again.ngram, again.too_short, again.size) == (known.ngram, known.too_short, known.size)
    assert contamination(asked, again) == SHARED_ROW


def test_memory_is_bounded_by_words_and_number_of_texts() -> None:
    lot = random.Random(4)
    book = prose(lot, 50_000)
    assert indexed([book], 13, 0.5).size < 50_000 * (8 + 16) + 10_000


def test_the_suites_at_hand_are_held_out(tmp_path: Path) -> None:
    lot = random.Random(5)
    held_out = next(text for text in suite_texts(["all"], Suites()) if len(words(text)) > 60)
    documents = [document(1, prose(lot)), document(2, prose(lot) + "\n\n" + held_out.upper())]
    report, left = selected(tmp_path, documents, build(contamination={"suites": ["all"]}))
    assert [one.id for one in left] == [documents[0].id]
    assert report.cut[SHARED_ROW].count == 1
    assert report.figures["evaluation_texts"] > 40


def test_the_users_own_files_are_held_out(tmp_path: Path) -> None:
    lot = random.Random(6)
    texts = [prose(lot) for _ in range(3)]
    (tmp_path / "asked.jsonl").write_text(json.dumps({"question": texts[0], "n": 3}) + "\n", encoding="utf-8")
    (tmp_path / "asked.txt").write_text(f"{texts[1]}\n\n{texts[2]}\n", encoding="utf-8")
    files = [str(tmp_path / "asked.jsonl"), str(tmp_path / "asked.txt")]
    documents = [document(i, text) for i, text in enumerate([*texts, prose(lot)])]
    report, left = selected(tmp_path, documents, build(contamination={"suites": [], "files": files}))
    assert [one.id for one in left] == [documents[3].id]
    assert report.figures["evaluation_texts"] == 3


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"suites": ["mmlu"]}, "there is all, longform-mini, longform;"), ({"files": ["/no/such.jsonl"]}, "no such file")],
)
def test_what_is_not_there_is_said(wanted: dict, said: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluation_texts(Contamination(**wanted), Suites(("longform",)))
    assert said in str(caught.value)


def test_suites_of_the_caller_are_asked_for_by_name() -> None:
    asked: list[tuple[str, ...]] = []

    def texts(names):
        asked.append(tuple(names))
        return ["one two three four five six seven eight nine"]

    suites = Suites(("longform", "rgen"), texts)
    assert [*suite_texts(["rgen"], suites)] == ["one two three four five six seven eight nine"]
    assert len([*suite_texts(["all"], suites)]) > 40  # the sample's held-out rows as well
    assert next(iter(suite_texts(["longform-mini"], suites))) != "one two three four five six seven eight nine"
    assert asked == [("rgen",), ("all",)]


def test_a_question_that_evaluation_asks_is_found_though_its_answer_is_another(tmp_path: Path) -> None:
    lot = random.Random(9)
    asked = " ".join(made_up(lot) for _ in range(30))
    (tmp_path / "suite.jsonl").write_text(json.dumps({"input": asked}) + "\n")
    mine = [document(0, prose(lot)), document(1, prose(lot))]
    mine[0] = replace(mine[0], question=f"Please tell me: {asked}", style="human")
    mine[1] = replace(mine[1], question="Please tell me something else about it.", style="human")
    files = [str(tmp_path / "suite.jsonl")]
    report, left = selected(tmp_path, mine, build(contamination={"suites": [], "files": files}))
    assert [one.id for one in left] == [mine[1].id]
    assert list(report.cut) == [f"its question {SHARED_ROW}"]
