"""Several subjects on the same questions: what differs, how surely, where, and in which answers.

The first subject is the baseline, and every other one stands against it: answers to the same item and of the same
sample number are a pair. A difference of METEOR that answers to wrong questions show too is said to be such a one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lft.errors import InputError, RecipeError
from lft.evaluate.compare_pairs import Entry, Pair, Pairing, not_shared, pairing, pairs, why_not
from lft.evaluate.item import Item
from lft.evaluate.metric import Floats, Metric
from lft.evaluate.result import SuiteRef
from lft.evaluate.statistics import (
    DRAWS,
    PERMUTATIONS,
    Difference,
    Places,
    beyond,
    held,
    holm,
    paired,
    row_scores,
    score_of,
)
from lft.evaluate.summary import Part, Summary, is_companion, parts_of, reading_order, shown, summarised

WHOLE: Final = Part("whole", "")
CASES: Final = 3  # of the largest gains, and as many of the largest losses, of each suite


@dataclass(frozen=True, slots=True)
class Effect:
    """A metric of both on the rows that both have a value for, over a suite or a part of it."""

    part: Part
    before: float
    after: float
    difference: Difference


@dataclass(frozen=True, slots=True)
class FloorChange:
    """What both score against references of other items, and what is left of the gain without the floor's."""

    before: float
    after: float
    net: Difference


@dataclass(frozen=True, slots=True)
class Tested:
    """One metric of one suite, ``other`` (its place among the entries) against the first entry.

    ``holm`` is p corrected over all suites and all others of this metric. ``won`` and ``lost`` count rows; they are 0
    for a metric that is neither better higher nor better lower.
    """

    suite: SuiteRef
    metric: Metric
    other: int
    whole: Effect
    holm: float
    floor: FloorChange | None
    parts: tuple[Effect, ...]
    won: int
    lost: int


@dataclass(frozen=True, slots=True)
class Case:
    """An answer that gained or lost much: ``change`` is after minus before."""

    suite: str
    metric: Metric
    other: int
    item: Item
    sample: int
    before: float
    after: float
    before_text: str
    after_text: str

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is drawn: for intervals, for p-values, and from which seed."""

    draws: int = DRAWS
    permutations: int = PERMUTATIONS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Subjects side by side; ``summaries`` has for each entry those of its suites, ``notes`` what was not compared."""

    entries: tuple[Entry, ...]
    summaries: tuple[Mapping[str, Summary], ...]
    pairings: tuple[Pairing, ...]
    tests: tuple[Tested, ...]
    cases: tuple[Case, ...]
    chosen: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    effort: Effort

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the entries."""
        return tuple(entry.label for entry in self.entries)

    def of(self, other: int, metric: str) -> list[Tested]:
        """The tests of one metric against one entry, suite by suite."""
        return [one for one in self.tests if one.other == other and one.metric.name == metric]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All that were compared, in reading order."""
        found = {one.metric.name: one.metric for one in self.tests}
        return tuple(sorted(found.values(), key=reading_order))


def compared(
    entries: Sequence[Entry], metrics: Mapping[str, Metric], chosen: str | None = None, *, shared_only: bool = False,
    effort: Effort | None = None,
) -> Comparison:  # fmt: skip
    """Every entry against the first one, over the suites that both have.

    Args:
        entries: two or more.
        metrics: by name; a column without one is noted and not compared.
        chosen: the metric whose wins and losses are shown; METEOR, or the first overlap metric, if not said.
        shared_only: compare the items that both have where the items of a suite differ.
        effort: how much is drawn.

    Raises:
        RecipeError: fewer than two entries, or no such metric to show.
        InputError: they have no suite in common, or other items under its name.
    """
    if len(entries) < 2:
        raise RecipeError("a comparison needs two subjects or more", fix="name the results of another one")
    effort = effort or Effort()
    found = [pair for other in range(1, len(entries)) for pair in pairs(entries, other, shared_only)]
    tests = _corrected([test for pair in found for test in _tests(pair, metrics, effort)])
    if not tests:
        raise InputError("the results have no metric in common that this lft knows", fix="evaluate them with one lft")
    metric = _chosen(chosen, tests)
    summaries = tuple(
        {name: summarised(result, metrics, effort.draws, effort.seed) for name, result in entry.results.items()}
        for entry in entries
    )
    return Comparison(
        tuple(entries),
        summaries,
        tuple(pairing(pair, metrics) for pair in found),
        tests,
        tuple(case for pair in found for case in _cases(pair, metric)),
        metric.name,
        tuple(words for test in tests for words in _explained(test, tests, entries)),
        tuple(not_shared(entries)),
        effort,
    )


def _tests(pair: Pair, metrics: Mapping[str, Metric], effort: Effort) -> Iterator[Tested]:
    shared = [metrics[name] for name in pair.before.columns if name in metrics and not why_not(pair, name)]
    for metric, parts in zip(shared, _part_effects(pair, shared, effort), strict=True):
        sums = pair.sums(metric.name)
        whole = _effect(WHOLE, sums, pair.items, metric, effort)
        won, lost = _won_and_lost(sums, metric)
        floor = _floor_change(pair, metric, effort)
        yield Tested(pair.before.suite, metric, pair.other, whole, np.nan, floor, tuple(parts), won, lost)


