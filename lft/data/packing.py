"""Packing: several short sequences into one row, best fit decreasing.

    row 0   | a a a a a | b b b | c c |        position ids   0 1 2 3 4 | 0 1 2 | 0 1
                                               attention      block-diagonal and causal: b never sees a

The rows say only which sequences lie together; isolation is the attention's part (``lft.train.attention``).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from lft.errors import InputError


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit-decreasing bin packing.

    Each sequence, longest first, goes into the row where the least space is left over. O(n log capacity): rows are
    kept by the space they have left.

    Args:
        lengths: tokens of each sequence.
        capacity: tokens of one row.

    Returns:
        Rows of indices into ``lengths``; every index once. Rows are ordered by the lowest index in them, and indices
        rise within a row, so the result does not depend on how ties are broken.

    Raises:
        InputError: a sequence is longer than a row.
    """
    rows_by_space: dict[int, list[list[int]]] = {}
    spaces: list[int] = []  # sorted keys of rows_by_space
    rows: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > capacity:
            raise InputError(f"a sequence of {length:,} tokens cannot be packed into rows of {capacity:,}")
        place = bisect_left(spaces, length)
        row: list[int]
        if place == len(spaces):
            row, space = [], capacity
            rows.append(row)
        else:
            space = spaces[place]
            row = rows_by_space[space].pop()
            if not rows_by_space[space]:
                del rows_by_space[space]
                spaces.pop(place)
        row.append(index)
        left = space - length
        if left not in rows_by_space:
            insort(spaces, left)
        rows_by_space.setdefault(left, []).append(row)
    return sorted(sorted(row) for row in rows)


def efficiency(lengths: Sequence[int], rows: Sequence[Sequence[int]], capacity: int) -> float:
    """Share of the rows' capacity that holds tokens, 0 to 1."""
    return sum(lengths) / (len(rows) * capacity) if rows else 0.0
