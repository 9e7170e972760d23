"""Rows of several languages become columns with floors, and what has no value is named."""

import os
import random
import sys
import time
from functools import partial

import numpy as np
import pytest

from lft.errors import MachineError, RecipeError
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Tools
from lft.evaluate.metrics import meteor, meteor_1_5, rouge, sacre, texts, wordnet
from lft.evaluate.metrics.floor import floor, wrong_references
from lft.evaluate.metrics.packages import package
from lft.evaluate.metrics.parallel import spread
from lft.evaluate.metrics.scoring import score_rows
from lft.evaluate.metrics.table import FROM_TEXTS, METRICS, metric_named

TOPICS = ["bread and butter", "ships at sea", "the moon landing", "a quiet village"]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDER", tmp_path / "none")
    return Tools(1, tmp_path, lambda line: None)


def row(place, answer, reference, lang="en", sample=0):
    return Row(Item(f"i{place}", lang, "s", "t", "", "", reference), Output(answer, sample))


def answered(lang="en"):
    return [row(place, f"about {topic} today", f"about {topic} now", lang) for place, topic in enumerate(TOPICS)]


def test_no_answer_meets_its_own_reference_on_the_floor():
    references = [f"text {number % 7}" for number in range(30)] + ["", "  "]
    given = wrong_references(references, 3)
    assert set(given) == set(given.values()) == {f"text {number}" for number in range(7)}
    assert all(own != other for own, other in given.items())


def test_the_floor_is_the_same_in_whichever_order_rows_come(tools):
    rows = answered()
    first = floor(rouge.ROUGE_1, rows, "en", tools)
    mixed = random.Random(1).sample(range(4), 4)
    second = floor(rouge.ROUGE_1, [rows[place] for place in mixed], "en", tools)
    assert first.sums[mixed].tolist() == second.sums.tolist()


def test_the_floor_is_below_the_score_of_right_answers(tools):
    columns, _ = score_rows(answered(), [meteor.METEOR, rouge.ROUGE_L, sacre.BLEU, sacre.CHRF], tools)
    for name, column in columns.items():
        score = METRICS[name].score
        assert score(column.floor.sum(axis=0)) < score(column.sums.sum(axis=0))
        assert "floor: each reference swapped for another of 4" in column.variants["en"]


def test_equal_references_make_no_floor_and_the_variant_says_so(tools):
    rows = [row(0, "a b", "same text"), row(1, "c d", " same  text ")]
    columns, _ = score_rows(rows, [rouge.ROUGE_1], tools)
    assert columns["rouge-1"].floor is None
    assert "no floor: fewer than two different references" in columns["rouge-1"].variants["en"]


def test_languages_are_measured_apart_and_keep_their_places(tools):
    rows = [one for pair in zip(answered("en"), answered("de"), strict=True) for one in pair]
    columns, left_out = score_rows(rows, [meteor.METEOR, sacre.BLEU, texts.WORDS], tools)
    alone = meteor.METEOR.measure(answered("de"), "de", tools)
    assert columns["meteor"].sums[1::2].tolist() == alone.sums.tolist()
    assert set(columns["meteor"].variants) == {"en", "de"}
    assert "German stems" in columns["meteor"].variants["de"]
    assert columns["bleu"].sums.shape == (8, 10)
    assert columns["words"].floor is None
    assert left_out == []


def test_a_language_without_a_floor_leaves_the_others_theirs(tools):
    rows = [*answered("en"), row(9, "allein", "ein Text", "de")]
    column = score_rows(rows, [rouge.ROUGE_1], tools)[0]["rouge-1"]
    assert not np.isnan(column.floor[:4]).any()
    assert np.isnan(column.floor[4]).all()


def test_rows_without_a_value_are_named_with_their_reason(tools):
    rows = [*answered(), row(7, "an answer", "", sample=2)]
    columns, left_out = score_rows(rows, [rouge.ROUGE_1, texts.WORDS], tools)
    assert [(one.item, one.sample, one.metric, one.reason) for one in left_out] == [
        ("i7", 2, "rouge-1", "the reference has no words")
    ]
    assert np.isnan(columns["rouge-1"].sums[4]).all()
    assert np.isnan(columns["rouge-1"].floor[4]).all()


def test_no_rows_make_empty_columns(tools):
    columns, left_out = score_rows([], FROM_TEXTS, tools)
    assert all(len(column.sums) == 0 for column in columns.values())
    assert left_out == []


