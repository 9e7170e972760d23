"""Whose results stand side by side, and which of their rows are pairs: the same item, the same sample number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lft.errors import InputError
from lft.evaluate.metric import Floats, Metric
from lft.evaluate.result import Result, Subject, SuiteRef, load_result, results_below
from lft.evaluate.statistics import Places, numbered


@dataclass(frozen=True, slots=True)
class Entry:
    """A subject with its results by suite; ``label`` is unlike that of any other."""

    label: str
    subject: Subject
    results: Mapping[str, Result]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What of a suite was paired, and what had no partner or was asked in another way."""

    suite: SuiteRef
    other: int
    items: int
    rows: int
    only_before: int
    only_after: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Rows of one suite that both have: their places in either result, and the numbers of their items."""

    before: Result
    after: Result
    here: Places
    there: Places
    items: Places
    other: int

    def sums(self, metric: str) -> tuple[Floats, Floats]:
        """Of a metric that both have, row for row."""
        return self.before.columns[metric].sums[self.here], self.after.columns[metric].sums[self.there]

    def floors(self, metric: str) -> tuple[Floats, Floats] | None:
        """The same against references of other items; None where one of them has none."""
        one, two = self.before.columns[metric].floor, self.after.columns[metric].floor
        return None if one is None or two is None else (one[self.here], two[self.there])


def entries_of(places: Sequence[Path]) -> tuple[Entry, ...]:
    """The subjects whose results lie in folders, in their order; a folder may hold several subjects.

    Raises:
        InputError: a folder holds no result, or a suite twice for one subject.
    """
    found: dict[tuple[int, str], dict[str, Result]] = {}
    for number, place in enumerate(places):
        for folder in results_below(place):
            result = load_result(folder)
            suites = found.setdefault((number, result.subject.identity), {})
            if result.suite.name in suites:
                raise InputError(
                    f"a second result of {result.suite.name} for {result.subject.label}",
                    where=str(folder),
                    fix="name the folder of the result that you mean",
                )
            suites[result.suite.name] = result
    return labelled(list(found.values()))


def labelled(groups: Sequence[Mapping[str, Result]]) -> tuple[Entry, ...]:
    """Entries of results by suite, with labels that tell them apart."""
    subjects = [next(iter(group.values())).subject for group in groups]
    names = [subject.label for subject in subjects]
    labels = [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
    return tuple(Entry(*parts) for parts in zip(labels, subjects, groups, strict=True))


def pairs(entries: Sequence[Entry], other: int, shared_only: bool) -> list[Pair]:
    """The rows of the first entry and another one, suite by suite.

    Raises:
        InputError: they have no suite in common, or other items under its name.
    """
    ours, theirs = entries[0].results, entries[other].results
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError(
            f"{entries[0].label} and {entries[other].label} have no suite in common",
            fix=f"evaluate both on one of {', '.join(sorted({*ours, *theirs}))}",
        )
    return [_pair(ours[name], theirs[name], other, entries, shared_only) for name in shared]


def _pair(before: Result, after: Result, other: int, entries: Sequence[Entry], shared_only: bool) -> Pair:
    places = {(row.item.id, row.output.sample): place for place, row in enumerate(after.rows)}
    keys = [(row.item.id, row.output.sample) for row in before.rows]
    here = [place for place, key in enumerate(keys) if key in places]
    same = before.suite.digest == after.suite.digest
    if not here or not (same or shared_only):
        who = f"{entries[0].label} and {entries[other].label} answered"
        raise InputError(
            f"{who} different items of {before.suite.name}: {_named(before.suite)} and {_named(after.suite)}, "
            f"{len(here)} answers can be paired",
            fix="compare what they share (--shared-only)" if here else "evaluate both on the same suite",
        )
    there = [places[keys[place]] for place in here]
    items = numbered([keys[place][0] for place in here])
    return Pair(before, after, np.array(here, np.intp), np.array(there, np.intp), items, other)


def _named(suite: SuiteRef) -> str:
    return f"v{suite.version} {suite.digest[:8]}{' offline' if suite.offline else ''}"


def why_not(pair: Pair, metric: str) -> str:
    """Why a metric that one of them has is not compared; empty where it is."""
    one, two = pair.before.columns.get(metric), pair.after.columns.get(metric)
    if one is None or two is None:
        return f"{metric} was not measured in both"
    differ = [lang for lang in one.variants if two.variants.get(lang, one.variants[lang]) != one.variants[lang]]
    if differ:
        lang = differ[0]
        return f"{metric} was counted in two ways ({lang}: {one.variants[lang]} | {two.variants[lang]})"
    return ""


def pairing(pair: Pair, metrics: Mapping[str, Metric]) -> Pairing:
    """What was paired of a suite, and what must be said of it."""
    before, after = pair.before, pair.after
    names = dict.fromkeys([*before.columns, *after.columns])
    notes = [why for name in names if name in metrics and (why := why_not(pair, name))]
    notes += [f"this lft knows no metric {name}" for name in names if name not in metrics]
    if before.suite.digest != after.suite.digest:
        notes.append(f"the items differ ({_named(before.suite)} | {_named(after.suite)}): only those of both count")
    for key in sorted({*before.decoding, *after.decoding}):
        one, two = before.decoding.get(key, "not said"), after.decoding.get(key, "not said")
        if one != two:
            notes.append(f"the decoding differs: {key} is {one} | {two}")
    paired_rows = len(pair.here)
    return Pairing(
        before.suite,
        pair.other,
        len(np.unique(pair.items)),
        paired_rows,
        len(before.rows) - paired_rows,
        len(after.rows) - paired_rows,
        tuple(notes),
    )


def not_shared(entries: Sequence[Entry]) -> Iterator[str]:
    """Suites that not every entry answered."""
    names = dict.fromkeys(name for entry in entries for name in entry.results)
    for name in names:
        having = [entry.label for entry in entries if name in entry.results]
        if len(having) < len(entries):
            yield f"{name} was answered by {', '.join(having)} only"
