"""How a score is spread before its cut: among the pairs that are kept in the end, and among those that are not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

BINS: Final = 20
Side = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a score cuts: what is ``at least`` (``at most``) ``at`` goes on."""

    at: float
    side: Side


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of pairs in bins of equal width from ``low`` to ``high``; a value between two bins is in the upper one."""

    low: float
    high: float
    kept: tuple[int, ...]
    cut: tuple[int, ...]
    threshold: Threshold | None = None

    @property
    def of_whole_numbers(self) -> bool:
        """Whether each bin is one whole number, in its middle."""
        return self.high - self.low == len(self.kept) and (self.low + 0.5).is_integer()

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Histogram:
        """From ``to_json()``."""
        threshold = Threshold(**saved["threshold"]) if saved["threshold"] else None
        return cls(saved["low"], saved["high"], tuple(saved["kept"]), tuple(saved["cut"]), threshold)


def histogram(scores: Mapping[str, float], kept: Collection[str], threshold: Threshold | None) -> Histogram:
    """The spread of a score.

    Whole numbers of a short range (points, ranks) have a bin each, in its middle; all else has ``BINS``.

    Args:
        scores: of each pair that has one, by its id; at least one.
        kept: ids of the pairs that are kept in the end.
        threshold: inside the bins, wherever the scores are.
    """
    values = [*scores.values(), *([] if threshold is None else [threshold.at])]
    low, high = min(values), max(values)
    if all(value == int(value) for value in values) and high - low < BINS:
        low, high, bins = low - 0.5, high + 0.5, int(high - low) + 1
    elif high > low:
        bins = BINS
    else:
        low, high, bins = low - 0.5, high + 0.5, 1
    counts = {True: [0] * bins, False: [0] * bins}
    for id, value in scores.items():
        at = min(math.floor((value - low) / (high - low) * bins), bins - 1)
        counts[id in kept][at] += 1
    return Histogram(low, high, tuple(counts[True]), tuple(counts[False]), threshold)
