"""A mixture follows its weights without repeating a row."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.data.mixture import counts, draws, interleave

SOURCES = st.lists(st.tuples(st.integers(1, 300), st.floats(0.01, 100)), min_size=1, max_size=5)


@given(SOURCES)
def test_shares_are_within_one_row_of_the_weights_and_no_row_more_would_fit(sources):
    lengths, weights = zip(*sources, strict=True)
    taken = counts(lengths, weights)
    exact = [Fraction(str(weight)) for weight in weights]
    total = min(length / weight for length, weight in zip(lengths, exact, strict=True))
    for count, length, weight in zip(taken, lengths, exact, strict=True):
        assert 0 <= count <= length
        assert 0 <= weight * total - count < 1
    assert any(count == length for count, length in zip(taken, lengths, strict=True)), "the scarcest is used up"


@given(SOURCES, st.integers(0, 2**32))
def test_the_order_repeats_nothing_and_is_even_throughout(sources, seed):
    lengths, weights = zip(*sources, strict=True)
    order = interleave(lengths, weights, seed)
    taken = counts(lengths, weights)
    assert len(set(order.tolist())) == len(order) == sum(taken)
    owner = np.searchsorted(np.cumsum(lengths), order, side="right")
    for i, count in enumerate(taken):
        assert (owner == i).sum() == count
        share = np.arange(1, len(order) + 1) * count / max(len(order), 1)
        assert np.all(np.abs(np.cumsum(owner == i) - share) <= len(sources) + 1)
    assert np.array_equal(order, interleave(lengths, weights, seed))


def test_another_seed_is_another_order_and_another_choice():
    one, two = (interleave([100, 400], [1, 1], seed) for seed in (1, 2))
    assert not np.array_equal(one, two)
    assert set(one.tolist()) != set(two.tolist())


@pytest.mark.parametrize(
    ("weights", "taken"), [((0.7, 0.3), (700, 300)), ((7, 3), (700, 300)), ((0.1, 0.2), (500, 1000))]
)
def test_decimal_weights_are_taken_exactly(weights, taken):
    assert counts((700 if weights[0] != 0.1 else 500, 1000 if weights[0] == 0.1 else 300), weights) == taken


def test_the_order_is_the_same_on_every_machine_and_version():
    assert interleave([4, 6], [1, 1], 42).tolist() == interleave([4, 6], [2, 2], 42).tolist()
    assert interleave([4, 6], [1, 1], 42).tolist() == PINNED


PINNED = [5, 2, 8, 0, 6, 3, 7, 1]


def test_stream_draws_follow_the_weights_of_the_sources_that_are_left():
    first = [min(range(3), key=draw.__getitem__) for draw in islice(draws([6, 3, 1], 5), 20_000)]
    assert [round(first.count(i) / 20_000, 1) for i in range(3)] == [0.6, 0.3, 0.1]
    left = [min((1, 2), key=draw.__getitem__) for draw in islice(draws([6, 3, 1], 5), 20_000)]
    assert abs(left.count(1) / 20_000 - 0.75) < 0.02
