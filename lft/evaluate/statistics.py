"""How sure a score or a difference is: cluster bootstrap, permutation test, Holm's correction.

What is drawn again is the item, never the answer: several samples of one item say little more than one of them.

    n  items with a value      k  numbers that a metric adds up      d  draws
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lft.evaluate.metric import Floats, Metric

DRAWS: Final = 2_000
PERMUTATIONS: Final = 10_000
FEW: Final = 5  # below that an interval is given, and said to be no more than a hint
_NORMAL: Final = NormalDist()
_Z: Final = _NORMAL.inv_cdf(0.975)  # of a 95 % interval
_CELLS: Final = 2**22  # of a matrix of draws x items that is held at once
_TIE: Final = 1e-10  # of the scores: differences closer than that are equal but for rounding
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its 95 % interval, in the unit that people read (the metric's ``scale``); NaN where there is none.

    ``items`` and ``rows`` are what it was counted over, ``missing`` the rows without a value.
    """

    score: float
    low: float
    high: float
    items: int
    rows: int
    missing: int

    @property
    def note(self) -> str:
        """What a reader of the interval must know; empty where there is nothing."""
        return few(self.items)


@dataclass(frozen=True, slots=True)
class Difference:
    """Other minus baseline with its 95 % interval; ``p`` is NaN where it was not tested."""

    value: float
    low: float
    high: float
    p: float
    items: int
    rows: int

    @property
    def note(self) -> str:
        """What a reader of the interval must know; empty where there is nothing."""
        return few(self.items)


def few(items: int) -> str:
    """A warning where items are too few for an interval to be relied on."""
    return f"too few items: {items}" if items < FEW else ""


def score_of(sums: Floats, metric: Metric, mask: NDArray[np.bool_] | None = None) -> float:
    """A metric over rows [rows x k], or those that ``mask`` keeps; rows of NaN are left out."""
    chosen = sums if mask is None else sums[mask]
    return _total(chosen[held(chosen)], metric)