def _part_effects(pair: Pair, shared: Sequence[Metric], effort: Effort) -> list[list[Effect]]:
    """Of each metric in each part, not tested; all metrics of a part in turn, since they share its draws."""
    found: list[list[Effect]] = [[] for _ in shared]
    untested = replace(effort, permutations=0)
    for part, mask in parts_of([pair.before.rows[place] for place in pair.here]).items():
        for effects, metric in zip(found, shared, strict=True):
            one, two = pair.sums(metric.name)
            effects.append(_effect(part, (one[mask], two[mask]), pair.items[mask], metric, untested))
    return found


def _effect(part: Part, sums: tuple[Floats, Floats], items: Places, metric: Metric, effort: Effort) -> Effect:
    found = paired(*sums, items, metric, effort.draws, effort.permutations, effort.seed)
    both = held(sums[0]) & held(sums[1])
    return Effect(part, score_of(sums[0], metric, both), score_of(sums[1], metric, both), found)


def _floor_change(pair: Pair, metric: Metric, effort: Effort) -> FloorChange | None:
    floors = pair.floors(metric.name)
    if floors is None:
        return None
    net = beyond(pair.sums(metric.name), floors, pair.items, metric, effort.draws, effort.seed)
    all_four = np.logical_and.reduce([held(one) for one in (*pair.sums(metric.name), *floors)])
    return FloorChange(score_of(floors[0], metric, all_four), score_of(floors[1], metric, all_four), net)


def _won_and_lost(sums: tuple[Floats, Floats], metric: Metric) -> tuple[int, int]:
    change = row_scores(sums[1], metric) - row_scores(sums[0], metric)
    up, down = int((change > 0).sum()), int((change < 0).sum())
    return {"higher": (up, down), "lower": (down, up), "neither": (0, 0)}[metric.better]


def _corrected(tests: Sequence[Tested]) -> tuple[Tested, ...]:
    """Holm's correction, each metric a family of its own."""
    found = list(tests)
    for name in dict.fromkeys(test.metric.name for test in tests):
        places = [place for place, test in enumerate(tests) if test.metric.name == name]
        for place, p in zip(places, holm([tests[place].whole.difference.p for place in places]), strict=True):
            found[place] = replace(found[place], holm=p)
    return tuple(found)


def _chosen(name: str | None, tests: Sequence[Tested]) -> Metric:
    known = {test.metric.name: test.metric for test in tests}
    if name is not None and name not in known:
        raise RecipeError(f"the results were not compared by {name}", fix=f"one of {', '.join(known)}")
    overlap = [metric.name for metric in known.values() if metric.overlap]
    return known[name or next(iter([one for one in overlap if one == "meteor"] + overlap + list(known)))]


def _cases(pair: Pair, metric: Metric) -> Iterator[Case]:
    """The largest gains, largest first, then the largest losses."""
    if metric.name not in pair.before.columns or why_not(pair, metric.name):
        return
    one, two = (row_scores(sums, metric) for sums in pair.sums(metric.name))
    change = (two - one) * (-1 if metric.better == "lower" else 1)
    order = [int(place) for place in np.argsort(-change, kind="stable") if np.isfinite(change[place])]
    gains = [place for place in order[:CASES] if change[place] > 0]
    losses = [place for place in order[::-1][:CASES] if change[place] < 0]
    for place in gains + losses:
        before, after = pair.before.rows[pair.here[place]], pair.after.rows[pair.there[place]]
        yield Case(
            pair.before.suite.name, metric, pair.other, before.item, before.output.sample, float(one[place]),
            float(two[place]), before.output.text, after.output.text,
        )  # fmt: skip


def _explained(test: Tested, tests: Sequence[Tested], entries: Sequence[Entry]) -> Iterator[str]:
    """A warning where half of a sure gain, or all that is sure of it, is one against wrong references too."""
    gain, floor = test.whole.difference, test.floor
    if not test.metric.overlap or floor is None:
        return
    floor_gain = floor.after - floor.before
    if not gain.low > 0 or (floor.net.low > 0 and floor_gain < gain.value / 2):
        return
    gained, other, net, low, high = (
        shown(value, test.metric, sign=True)
        for value in (gain.value, floor_gain, floor.net.value, floor.net.low, floor.net.high)
    )
    beside = [
        f" {one.metric.title} from {shown(one.whole.before, one.metric)} to {shown(one.whole.after, one.metric)}."
        for one in tests
        if one.other == test.other and one.suite.name == test.suite.name and is_companion(one.metric.name)
    ]
    yield (
        f"{test.suite.name}, {entries[test.other].label}: {test.metric.title} gain {gained}, floor gain {other}. "
        f"The same answers gain against wrong references too; beyond that it is {net} ({low} to {high})."
        + "".join(beside)
    )
