"""report.html of an evaluation: scores, what differs and how surely, the answers behind it, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import lft
from lft.evaluate.compare import Comparison
from lft.evaluate.markdown import variants_words
from lft.evaluate.report_differences import (
    SIDES,
    cases,
    differences,
    differences_by_part,
    matrix,
    sentences,
    stacked,
    warnings,
)
from lft.evaluate.report_text import answers_words, decoding_words, estimate_range, subject_words
from lft.evaluate.result import SuiteRef
from lft.evaluate.statistics import Estimate
from lft.evaluate.summary import MetricSummary, Published, Summary, shown
from lft.files import write_text
from lft.page.document import folded, missing, page
from lft.page.forest import Interval, forest
from lft.page.html import Child, Html, definitions, element, joined, table

REPORT: Final = "report.html"


@dataclass(frozen=True, slots=True)
class Report:
    """What a page shows: for each label its summaries by suite; a comparison where there are several subjects.

    ``published`` are numbers that others printed, by suite; ``chosen`` is the metric that is drawn.
    """

    labels: tuple[str, ...]
    summaries: tuple[Mapping[str, Summary], ...]
    comparison: Comparison | None = None
    published: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    chosen: str = "meteor"

    @staticmethod
    def of(comparison: Comparison, published: Mapping[str, Sequence[Published]] | None = None) -> Report:
        """The report of a comparison."""
        return Report(comparison.labels, comparison.summaries, comparison, published or {}, comparison.chosen)

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of all suites, in order."""
        return tuple(dict.fromkeys(name for one in self.summaries for name in one))

    def of_suite(self, name: str) -> list[tuple[str, Summary]]:
        """Labels and summaries of the subjects that answered a suite."""
        return [(label, one[name]) for label, one in zip(self.labels, self.summaries, strict=True) if name in one]

    @property
    def every(self) -> list[tuple[str, Summary]]:
        """Labels and summaries of all subjects and suites."""
        return [pair for name in self.suites for pair in self.of_suite(name)]


