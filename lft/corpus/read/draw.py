"""At most so many documents, drawn evenly by hash: the same ones whatever the order, the tasks and the machine."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lft.corpus.read.found import chance

_ALL: Final = ""


@dataclass(frozen=True, slots=True)
class Draw:
    """``limit`` documents at most, and ``per_subset`` of each subset."""

    limit: int | None
    per_subset: int | None
    seed: int

    @property
    def everything(self) -> bool:
        """Whether there is nothing to draw."""
        return self.limit is None and self.per_subset is None

    def lot(self, id: str) -> float:
        """The lower it is, the sooner a document is drawn."""
        return chance(id, f"draw {self.seed}")


@dataclass(frozen=True, slots=True)
class Lot:
    """A candidate: its lot, its subset, and where its record is (part, line)."""

    number: float
    subset: str
    at: tuple[int, int]


class Candidates:
    """Which documents of a stream could still be drawn; only the lots are kept, never the texts.

    Of n documents about k (1 + ln(n / k)) pass for a limit of k: 43,000 of ten million for 5,000.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._lowest: dict[str, list[float]] = {}  # negated, so that the heap's first is the highest

    def takes(self, id: str, subset: str) -> bool:
        """Whether a document is among the lowest so far."""
        if self._draw.everything:
            return True
        size = self._draw.per_subset or self._draw.limit or 0
        heap = self._lowest.setdefault(subset if self._draw.per_subset else _ALL, [])
        lot = self._draw.lot(id)
        if len(heap) < size:
            heapq.heappush(heap, -lot)
            return True
        return heapq.heappushpop(heap, -lot) != -lot


def drawn(draw: Draw, lots: Iterable[Lot]) -> set[tuple[int, int]]:
    """Where the records are that are drawn from all candidates."""
    chosen = []
    taken: dict[str, int] = {}
    for lot in sorted(lots, key=lambda one: (one.number, one.at)):
        taken[lot.subset] = taken.get(lot.subset, 0) + 1
        if draw.per_subset is None or taken[lot.subset] <= draw.per_subset:
            chosen.append(lot.at)
    return set(chosen[: draw.limit])
