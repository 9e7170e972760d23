"""Packing: which sequences share a row."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.data.packing import efficiency, pack
from lft.errors import InputError

CAPACITY = 64
lengths_of_sequences = st.lists(st.integers(1, CAPACITY), max_size=120)


@st.composite
def full_rows(draw):
    """Lengths that fill so many rows without a gap, so that the best packing is known."""
    rows = draw(st.integers(1, 25))
    pieces = []
    for _ in range(rows):
        cuts = draw(st.sets(st.integers(1, CAPACITY - 1), max_size=6))
        edges = [0, *sorted(cuts), CAPACITY]
        pieces += [high - low for low, high in pairwise(edges)]
    return rows, draw(st.permutations(pieces))


def loads_of_naive_best_fit(lengths, capacity):
    """Best fit decreasing as a textbook says it, O(n²): the tokens in each row, fullest first."""
    spaces = []
    for length in sorted(lengths, reverse=True):
        fitting = [place for place, space in enumerate(spaces) if space >= length]
        if fitting:
            spaces[min(fitting, key=lambda place: spaces[place])] -= length
        else:
            spaces.append(capacity - length)
    return sorted((capacity - space for space in spaces), reverse=True)


@given(lengths_of_sequences)
def test_every_sequence_lies_in_one_row_and_no_row_is_over_full(lengths):
    rows = pack(lengths, CAPACITY)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= CAPACITY for row in rows)
    assert all(rows)


@given(lengths_of_sequences)
def test_rows_and_the_sequences_in_them_keep_the_order_of_the_data(lengths):
    rows = pack(lengths, CAPACITY)
    assert all(row == sorted(row) for row in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert pack(list(lengths), CAPACITY) == rows


@given(lengths_of_sequences)
def test_packing_is_best_fit_decreasing(lengths):
    rows = pack(lengths, CAPACITY)
    loads = sorted((sum(lengths[index] for index in row) for row in rows), reverse=True)
    assert loads == loads_of_naive_best_fit(lengths, CAPACITY)


@given(full_rows())
def test_packing_is_within_eleven_ninths_of_the_best(known):
    best, lengths = known
    rows = len(pack(lengths, CAPACITY))
    assert math.ceil(sum(lengths) / CAPACITY) == best <= rows <= 11 / 9 * best + 6 / 9


def test_many_sequences_of_like_length_do_not_take_their_square():
    """100,000 sequences; the naive way would compare five thousand million times."""
    rng = random.Random(0)
    lengths = [rng.randint(1, 2048) for _ in range(100_000)]
    rows = pack(lengths, 2048)
    assert efficiency(lengths, rows, 2048) > 0.99


@given(st.lists(st.integers(1, CAPACITY), max_size=8), st.integers(1, 100))
def test_a_sequence_longer_than_a_row_is_an_error(lengths, more):
    with pytest.raises(InputError, match=f"sequence of {CAPACITY + more} tokens cannot be packed"):
        pack([*lengths, CAPACITY + more], CAPACITY)


def test_nothing_packs_into_no_rows():
    assert pack([], CAPACITY) == []
    assert efficiency([], [], CAPACITY) == 0.0


def test_efficiency_is_the_share_of_the_rows_that_holds_tokens():
    assert efficiency([4, 2, 2], [[0], [1, 2]], 8) == 0.5