def write_report(report: Report, folder: Path) -> Path:
    """Write report.html into a folder, and return its path.

    Raises:
        MachineError: the page cannot be written.
    """
    path = folder / REPORT
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The page."""
    compared = report.comparison
    sections: list[tuple[str, Child]] = [("Scores", _scores(report))]
    if compared is not None:
        sections += [
            ("Differences", differences(compared)),
            ("By language, source and length", differences_by_part(compared)),
            *([("All subjects", matrix(compared))] if len(report.labels) > 2 else []),
            ("Wins and losses", cases(compared)),
        ]
    else:
        sections.append(("By language, source and length", _by_part(report)))
    sections += [
        ("Published numbers", _published(report)),
        ("What was left out", _left_out(report)),
        ("How it was counted", _method(report)),
    ]
    return page(f"{_title(report)}: evaluation report", _header(report), sections, _footer())


def _title(report: Report) -> str:
    return report.labels[0] if len(report.labels) == 1 else f"{', '.join(report.labels[1:])} against {report.labels[0]}"


def _header(report: Report) -> Html:
    facts: list[tuple[str, Child]] = []
    for place, (label, summaries) in enumerate(zip(report.labels, report.summaries, strict=True)):
        baseline = report.comparison is not None and place == 0
        words = [subject_words(one) for one in summaries.values()][:1]
        facts.append((f"{label}{' (baseline)' if baseline else ''}", words[0] if words else "no results"))
    facts += [("suites", joined([element("div", _suite_words(report, name)) for name in report.suites]))]
    facts += [("decoding", joined([element("div", words) for words in _decodings(report)]))]
    return element(
        "header",
        element("h1", _title(report)),
        element("p", "Evaluation", class_="where"),
        *(sentences(report.comparison) if report.comparison else ()),
        definitions(facts, "facts head"),
        *(warnings(report.comparison) if report.comparison else ()),
    )


def _suite_words(report: Report, name: str) -> str:
    """A suite with its version and digest; each of them, where subjects answered different ones."""
    found = dict.fromkeys(one.suite for _, one in report.of_suite(name))
    return f"{name} " + "; ".join(
        f"v{one.version}{', small offline set' if one.offline else ''}, {one.digest[:12]}" for one in found
    )


def _decodings(report: Report) -> list[str]:
    ways: dict[str, list[str]] = {}
    for label, one in report.every:
        ways.setdefault(decoding_words(one.decoding), []).append(f"{label} on {one.suite.name}")
    return [words if len(ways) == 1 else f"{words} ({', '.join(who)})" for words, who in ways.items()]


def _scores(report: Report) -> Html:
    drawn = _drawn(report)
    return joined([*([drawn] if drawn else []), *(_table(report, name) for name in report.suites)])


def _drawn(report: Report) -> Html | None:
    """The chosen metric of all subjects and suites, with the floors and what others printed."""
    rows, title = [], ""
    for name in report.suites:
        for label, summary in report.of_suite(name):
            one = summary.get(report.chosen)
            if one is not None:
                title = one.metric.title
                rows.append(_interval(f"{name}: {label}", one))
        for printed in report.published.get(name, ()):
            if printed.metric.casefold() in (report.chosen.casefold(), title.casefold()):
                words = (stacked(f"{printed.score:g}", "published"), "")
                nowhere = float("nan")
                rows.append(Interval(f"{name}: {printed.model}", printed.score, nowhere, nowhere, words, "published"))
    if not title:
        return None
    caption = f"{title} with 95 % intervals. A cross is the floor: the same answers, references of other items."
    return forest(caption, ("suite and subject", title, "score", "floor"), rows)


def _interval(name: str, one: MetricSummary) -> Interval:
    whole, floor = one.whole, one.floor
    cells = (_estimate(whole, one), "" if floor is None else shown(floor.score, one.metric))
    mark = float("nan") if floor is None else floor.score
    return Interval(name, whole.score, whole.low, whole.high, cells, "", mark)


def _estimate(estimate: Estimate, one: MetricSummary) -> Html:
    return stacked(shown(estimate.score, one.metric), estimate_range(estimate, one.metric), estimate.note)


def _table(report: Report, name: str) -> Html:
    """Metrics down, subjects across, overlap metrics with what must be read with them first."""
    subjects = report.of_suite(name)
    metrics = {one.metric.name: one.metric for _, summary in subjects for one in summary.metrics}
    rows = [
        (
            joined([metric.title, element("span", SIDES[metric.better], class_="range")]),
            *(_score(summary.get(metric.name)) for _, summary in subjects),
        )
        for metric in metrics.values()
    ]
    unread = dict.fromkeys(missed for _, summary in subjects for missed in summary.unread)
    words = ", ".join(unread)
    notes = [missing(f"Not measured, though overlap metrics say little without: {words}.")] if unread else []
    counts: dict[str, list[str]] = {}
    for label, summary in subjects:
        counts.setdefault(answers_words(summary), []).append(label)
    notes += [element("p", f"{', '.join(who)}: {count}.", class_="note") for count, who in counts.items()]
    caption = f"{_suite_words(report, name)}: score, 95 % interval, wrong-reference floor"
    return joined([table(caption, ("metric", *(label for label, _ in subjects)), rows, "scores"), *notes])


def _score(one: MetricSummary | None) -> Child:
    if one is None:
        return "not measured"
    whole, floor = one.whole, one.floor
    return stacked(
        shown(whole.score, one.metric),
        estimate_range(whole, one.metric),
        "" if floor is None else f"floor {shown(floor.score, one.metric)}",
        f"{whole.missing:,} of {whole.missing + whole.rows:,} left out" if whole.missing else "",
        whole.note,
    )


def _by_part(report: Report) -> Html:
    """Where a subject that is compared with none is strong and weak."""
    found = []
    for label, summary in report.every:
        one = summary.get(report.chosen)
        rows = [
            Interval(
                f"{score.part.kind}: {score.part.value or 'none'}", score.estimate.score, score.estimate.low,
                score.estimate.high,
                (_estimate(score.estimate, one), f"{score.estimate.items:,}"),
                "", score.floor,
            )
            for score in one.parts
            if sum(other.part.kind == score.part.kind for other in one.parts) > 1
        ] if one else []  # fmt: skip
        if one and rows:
            head = ("part", one.metric.title, "score", "items")
            found.append(forest(f"{summary.suite.name}: {label}", head, rows))
    return joined(found or [missing("No suite has more than one language, source, subset or length.")])


def _published(report: Report) -> Html:
    rows = [
        (one.model, name, one.metric, f"{one.score:g}", one.note)
        for name, printed in report.published.items()
        if name in report.suites
        for one in printed
    ]
    if not rows:
        return missing("No published number is known for these suites.")
    caption = "Printed by others, not measured here"
    return table(caption, ("model", "suite", "metric", "score", "where, and what is not known"), rows)


def _left_out(report: Report) -> Html:
    rows = [
        (f"{summary.suite.name}: {label}", one.metric.title, f"{reason.rows:,}", reason.words)
        for label, summary in report.every
        for one in summary.metrics
        for reason in one.left_out
    ]
    notes = [missing(words) for _, summary in report.every for words in _suite_notes(summary.suite)]
    notes += [
        missing(f"{summary.suite.name}: {label}: this lft knows no metric {name}.")
        for label, summary in report.every
        for name in summary.unknown
    ]
    if report.comparison is not None:
        notes += [missing(f"{note}.") for note in report.comparison.notes]
        notes += [missing(words) for one in report.comparison.pairings for words in _pairing_notes(report, one.other)]
    whole = table("Answers without a value", ("suite and subject", "metric", "answers", "reason"), rows)
    return joined(
        [whole if rows else element("p", "Every metric has a value for every answer."), *dict.fromkeys(notes)]
    )


def _suite_notes(suite: SuiteRef) -> list[str]:
    """What a suite's items were read from, and which rows became none."""
    read = [f"{suite.name} was read from {place}." for place in suite.places]
    return read + [f"{suite.name}: {rows:,} rows became no item: {reason}." for reason, rows in suite.left_out.items()]


