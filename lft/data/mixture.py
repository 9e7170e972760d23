"""Mixtures: how many rows of each source, and in which order.

Weights are sampling shares. No row is repeated: the mixture is as large as the scarcest source (relative to its
weight) allows, and what is left over of the others is counted. Everything follows from the seed alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def counts(lengths: Sequence[int], weights: Sequence[float]) -> tuple[int, ...]:
    """Rows taken of each source: ``floor(w_i * T)`` with ``T = min(length_i / w_i)``, exact in the decimals of w_i."""
    exact = [Fraction(str(weight)) for weight in weights]
    total = min(length / weight for length, weight in zip(lengths, exact, strict=True))
    return tuple(math.floor(weight * total) for weight in exact)


def interleave(lengths: Sequence[int], weights: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Order of a mixture as numbers into the sources laid end to end, shape ``[sum(counts(lengths, weights))]``.

    Each source gives a random choice of its rows (without replacement). They are spread evenly: in the first L rows,
    source i of k has its share of L to within k + 1 rows.
    """
    rows, keys = [], []
    start = 0
    for i, (length, count) in enumerate(zip(lengths, counts(lengths, weights), strict=True)):
        draw = random.Random(f"{seed}/{i}")
        rows.append(start + _shuffled(length, draw)[:count])
        keys.append((np.arange(count) + draw.random()) / max(count, 1))
        start += length
    order: NDArray[np.int64] = np.concatenate(rows)[np.argsort(np.concatenate(keys), kind="stable")]
    return order


def draws(weights: Sequence[float], seed: int) -> Iterator[tuple[float, ...]]:
    """Endless draws for a stream; each is one number per source, and the live source with the least is next.

    ``-log(u) / w`` is least for source i with probability ``w_i / sum(w)``, over whichever sources are still live.
    """
    draw = random.Random(f"{seed}/stream")
    while True:
        yield tuple(-math.log(1.0 - draw.random()) / weight for weight in weights)


def _shuffled(length: int, draw: random.Random) -> NDArray[np.int64]:
    # random() is promised to be the same in all versions of Python; numpy's and random.shuffle's order is not.
    keys = np.fromiter((draw.random() for _ in range(length)), dtype=np.float64, count=length)
    return np.argsort(keys, kind="stable").astype(np.int64)