def interval(sums: Floats, items: Places, metric: Metric, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """A score and its bootstrap interval (percentiles, expanded for few items).

    Args:
        sums: [rows x k], NaN in rows without a value.
        items: [rows], the same number for the rows of one item.
        metric: what is made of sums.
        draws: how often the items are drawn again.
        seed: of the draws; the same one gives the same interval.
    """
    kept = held(sums)
    clusters = clustered(sums[kept], items[kept])
    drawn = resampled(clusters, metric, draws, seed)
    low, high = ends(drawn, len(clusters))
    return Estimate(_total(clusters, metric), low, high, len(clusters), int(kept.sum()), int((~kept).sum()))


def paired(
    before: Floats, after: Floats, items: Places, metric: Metric, draws: int = DRAWS, permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Difference:  # fmt: skip
    """The difference of two subjects on the same rows: paired bootstrap over items, permutation test within items.

    Rows that one of them has no value for are left out of both.

    Args:
        before: [rows x k] of the baseline.
        after: [rows x k] of the other, row for row.
        items: [rows], the same number for the rows of one item.
        metric: what is made of sums.
        draws: of the bootstrap.
        permutations: of the test, exact where items allow no more than that; 0 leaves the test out.
        seed: of both.
    """
    kept = held(before) & held(after)
    one, two = clustered(before[kept], items[kept]), clustered(after[kept], items[kept])
    low, high = ends(resampled(two, metric, draws, seed) - resampled(one, metric, draws, seed), len(one))
    value = _total(two, metric) - _total(one, metric)
    p = _permutation_p(one, two, metric, permutations, seed) if permutations else np.nan
    return Difference(value, low, high, p, len(one), int(kept.sum()))


def beyond(
    gain: tuple[Floats, Floats], floor: tuple[Floats, Floats], items: Places, metric: Metric, draws: int = DRAWS,
    seed: int = 0,
) -> Difference:  # fmt: skip
    """What is left of a gain (before, after) when that of the wrong-reference floor (before, after) is taken off."""
    four = (*gain, *floor)
    kept = np.logical_and.reduce([held(one) for one in four])
    clusters = [clustered(one[kept], items[kept]) for one in four]

    drawn = [resampled(one, metric, draws, seed) for one in clusters]
    low, high = ends((drawn[1] - drawn[0]) - (drawn[3] - drawn[2]), len(clusters[0]))
    total = [_total(one, metric) for one in clusters]
    value = (total[1] - total[0]) - (total[3] - total[2])
    return Difference(value, low, high, np.nan, len(clusters[0]), int(kept.sum()))


def holm(values: Sequence[float]) -> list[float]:
    """P-values of one family corrected after Holm (1979), in their order; NaN stays and is none of the family."""
    order = sorted((p, place) for place, p in enumerate(values) if not np.isnan(p))
    corrected, highest = [np.nan] * len(values), 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[place] = highest
    return corrected


def clustered(sums: Floats, items: Places) -> Floats:
    """Rows [rows x k] added up by item, in the order of the items' numbers: [n x k]."""
    numbers, places = np.unique(items, return_inverse=True)
    added = np.zeros((len(numbers), sums.shape[-1]))
    np.add.at(added, places, sums)
    return added


def numbered(names: Sequence[str]) -> Places:
    """Names as numbers, the same one for the same name, in the order of names."""
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1] if names else np.zeros(0, np.intp)


def held(sums: Floats) -> NDArray[np.bool_]:
    """Which rows [rows x k] have a value."""
    return np.logical_not(np.isnan(sums).any(axis=-1))


def scores(sums: Floats, metric: Metric) -> Floats:
    """Sums [... x k] to scores [...] in the unit that people read; NaN where there is nothing to divide by."""
    with np.errstate(all="ignore"):
        found: Floats = metric.score(sums) * metric.scale
    return found


def row_scores(sums: Floats, metric: Metric) -> Floats:
    """The score of each row [rows x k]; NaN in rows without a value."""
    kept = held(sums)
    found = np.full(len(sums), np.nan)
    if kept.any():
        found[kept] = scores(sums[kept], metric)
    return found


def _total(sums: Floats, metric: Metric) -> float:
    """A metric over rows with values; without one, even k may be unknown (a result holds no widths)."""
    return float(scores(sums.sum(axis=0), metric)) if len(sums) else np.nan


def ends(drawn: Floats, items: int) -> tuple[float, float]:
    """The ends of the 95 % interval of draws [d] of so many items; NaN where none is finite."""
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return np.nan, np.nan
    tail = _tail(items)
    low, high = np.quantile(finite, (tail, 1 - tail))
    return float(low), float(high)


def _tail(items: int) -> float:
    """Share of the draws below and above the interval: the expanded percentile interval (Hesterberg 2015, §4.1).

    Draws of few items vary less than samples do, and are normal where samples are Student's; so less is cut off than
    2.5 %. Student's quantile is Fisher's and Cornish's expansion.
    """
    free, z = max(items - 1, 1), _Z
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return _NORMAL.cdf(-t * sqrt((free + 1) / free))


def resampled(clusters: Floats, metric: Metric, draws: int, seed: int) -> Floats:
    """Scores [d] of items drawn with replacement: counts [d x n] @ sums [n x k]."""
    if not len(clusters):
        return np.zeros(0)
    counts = (_counts(len(clusters), part, seed, number) for number, part in enumerate(_parts(draws, len(clusters))))
    return np.concatenate([scores(part @ clusters, metric) for part in counts])


@lru_cache(maxsize=4)
def _counts(items: int, draws: int, seed: int, part: int) -> Floats:
    """How often each item is drawn [d x n]; kept, since all metrics of a suite ask for the same."""
    drawn = np.random.default_rng((seed, part)).integers(0, items, (draws, items))
    drawn += np.arange(draws)[:, None] * items
    return np.bincount(drawn.ravel(), minlength=draws * items).reshape(draws, items).astype(np.float64)


def _parts(draws: int, items: int) -> Iterator[int]:
    size = max(1, _CELLS // items)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _permutation_p(one: Floats, two: Floats, metric: Metric, permutations: int, seed: int) -> float:
    """Two-sided p of no difference: how often a swap of the subjects within items gives one as large."""
    if not len(one):
        return np.nan
    first, change = one.sum(axis=0), two - one
    both = scores(np.stack([first, two.sum(axis=0)]), metric)
    least = abs(both[1] - both[0]) - _TIE * np.abs(both).sum()
    if np.isnan(least):
        return np.nan
    exact = 2 ** len(one) <= permutations
    hits = drawn = 0
    for swaps in _all_swaps(len(one)) if exact else _some_swaps(len(one), permutations, seed):
        moved = swaps @ change
        apart = np.abs(scores(first + moved, metric) - scores(first + change.sum(axis=0) - moved, metric))
        hits += int((~(apart < least)).sum())  # a swap that leaves nothing to divide by speaks for no difference
        drawn += len(swaps)
    return hits / drawn if exact else (hits + 1) / (drawn + 1)


def _all_swaps(items: int) -> Iterator[Floats]:
    yield ((np.arange(2**items)[:, None] >> np.arange(items)) & 1).astype(np.float64)


def _some_swaps(items: int, permutations: int, seed: int) -> Iterator[Floats]:
    generator = np.random.default_rng((seed, items))
    for size in _parts(permutations, items):
        drawn = generator.integers(0, 256, (size, -(-items // 8)), dtype=np.uint8)
        yield np.unpackbits(drawn, axis=1, count=items).astype(np.float64)