def _pairing_notes(report: Report, other: int) -> list[str]:
    assert report.comparison is not None
    found = []
    for one in report.comparison.pairings:
        who = f"{one.suite.name}: {report.labels[0]} and {report.labels[other]}"
        if one.other == other and (one.only_before or one.only_after):
            found.append(f"{who}: {one.only_before:,} and {one.only_after:,} answers have no partner.")
        found += [f"{who}: {note}." for note in one.notes if one.other == other]
    return found


def _method(report: Report) -> Html:
    rows = [
        (one.metric.title, f"{summary.suite.name}: {label}", variants_words(one.variants))
        for label, summary in report.every
        for one in summary.metrics
    ]
    versions = dict.fromkeys(f"{key} {value}" for _, one in report.every for key, value in one.versions.items())
    made = dict.fromkeys(one.made for _, one in report.every)
    return joined(
        [
            *(element("p", words) for words in _statistics(report)),
            folded("How each metric was counted", table("Variants", ("metric", "suite and subject", "variant"), rows)),
            element("p", f"Measured with {', '.join(versions)}; {', '.join(made)}.", class_="note"),
        ]
    )


def _statistics(report: Report) -> Iterator[str]:
    yield "Intervals: 95 %, from bootstrap draws of items with all their samples, expanded percentiles."
    if report.comparison is not None:
        effort = report.comparison.effort
        yield (
            f"{effort.draws:,} draws; for p the subjects are swapped within items, in all ways or in "
            f"{effort.permutations:,} of them; seed {effort.seed}. Holm's correction goes over the suites and subjects "
            "of one metric. Parts of a suite are not tested."
        )
    yield (
        "Floor: the same answers against the references of other items. METEOR gives about 15 to a fluent answer of "
        "the wrong question, and rises when an answer is longer or said twice."
    )


def _footer() -> Html:
    return element("footer", f"Written by lft {lft.__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")