def test_no_references_make_columns_without_a_value(tools):
    rows = [row(place, topic, "") for place, topic in enumerate(TOPICS)]
    columns, left_out = score_rows(rows, FROM_TEXTS, tools)
    assert np.isnan(columns["bleu"].sums).all()
    assert columns["bleu"].floor is None
    assert not np.isnan(columns["words"].sums).any()
    assert {one.item for one in left_out if one.metric == "bleu"} == {"i0", "i1", "i2", "i3"}


def test_every_metric_says_how_it_counts(tools):
    columns, _ = score_rows(answered(), FROM_TEXTS, tools)
    assert all(column.variants["en"] for column in columns.values())


def test_a_misspelt_metric_names_the_nearest_one():
    assert metric_named("meteor") is meteor.METEOR
    with pytest.raises(RecipeError, match="did you mean rouge-l"):
        metric_named("rougel")
    with pytest.raises(RecipeError, match=r"one of: meteor, meteor-1\.5"):
        metric_named("!!")


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(MachineError, match=r"(?s)sacrebleu.*pip install 'lft\[evaluate\]'"):
        package("sacrebleu")


def _killed(here, place):
    if os.getpid() != here:
        os._exit(9)


def test_a_killed_process_is_one_sentence():
    with pytest.raises(MachineError, match="was killed"):
        spread(partial(_killed, os.getpid()), [1, 2, 3], 2, patience=0)


def _worked_by(here, folder, place):
    if os.getpid() != here:
        (folder / "helped").touch()
    deadline = time.monotonic() + 60
    while place == 0 and not (folder / "helped").exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # the first row waits for the other process, as a slow one would
    return place, os.getpid()


def test_this_process_works_beside_the_others_and_the_order_stays(tmp_path):
    found = spread(partial(_worked_by, os.getpid(), tmp_path), range(20), 2, patience=0)
    assert [place for place, _ in found] == list(range(20))
    assert found[0][1] == os.getpid() != found[-1][1]


def test_quick_work_starts_no_process():
    with_lambda = spread(lambda place: place + 1, [1, 2, 3], 2)  # a lambda cannot be sent to another process
    assert with_lambda == [2, 3, 4]


def test_meteor_1_5_has_english_only(tools):
    found = meteor_1_5.METEOR_1_5.measure(answered("de"), "de", tools)
    assert found.reasons == dict.fromkeys(range(4), "METEOR 1.5 comes with English tables only")


def test_meteor_1_5_without_its_jar_says_what_to_install(tools, monkeypatch):
    monkeypatch.setattr(meteor_1_5, "_jar", lambda: None)
    with pytest.raises(MachineError, match="pip install --no-deps pycocoevalcap"):
        meteor_1_5.METEOR_1_5.measure(answered(), "en", tools)


def test_meteor_1_5_gives_the_reference_tools_number(tools):
    if meteor_1_5.missing():
        pytest.skip(meteor_1_5.missing())
    rows = [
        row(
            0,
            "It is a guide to action which\nensures that the military always obeys the commands of the party",
            "It is a guide to action that ensures that the military\r\nwill forever heed Party commands",
        ),
        row(1, "", "hello there"),
        row(2, "hello", "\n"),
        row(3, "Alimentum is located in the city centre. It is not family-friendly.",
            "There is a place in the city centre, Alimentum, that is not family-friendly."),
    ]  # fmt: skip
    found = meteor_1_5.METEOR_1_5.measure(rows, "en", tools)
    assert found.sums[[0, 1], 0].tolist() == pytest.approx([0.44736091739438233, 0], abs=1e-12)
    assert round(found.sums[3, 0], 4) == 0.4249
    assert found.reasons == {2: "the reference has no words"}


def test_a_java_that_fails_is_one_sentence(tools, tmp_path, monkeypatch):
    if meteor_1_5.missing() and "Java" in meteor_1_5.missing():
        pytest.skip(meteor_1_5.missing())
    (tmp_path / "broken.jar").write_bytes(b"no jar")
    monkeypatch.setattr(meteor_1_5, "_jar", lambda: tmp_path / "broken.jar")
    with pytest.raises(MachineError, match="Java program failed: Error: Invalid or corrupt jarfile"):
        meteor_1_5.scores(["a"], ["b"])
