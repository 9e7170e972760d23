"""Lengths, repetition, endings and losses: the published formulas, worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.evaluate.item import Item, Output, Row, Wanted
from lft.evaluate.metric import Tools
from lft.evaluate.metrics import lengths, losses, texts
from lft.evaluate.metrics.words import words, written


@pytest.fixture
def tools(tmp_path):
    return Tools(1, tmp_path, lambda line: None)


def row(text, *wanted, reference="", lang="en", finish="unknown"):
    return Row(Item("i", lang, "s", "t", "", "", reference, wanted), Output(text, finish=finish))


def value(metric, one, tools):
    return float(metric.score(metric.measure([one], one.item.lang, tools).sums.sum(axis=0)))


# research of the paper: 500 of 1,000 words is 50, 1,500 of 1,000 is 83.3, nothing from four times and a third on
@pytest.mark.parametrize(
    ("number", "wanted", "score"),
    [
        (1000, 1000, 1),
        (500, 1000, 0.5),
        (1500, 1000, 1 - 0.5 / 3),
        (4000, 1000, 0),
        (9000, 1000, 0),
        (300, 900, 0),
        (0, 5, 0),
    ],
)
def test_s_l_is_longbench_writes(number, wanted, score):
    assert lengths.s_l(number, wanted) == pytest.approx(score)


@pytest.mark.parametrize(
    ("number", "wanted", "score"),
    [
        (100, Wanted(100), 1),
        (50, Wanted(100), math.exp(-2.5)),
        (150, Wanted(100), math.exp(-1)),
        (50, Wanted(100, relation="at-most"), 1),
        (150, Wanted(100, relation="at-most"), math.exp(-1)),
        (150, Wanted(100, relation="at-least"), 1),
        (50, Wanted(100, relation="at-least"), math.exp(-2.5)),
        (0, Wanted(100), math.exp(-5)),
    ],
)
def test_the_life_score_is_lifebenchs(number, wanted, score):
    assert lengths.life(number, wanted) == pytest.approx(score)


def test_a_wanted_number_of_words_gives_both_scores(tools):
    one = row("word " * 50, Wanted(100))
    assert value(lengths.S_L, one, tools) == pytest.approx(0.5)
    assert value(lengths.LIFE, one, tools) == pytest.approx(math.exp(-2.5))


def test_s_l_leaves_out_what_asks_for_at_most(tools):
    one = row("word " * 50, Wanted(100, relation="at-most"))
    assert lengths.S_L.measure([one], "en", tools).reasons == {
        0: "the instruction asks for no number of words to be met"
    }
    assert value(lengths.LIFE, one, tools) == 1


@pytest.mark.parametrize("wanted", [(), (Wanted(3, "sentences"),), (Wanted(0),)])
def test_who_asks_for_no_words_gets_no_length_score(tools, wanted):
    assert lengths.LIFE.measure([row("a b", *wanted)], "en", tools).reasons


@pytest.mark.parametrize(
    ("text", "lang", "number"),
    [
        ("It's 42 big-hearted words", "en", 5),
        ("今天 good 天气", "zh", 5),
        ("Die Größe: 42", "de", 2),
        ("Вот 3 слова", "ru", 2),
    ],
)
def test_written_words_are_counted_as_the_language_asks(text, lang, number):
    assert written(text, lang) == number


def test_words_of_any_script_are_words():
    assert words("Größe ИЗ 今天! x_2") == ["größe", "из", "今", "天", "x", "2"]


@pytest.mark.parametrize(
    ("text", "wanted", "holds"),
    [
        ("One. Two. Three.", Wanted(3, "sentences"), True),
        ("One. Two.", Wanted(3, "sentences"), False),
        ("One. Two.", Wanted(3, "sentences", "at-most"), True),
        ("a\n\nb\n\nc", Wanted(3, "paragraphs"), True),
        ("word " * 91, Wanted(100), True),
        ("word " * 89, Wanted(100), False),
        ("word " * 109, Wanted(100, relation="at-most"), False),
        ("1. Do it\n2. Stop\n\nDone.", Wanted(2, "steps"), True),
        ("Step 1: do\nStep 2: stop", Wanted(2, "steps"), True),
        ("- do\n- stop", Wanted(2, "steps"), True),
        ("Do it\nthen stop\n\nDone", Wanted(3, "steps"), True),
        ("", Wanted(1, "steps"), False),
        ("", Wanted(1, "sentences"), False),
    ],
)
def test_wanted_lengths_hold_or_do_not(text, wanted, holds):
    assert lengths.holds(text, "en", wanted) is holds


def test_constraints_are_the_share_of_wanted_lengths_that_hold(tools):
    rows = [
        row("One. Two.", Wanted(2, "sentences"), Wanted(5, "paragraphs")),
        row("x"),
        row("One.", Wanted(1, "sentences")),
    ]
    found = lengths.CONSTRAINTS.measure(rows, "en", tools)
    assert found.reasons == {1: "the instruction asks for no length"}
    assert lengths.CONSTRAINTS.score(np.nansum(found.sums, axis=0)) == pytest.approx(2 / 3)


def test_a_hundred_thousand_stops_do_not_hold_up_the_count(tools):
    assert lengths.holds("." * 100_000 + "x", "en", Wanted(9, "sentences", "at-most"))


def test_repetition_rises_when_an_answer_is_repeated(tools):
    text = " ".join(f"w{n}" for n in range(40))
    assert value(texts.REPETITION, row(text), tools) == 0
    assert value(texts.REPETITION, row(f"{text} {text}"), tools) == pytest.approx(1 - 40 / 77)
    assert value(texts.REPETITION, row("ha " * 100), tools) == pytest.approx(1 - 1 / 97)


def test_distinct_n_is_different_n_grams_over_all(tools):
    assert [value(one, row("A b a b a"), tools) for one in texts.DISTINCT] == pytest.approx([2 / 5, 2 / 4, 2 / 3])
    assert texts.DISTINCT[1].measure([row("one")], "en", tools).reasons == {0: "the answer has fewer than 2 words"}


def test_the_length_ratio_is_of_all_words_and_not_a_mean_of_ratios(tools):
    rows = [row("a " * 10, reference="b"), row("", reference="b " * 9), row("c", reference="!")]
    found = texts.LENGTH_RATIO.measure(rows, "en", tools)
    assert texts.LENGTH_RATIO.score(np.nansum(found.sums, axis=0)) == 1
    assert found.reasons == {2: "the reference has no words"}


def test_an_empty_answer_has_no_words(tools):
    assert value(texts.WORDS, row(""), tools) == 0


def test_endings_are_counted_where_they_are_known(tools):
    rows = [row("a", finish=one) for one in ("stop", "length", "length", "unknown")]
    for metric, share in ((texts.EOS_RATE, 1 / 3), (texts.TRUNCATION_RATE, 2 / 3)):
        found = metric.measure(rows, "en", tools)
        assert metric.score(np.nansum(found.sums, axis=0)) == pytest.approx(share)
        assert found.reasons == {3: "it is not known how the answer ended"}


def test_losses_become_bits_per_byte_and_perplexity():
    found = losses.from_losses(
        [2 * math.log(2), 6 * math.log(2), None, math.inf], [1, 3, 4, 5], [4, 4, 0, 9], "cut at 8"
    )
    sums = {name: np.nansum(one.sums, axis=0) for name, one in found.items()}
    assert losses.BITS_PER_BYTE.score(sums["bits-per-byte"]) == pytest.approx(1)
    assert losses.NLL_PER_TOKEN.score(sums["nll-per-token"]) == pytest.approx(2 * math.log(2))
    assert losses.PERPLEXITY.score(sums["perplexity"]) == pytest.approx(4)
    assert found["perplexity"].reasons == {2: losses.NO_TEXT, 3: losses.NOT_FINITE}
    assert found["bits-per-byte"].variant.endswith("cut at 8")


def test_ranking_counts_pairs_that_the_true_instruction_wins():
    found = losses.from_rankings([-1.0, -5.0, None, math.nan], [[-2.0, -3.0], [-5.0], [-1.0], [-1.0]], "order")
    assert losses.RANKING.score(np.nansum(found.sums, axis=0)) == pytest.approx(2 / 3)
    assert set(found.reasons) == {2, 3}


def test_what_needs_a_model_says_so_when_it_gets_texts(tools):
    found = losses.PERPLEXITY.measure([row("a")], "en", tools)
    assert found.reasons == {0: losses.NO_MODEL}
    assert np.isnan(found.sums).all()


@given(st.integers(0, 10_000), st.integers(1, 5_000))
def test_length_scores_stay_between_none_and_full(number, wanted):
    assert 0 <= lengths.s_l(number, wanted) <= 1
    assert 0 <= lengths.life(number, Wanted(wanted)) <= 1
