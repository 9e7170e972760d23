"""ROUGE, BLEU, chrF++ and self-BLEU are the numbers of the packages that define them."""

import random
import time

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Tools
from lft.evaluate.metrics import rouge, sacre
from lft.evaluate.metrics.self_bleu import SELF_BLEU
from lft.evaluate.metrics.table import FROM_TEXTS

WORDS = [
    *(
        "the",
        "a",
        "cat",
        "cats",
        "sat",
        "sitting",
        "on",
        "mat,",
        "mats.",
        "was",
        "Running",
        "runner",
        "relational",
        "café",
    ),
    *("straße", "12", "3.5", "don't", "it's", "!", "-", "&", "&amp;", "x"),
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
WORDY = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join)
OVERLAP = [rouge.ROUGE_1, rouge.ROUGE_2, rouge.ROUGE_L, sacre.BLEU, sacre.CHRF]


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    return Tools(1, tmp_path_factory.mktemp("cache"), lambda line: None)


@pytest.fixture
def tools(tmp_path):
    return Tools(1, tmp_path, lambda line: None)


def rows_of(pairs, lang="en"):
    return [Row(Item(f"i{n}", lang, "s", "t", "", "", ref), Output(text)) for n, (text, ref) in enumerate(pairs)]


@settings(max_examples=50)
@given(st.lists(st.tuples(TEXT, WORDY), min_size=1, max_size=4))
def test_rouge_is_rouge_scores_number_in_english(box, pairs):
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    theirs = [scorer.score(reference, answer) for answer, reference in pairs]
    for metric, name in zip(OVERLAP, ("rouge1", "rouge2", "rougeL"), strict=False):
        found = metric.measure(rows_of(pairs), "en", box)
        wanted = [one[name].fmeasure for one in theirs]
        known = [place for place in range(len(pairs)) if place not in found.reasons]
        assert found.sums[known, 0].tolist() == pytest.approx([wanted[place] for place in known], abs=1e-12)
        assert all(wanted[place] == 0 for place in found.reasons)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=70), st.lists(st.integers(0, 5), max_size=70))
def test_the_common_subsequence_is_the_longest(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
    found = rouge.common_subsequence([str(one) for one in first], [str(one) for one in second])
    assert found == (table[-1, -1], len(first), len(second))


@pytest.mark.parametrize(
    ("lang", "text", "part"),
    [("de", "Größe überall", "größe"), ("ru", "большая река", "река"), ("zh", "今天天气好", "今天")],
)
def test_rouge_sees_letters_that_rouge_score_drops(tools, lang, text, part):
    found = rouge.ROUGE_1.measure(rows_of([(text, text), (part, text)], lang), lang, tools)
    assert found.sums[0, 0] == 1
    assert 0 < found.sums[1, 0] < 1
    assert "any script" in found.variant


@settings(max_examples=50)
@given(st.lists(st.tuples(TEXT, WORDY), min_size=1, max_size=5))
def test_bleu_and_chrf_are_sacrebleus_corpus_scores(box, pairs):
    answers, references = (list(side) for side in zip(*pairs, strict=True))
    found = sacre.BLEU.measure(rows_of(pairs), "en", box)
    wanted = sacrebleu.corpus_bleu(answers, [references], force=True).score
    assert 100 * sacre.BLEU.score(found.sums.sum(axis=0)) == pytest.approx(wanted, abs=1e-10)
    found = sacre.CHRF.measure(rows_of(pairs), "en", box)
    wanted = sacrebleu.corpus_chrf(answers, [references], word_order=2).score
    assert 100 * sacre.CHRF.score(found.sums.sum(axis=0)) == pytest.approx(wanted, abs=1e-10)


def test_many_resamplings_are_scored_at_once(tools):
    pairs = [(f"the cat {n} sat on the mat", f"a cat {n} sat on a mat") for n in range(5)]
    for metric in (sacre.BLEU, sacre.CHRF):
        sums = metric.measure(rows_of(pairs), "en", tools).sums
        drawn = np.random.default_rng(0).integers(0, 5, (7, 3, 5))
        scores = metric.score(sums[drawn].sum(axis=-2))
        assert scores.shape == (7, 3)
        assert scores[2, 1] == pytest.approx(metric.score(sums[drawn[2, 1]].sum(axis=0)))


def test_signatures_stand_in_the_variants(tools):
    rows = rows_of([("a b", "a b")])
    assert f"tok:13a|smooth:exp|version:{sacrebleu.__version__}" in sacre.BLEU.measure(rows, "en", tools).variant
    assert "nc:6|nw:2|space:no" in sacre.CHRF.measure(rows, "en", tools).variant
    assert "tok:zh" in sacre.BLEU.measure(rows_of([("今天", "今天")], "zh"), "zh", tools).variant


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=2, max_size=6))
def test_self_bleu_is_sentence_bleu_against_all_the_others(box, texts):
    found = SELF_BLEU.measure(rows_of([(text, "") for text in texts]), "en", box)
    spoken = [place for place, text in enumerate(texts) if text.strip()]
    if len(spoken) < 2:
        assert np.isnan(found.sums).all()
        return
    for place in spoken:
        others = [texts[other] for other in spoken if other != place]
        wanted = sacrebleu.sentence_bleu(texts[place], others).score
        assert 100 * found.sums[place, 0] == pytest.approx(wanted, abs=1e-10)


