"""Scores and comparisons as text of at most 80 columns."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from lft.evaluate.compare import Comparison, Effect, FloorChange, Tested
from lft.evaluate.metric import Metric
from lft.evaluate.statistics import FEW, Difference, Estimate
from lft.evaluate.summary import KINDS, MetricSummary, Published, Summary, shown

WIDTH: Final = 80
_NAME: Final = 17  # the longest name of a metric, and a space


def summary_lines(summary: Summary, published: Sequence[Published] = ()) -> Iterator[str]:
    """One result: its scores, what they were counted over, and what others printed for the suite."""
    suite = summary.suite
    yield f"{suite.name} v{suite.version}{' (offline set)' if suite.offline else ''}, {suite.digest[:12]}"
    yield from _entry("subject", subject_words(summary))
    yield from _entry("decoding", decoding_words(summary.decoding))
    yield from _entry("counted", answers_words(summary))
    for place in () if suite.offline else suite.places:
        yield from _entry("read", place)
    for reason, rows in sorted(suite.left_out.items()):
        yield from _entry("no item", f"{rows:,} rows: {reason}")
    yield ""
    yield f"{'METRIC':<{_NAME}}{'SCORE':>9}  {'95 % INTERVAL':<17}{'FLOOR':>8}{'ITEMS':>8}{'ANSWERS':>9}"
    yield from map(_metric, summary.metrics)
    yield from _notes(summary)
    yield from honesty_lines(summary)
    yield from _left_out(summary)
    yield from _published(published)


def _metric(one: MetricSummary) -> str:
    floor = "" if one.floor is None else shown(one.floor.score, one.metric)
    whole, ends = one.whole, estimate_range(one.whole, one.metric)
    return (
        f"{_cut(one.metric.name):<{_NAME}}{shown(whole.score, one.metric):>9}  {ends:<17}{floor:>8}"
        f"{whole.items:>8,}{whole.rows:>9,}"
    )


def estimate_range(estimate: Estimate, metric: Metric) -> str:
    """Both ends of a score's interval."""
    return f"{shown(estimate.low, metric)} to {shown(estimate.high, metric)}"


def honesty_lines(summary: Summary) -> Iterator[str]:
    """What must be said of overlap metrics: what the floor is, and that a companion is missing."""
    if any(one.floor is not None for one in summary.metrics):
        yield from _wrapped("floor: the same answers against the references of other items", "  ")
    if summary.unread:
        yield from _wrapped(f"not measured, though overlap says little without: {', '.join(summary.unread)}", "  ")
    if summary.unknown:
        yield from _wrapped(f"not known to this lft: {', '.join(summary.unknown)}", "  ")


def _notes(summary: Summary) -> Iterator[str]:
    """What warns of intervals, once for all metrics that it is true of."""
    groups: dict[str, list[str]] = {}
    for one in summary.metrics:
        if one.whole.note:
            groups.setdefault(one.whole.note, []).append(one.metric.name)
    for note, names in groups.items():
        yield from _wrapped(f"{note} ({_whose(names, summary)})", "  ")


def _left_out(summary: Summary) -> Iterator[str]:
    groups: dict[tuple[str, int], list[str]] = {}
    for one in summary.metrics:
        for reason in one.left_out:
            groups.setdefault((reason.words, reason.rows), []).append(one.metric.name)
    for (words, rows), names in groups.items():
        yield from _entry("left out", f"{rows:,} of {_whose(names, summary)}: {words}")


def _whose(names: Sequence[str], summary: Summary) -> str:
    return "every metric" if len(names) == len(summary.metrics) else ", ".join(names)


def _published(rows: Sequence[Published]) -> Iterator[str]:
    if rows:
        yield ""
        yield "published elsewhere, not measured here"
    for one in rows:
        yield from _wrapped(f"{one.model}: {one.metric} {one.score:g} ({one.note})", "  ")


def subject_words(summary: Summary) -> str:
    """Who answered, in words."""
    one = summary.subject
    parts = [
        one.kind,
        f"base {one.base}" if one.base else "",
        f"adapters {', '.join(one.adapters)}" if one.adapters else "",
        f"prompt {one.prompt}" if one.prompt else "",
        one.identity[:12],
    ]
    return f"{one.label} ({'; '.join(part for part in parts if part)})"


def decoding_words(decoding: Mapping[str, float | int | bool]) -> str:
    """How tokens were chosen."""
    return ", ".join(f"{key} {value}" for key, value in decoding.items()) or "not recorded"


