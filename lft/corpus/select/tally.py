"""Counts and samples of what each step cut, summed over tasks: the same sum, whatever the tasks were."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lft.corpus.step import SHOWN, SHOWN_LETTERS, Counter, Cut, Report, Sample
from lft.files import write_text


class Shown(NamedTuple):
    """A sample and its lot; of all samples of a reason those with the least are shown."""

    draw: int
    id: str
    text: str


@dataclass(slots=True)
class Tally:
    """How many documents came, and what was cut, by step and reason."""

    came: int = 0
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    shown: dict[tuple[str, str], list[Shown]] = field(default_factory=dict)

    def cut(self, step: str, reason: str, sample: Shown) -> None:
        """One document was cut."""
        self._add((step, reason), 1, (sample._replace(text=sample.text[:SHOWN_LETTERS]),))

    def add(self, step: str, reason: str, count: int, samples: Iterable[Shown]) -> None:
        """So many were cut, and these are among them."""
        self._add((step, reason), count, samples)

    def merge(self, other: Tally) -> None:
        """Add another task's tally."""
        self.came += other.came
        for key, count in other.counts.items():
            self._add(key, count, other.shown[key])

    def _add(self, key: tuple[str, str], count: int, samples: Iterable[Shown]) -> None:
        self.counts[key] = self.counts.get(key, 0) + count
        self.shown[key] = heapq.nsmallest(SHOWN, [*self.shown.get(key, ()), *samples])

    def reports(self, steps: Sequence[str]) -> tuple[Report, ...]:
        """One report for each step, in this order; what a step leaves comes to the next."""
        made, came = [], self.came
        for step in steps:
            counter = Counter()
            counter.came = came
            self._count(counter, [key for key in self.counts if key[0] == step])
            made.append(counter.report(step))
            came = made[-1].kept
        return tuple(made)

    def report(self, name: str) -> Report:
        """One report of all steps together."""
        counter = Counter()
        counter.came = self.came
        self._count(counter, list(self.counts))
        return counter.report(name)

    def _count(self, counter: Counter, keys: Iterable[tuple[str, str]]) -> None:
        for key in sorted(keys):
            samples = tuple(Sample(one.id, one.text) for one in self.shown[key])
            counter.add(key[1], Cut(self.counts[key], samples))

    def save(self, path: Path) -> None:
        """As a JSON file."""
        cuts = [[*key, count, self.shown[key]] for key, count in self.counts.items()]
        write_text(path, json.dumps({"came": self.came, "cuts": cuts}, ensure_ascii=True))


def load_tally(path: Path) -> Tally:
    """From ``Tally.save``."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    tally = Tally(came=saved["came"])
    for step, reason, count, shown in saved["cuts"]:
        tally.add(step, reason, count, [Shown(*one) for one in shown])
    return tally


def sum_of(paths: Iterable[Path]) -> Tally:
    """Several files' tallies together."""
    total = Tally()
    for path in sorted(paths):
        total.merge(load_tally(path))
    return total