def test_equal_answers_have_full_self_bleu_and_different_ones_none(tools):
    same = SELF_BLEU.measure(rows_of([("we went home at night", "")] * 3), "en", tools)
    assert same.sums[:, 0].tolist() == pytest.approx([1, 1, 1])
    apart = SELF_BLEU.measure(rows_of([("one two three four five", ""), ("six seven eight nine ten", "")]), "en", tools)
    assert apart.sums[:, 0].tolist() == [0, 0]


def test_one_answer_alone_has_no_self_bleu(tools):
    found = SELF_BLEU.measure(rows_of([("a b", ""), (" ", "")]), "en", tools)
    assert found.reasons == {0: "there is no other answer to compare with", 1: "the answer has no words"}


@pytest.mark.parametrize("metric", OVERLAP, ids=lambda metric: metric.name)
def test_an_empty_answer_counts_as_nothing_and_an_empty_reference_does_not_count(tools, metric):
    rows = rows_of([("", "the cat sat on the mat"), ("the cat sat on the mat", " \n")])
    found = metric.measure(rows, "en", tools)
    assert metric.score(found.sums[0]) == 0
    assert np.isnan(found.sums[1]).all()
    assert found.reasons == {1: "the reference has no words"}


@pytest.mark.parametrize("metric", OVERLAP, ids=lambda metric: metric.name)
def test_an_answer_that_is_the_reference_has_the_full_score(tools, metric):
    found = metric.measure(rows_of([("the cat sat on the mat today", "the cat sat on the mat today")]), "en", tools)
    assert metric.score(found.sums.sum(axis=0)) == pytest.approx(1)


@pytest.mark.parametrize("metric", [one for one in FROM_TEXTS if one.name != "meteor"], ids=lambda metric: metric.name)
def test_fifty_thousand_words_take_seconds(tools, metric):
    pick = random.Random(1)
    words = [f"w{n}" for n in range(5_000)]
    answer, reference = (" ".join(pick.choices(words, k=50_000)) for _ in range(2))
    began = time.process_time()
    metric.measure(rows_of([(answer, reference), (answer, reference)]), "en", tools)
    assert time.process_time() - began < 20


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=3),
    st.sampled_from(["en", "zh", "ru", "xx"]),
)
def test_any_text_is_a_value_or_a_reason_and_never_an_error(box, pairs, lang):
    rows = rows_of(pairs, lang)
    for metric in FROM_TEXTS:
        found = metric.measure(rows, lang, box)
        without = {place for place in range(len(rows)) if np.isnan(found.sums[place]).any()}
        assert without == set(found.reasons), metric.name
        assert len(found.sums) == len(rows)