def answers_words(summary: Summary) -> str:
    """How many answers to how many items, and how they ended."""
    words = {"stop": "ended by themselves", "length": "cut at the limit", "unknown": "end not known"}
    ends = [f"{summary.finished[key]:,} {said}" for key, said in words.items() if summary.finished.get(key)]
    return f"{summary.rows:,} answers to {summary.items:,} items" + (f"; {', '.join(ends)}" if ends else "")


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Everything against the first: a table a suite and subject, then where the chosen metric differs."""
    letters = [chr(ord("A") + place) if place < 26 else str(place + 1) for place in range(len(comparison.entries))]
    for letter, label in zip(letters, comparison.labels, strict=True):
        yield from _wrapped(f"{letter}  {label}", "")
    for pairing in comparison.pairings:
        yield ""
        suite, other = pairing.suite, letters[pairing.other]
        yield from _wrapped(
            f"{suite.name} v{suite.version}, {other} against {letters[0]}: {pairing.rows:,} pairs of answers, "
            f"{pairing.items:,} items", ""
        )  # fmt: skip
        if pairing.only_before or pairing.only_after:
            lone = f"{letters[0]} {pairing.only_before:,}, {other} {pairing.only_after:,}"
            yield from _wrapped(f"without a partner, not compared: {lone}", "  ")
        for note in pairing.notes:
            yield from _wrapped(note, "  ")
        tests = [t for t in comparison.tests if t.other == pairing.other and t.suite.name == suite.name]
        yield from _tests(sorted(tests, key=comparison_order(comparison)), letters[0], other)
        yield from _parts(next((t for t in tests if t.metric.name == comparison.chosen), None))
    yield ""
    yield from _wrapped("floor: the same answers against the references of other items", "")
    yield from _wrapped(
        "p is of a permutation test; HOLM is p corrected over the suites and subjects of a metric; * below 0.05", ""
    )
    for note in comparison.notes:
        yield from _wrapped(note, "")
    for warning in comparison.warnings:
        yield from _wrapped(f"! {warning}", "")


def comparison_order(comparison: Comparison) -> Callable[[Tested], int]:
    """The place of a test's metric in reading order."""
    names = [metric.name for metric in comparison.metrics]
    return lambda test: names.index(test.metric.name)


def _tests(tests: Sequence[Tested], first: str, other: str) -> Iterator[str]:
    change = f"{other} - {first}"
    yield f"  {'METRIC':<{_NAME}}{first:>7}{other:>7}{change:>8}  {'95 % INTERVAL':<17}{'P':>8}{'HOLM':>9}"
    for test in tests:
        found = test.whole.difference
        row = _row(test.whole, test, test.metric.name)
        yield f"  {row}{p_words(found.p):>8}{p_words(test.holm):>9}{' *' if test.holm < 0.05 else ''}"
        if found.note:
            yield f"    {found.note}"
        if test.floor is not None:
            yield f"  {_floor(test.floor, test)}"
    won = next((test for test in tests if test.metric.better != "neither"), None)
    if won:
        yield f"  {other} is ahead by {won.metric.name} in {won.won:,} pairs, behind in {won.lost:,}"


def _floor(floor: FloorChange, test: Tested) -> str:
    scores = f"{shown(floor.before, test.metric):>7}{shown(floor.after, test.metric):>7}"
    return f"{'  its floor':<{_NAME}}{scores}{shown(floor.after - floor.before, test.metric, sign=True):>8}"


def _parts(test: Tested | None) -> Iterator[str]:
    parts = [] if test is None else worth_showing(test.parts)
    if test is None or not parts:
        return
    yield f"{f'  {test.metric.name} by part':<60}{'ITEMS':>8}"
    for part in parts:
        name = f"{part.part.kind} {part.part.value or '-'}"
        few = "  few" if part.difference.note else ""
        yield f"  {_row(part, test, name)}{part.difference.items:>8,}{few}"


def _row(effect: Effect, test: Tested, name: str) -> str:
    metric, found = test.metric, effect.difference
    change = shown(found.value, metric, sign=True)
    return (
        f"{_cut(name):<{_NAME}}{shown(effect.before, metric):>7}{shown(effect.after, metric):>7}"
        f"{change:>8}  {difference_range(found, test):<17}"
    )


def difference_range(found: Difference, test: Tested) -> str:
    """Both ends of a difference's interval."""
    return f"{shown(found.low, test.metric, sign=True)} to {shown(found.high, test.metric, sign=True)}"


def worth_showing(parts: Sequence[Effect]) -> list[Effect]:
    """Parts of kinds that divide the suite; one that is all of it says nothing new, nor do crumbs of an item."""
    items = {kind: [one.difference.items for one in parts if one.part.kind == kind] for kind in KINDS}
    return [one for one in parts if len(items[one.part.kind]) > 1 and max(items[one.part.kind]) >= FEW]


def p_words(p: float) -> str:
    """A p-value as people read it."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def printable(text: str) -> str:
    """Somebody's text on one line, without the characters that would steer a terminal."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _cut(text: str, width: int = _NAME - 1) -> str:
    flat = printable(text)
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def _entry(label: str, words: str) -> Iterator[str]:
    yield from textwrap.wrap(printable(f"{label:<10}{words}"), WIDTH, subsequent_indent=" " * 10)


def _wrapped(words: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(printable(words), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
