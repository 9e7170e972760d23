"""Intervals cover, tests keep their level, and swapping the subjects changes the sign and nothing else."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.evaluate.statistics import holm, interval, numbered, paired, score_of
from tests.evaluate.made_results import BLEU, MEAN, METRICS, RATIO, bleu_sums, with_ones

NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


def alone(rows: int) -> np.ndarray:
    return np.arange(rows)


def test_a_score_is_made_of_the_sums_of_the_rows_that_a_mask_keeps():
    sums = np.array([[1.0, 2.0], [3.0, 4.0], [np.nan, np.nan], [9.0, 1.0]])
    assert score_of(sums, RATIO) == pytest.approx(13 / 7)
    assert score_of(sums, RATIO, np.array([True, True, True, False])) == pytest.approx(4 / 6)
    assert math.isnan(score_of(sums[2:3], RATIO))


def test_an_interval_is_that_of_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).gamma(2.0, 1.0, 1000)
    ours = interval(with_ones(values), alone(1000), MEAN, draws=5_000)
    theirs = bootstrap((100 * values,), np.mean, method="percentile", n_resamples=5_000, random_state=1)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.5)
    assert ours.score == pytest.approx(100 * values.mean())


@pytest.mark.parametrize("items", [9, 40])
def test_a_p_value_is_that_of_scipy(items):
    from scipy.stats import permutation_test

    generator = np.random.default_rng(2)
    before, after = generator.normal(0, 1, items), generator.normal(0.35, 1, items)
    ours = paired(with_ones(before), with_ones(after), alone(items), MEAN)
    theirs = permutation_test(
        (after, before), lambda a, b, axis: a.mean(axis) - b.mean(axis), permutation_type="samples",
        n_resamples=10_000, vectorized=True, random_state=3,
    )  # fmt: skip
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12 if items == 9 else 0.02)
    assert ours.value == pytest.approx(100 * (after - before).mean())


def test_a_paired_test_of_bleu_agrees_with_that_of_sacrebleu():
    from sacrebleu.metrics import BLEU as Bleu
    from sacrebleu.significance import PairedTest

    generator = np.random.default_rng(3)
    words = list("abcdefghijklmnop")
    references = [" ".join(generator.choice(words, 15)) for _ in range(60)]

    def spoiled(rate: float) -> list[str]:
        return [
            " ".join(str(generator.choice(words)) if generator.random() < rate else word for word in text.split())
            for text in references
        ]

    def sums(texts: list[str]) -> np.ndarray:
        metric = Bleu()
        found = metric._extract_corpus_statistics(texts, [references])
        # sacrebleu has lengths, then matches, then totals
        return np.array(found, dtype=float)[:, [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]]

    worse, better = spoiled(0.35), spoiled(0.28)
    ours = paired(sums(worse), sums(better), alone(60), BLEU)
    _, scores = PairedTest(
        [("worse", worse), ("better", better)], {"BLEU": Bleu(references=[references])}, None, "ar", n_samples=10_000
    )()
    assert ours.value == pytest.approx(scores["BLEU"][1].score - scores["BLEU"][0].score, abs=1e-6)
    assert ours.p == pytest.approx(scores["BLEU"][1].p_value, abs=0.02)


def test_samples_of_one_item_are_drawn_together():
    values = np.random.default_rng(4).normal(0, 1, 50)
    once = interval(with_ones(values), alone(50), MEAN)
    again = interval(with_ones(np.repeat(values, 6)), np.repeat(alone(50), 6), MEAN)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert (again.items, again.rows) == (50, 300)
    taken_apart = interval(with_ones(np.repeat(values, 6)), alone(300), MEAN)
    assert taken_apart.high - taken_apart.low < 0.6 * (once.high - once.low)


def test_rows_without_a_value_are_left_out_and_counted():
    sums = with_ones([1.0, 2.0, 3.0, 4.0])
    sums[1] = np.nan
    one = interval(sums, np.array([0, 0, 1, 2]), MEAN)
    assert (one.score, one.items, one.rows, one.missing) == (pytest.approx(800 / 3), 3, 3, 1)
    other = with_ones([1.0, 2.0, 3.0, 4.0])
    other[3] = np.nan
    both = paired(sums, other, np.array([0, 0, 1, 2]), MEAN)
    assert (both.items, both.rows) == (2, 2)


def test_few_items_are_said_to_be_few():
    assert interval(with_ones([1.0, 2.0, 4.0]), alone(3), MEAN).note == "too few items: 3"
    assert interval(with_ones([1.0] * 5), alone(5), MEAN).note == ""


@pytest.mark.parametrize("metric", [MEAN, RATIO, BLEU])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_equal_items_and_no_items_at_all_are_no_crash(metric, rows):
    sums = np.ones((rows, 10 if metric is BLEU else 2))
    one, both = interval(sums, alone(rows), metric), paired(sums, sums, alone(rows), metric)
    if not rows:
        assert math.isnan(one.score)
        assert math.isnan(both.p)
        return
    assert one.low == one.score == one.high
    assert (both.value, both.low, both.high, both.p) == (0, 0, 0, 1)


def test_a_metric_that_has_nothing_to_divide_by_has_no_value_and_no_p():
    nothing = np.zeros((6, 2))
    assert math.isnan(interval(nothing, alone(6), RATIO).low)
    assert math.isnan(paired(nothing, nothing, alone(6), RATIO).p)


@settings(max_examples=30)
@given(NUMBERS)
def test_a_subject_does_not_differ_from_itself(values):
    sums = with_ones(values)
    same = paired(sums, sums, alone(len(values)), MEAN, draws=50, permutations=200)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=20))
def test_swapping_the_subjects_turns_the_sign_and_keeps_p(values):
    one, two = (with_ones(side) for side in zip(*values, strict=True))
    there = paired(one, two, alone(len(values)), MEAN, draws=50, permutations=300)
    back = paired(two, one, alone(len(values)), MEAN, draws=50, permutations=300)
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == back.p
    assert 0 < there.p <= 1


@pytest.mark.parametrize("items", [10, 20])
def test_intervals_of_few_items_are_widened_so_that_they_cover(items):
    hits = 0
    for seed in range(400):
        values = np.random.default_rng((seed, items)).normal(0.3, 0.1, items)
        found = interval(with_ones(values), alone(items), MEAN, draws=300, seed=seed)
        hits += found.low <= 30 <= found.high
    assert hits / 400 >= 0.925


def test_p_is_uniform_where_nothing_differs():
    from scipy.stats import kstest

    found = []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        one, two = bleu_sums(generator, 20), bleu_sums(generator, 20)
        found.append(paired(one, two, alone(20), BLEU, draws=2, permutations=400, seed=seed).p)
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_intervals_of_scores_and_differences_cover_what_is_true():
    hits = np.zeros(2)
    for seed in range(300):
        generator = np.random.default_rng(seed)
        lasting = generator.normal(0.3, 0.1, 60)  # of the item, so that its two samples hang together
        one, two = (np.repeat(lasting, 2) + generator.normal(shift, 0.1, 120) for shift in (0.0, 0.05))
        items = np.repeat(alone(60), 2)
        score = interval(with_ones(one), items, MEAN, draws=300, seed=seed)
        apart = paired(with_ones(one), with_ones(two), items, MEAN, draws=300, permutations=0, seed=seed)
        hits += [score.low <= 30 <= score.high, apart.low <= 5 <= apart.high]
    assert hits / 300 == pytest.approx([0.95, 0.95], abs=0.03)


def test_holm_gives_the_values_of_his_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50)
def test_a_corrected_p_is_no_smaller_and_keeps_its_rank(values):
    corrected = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, corrected, strict=True))
    ranked = [q for _, q in sorted(zip(values, corrected, strict=True))]
    assert ranked == sorted(ranked)


def test_what_was_not_tested_is_no_part_of_the_family():
    assert holm([0.02, math.nan, 0.04]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)


def test_the_order_of_the_rows_does_not_matter():
    names = ["b", "a", "c", "a"]
    sums = with_ones([1.0, 2.0, 3.0, 4.0])
    turned = [3, 2, 1, 0]
    there = interval(sums, numbered(names), MEAN)
    assert interval(sums[turned], numbered([names[place] for place in turned]), MEAN) == there


def test_a_whole_test_set_is_compared_within_seconds():
    sums = [bleu_sums(np.random.default_rng(seed), 2045) for seed in (0, 1)]
    began = time.process_time()
    paired(sums[0], sums[1], alone(2045), METRICS["bleu"])
    assert time.process_time() - began < 5
