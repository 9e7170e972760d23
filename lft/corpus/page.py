"""report.html of a build: what came into each step, what was cut and why, how the scores are spread, what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import lft
from lft.corpus.screen.histogram import Histogram
from lft.corpus.step import Cut, Report
from lft.page.bars import Bars, Divider, bars, share
from lft.page.chart import number
from lft.page.document import folded, missing, page
from lft.page.html import Child, Html, definitions, element, joined, table

PAGE: Final = "report.html"
_TABLES: Final = ("split", "source", "lang", "licence", "style")
_NAMES: Final = {"lang": "language"}


def render(name: str, reports: Sequence[Report]) -> str:
    """The page of a build's reports, of as many steps as are done: one file that asks for nothing outside itself."""
    sections: list[tuple[str, Child]] = [("From step to step", _funnel(reports)), ("What was cut", _cuts(reports))]
    if scores := _scores(reports):
        sections.append(("Scores", scores))
    if tables := _tables(reports[-1].figures):
        sections.append(("What is in it", tables))
    footer = element("footer", f"Written by lft {lft.__version__}.")  # no time: the same build has the same bytes
    return page(f"{name}: data set", _header(name, reports), sections, footer)


def _header(name: str, reports: Sequence[Report]) -> Html:
    first, last = reports[0], reports[-1]
    facts: list[tuple[str, Child]] = [("came", f"{first.came:,} documents"), ("steps", f"{first.step} to {last.step}")]
    if "rows" in last.figures:
        facts.append(("rows", f"{last.figures['rows']:,} with {last.figures['words']:,} words"))
    else:
        facts.append(("left", f"{last.kept:,} after the step {last.step}"))
    return element(
        "header", element("h1", name), element("p", "Data set", class_="where"), definitions(facts, "facts head")
    )


def _funnel(reports: Sequence[Report]) -> Html:
    found = [_steps("Documents and pairs", reports)]
    for one in reports:
        if inner := [Report.of(saved) for saved in one.figures.get("steps", ())]:
            found.append(folded(f"The parts of {one.step}", _steps(f"Parts of {one.step}", inner)))
    return joined(found)


def _steps(caption: str, reports: Sequence[Report]) -> Html:
    most = max(1, *(one.came for one in reports))
    rows = [
        (one.step, f"{one.came:,}", f"{one.came - one.kept:,}", f"{one.kept:,}", share(one.kept / most))
        for one in reports
    ]
    return table(caption, ("step", "came", "cut", "went on", "of all"), rows, "unbroken")


def _cuts(reports: Sequence[Report]) -> Html:
    found: list[Html] = []
    for one in reports:
        if one.cut or one.notes:
            found += [element("h3", one.step), *(element("p", note) for note in one.notes)]
        for reason, cut in sorted(one.cut.items(), key=lambda item: -item[1].count):
            title = f"{cut.count:,} ({cut.count / max(one.came, 1):.1%}): {reason}"
            found.append(folded(title, _samples(cut)) if cut.samples else element("p", title))
    return joined(found or [missing("Nothing was cut.")])


def _samples(cut: Cut) -> Html:
    shown = [
        element(
            "div",
            element("h4", element("code", sample.id)),
            element("p", sample.text or "(empty)", class_="text", dir="auto"),
            class_="answer",
        )
        for sample in cut.samples
    ]
    return element("div", *shown, class_="answers")


def _scores(reports: Sequence[Report]) -> Html | None:
    figures = next((one.figures for one in reports if "histograms" in one.figures), None)
    if not figures or not figures["histograms"]:
        return None
    drawn = [_spread(name, Histogram.of(saved)) for name, saved in figures["histograms"].items()]
    note = element(
        "p",
        "Each score of all pairs that got as far as it, before its cut. Those that were kept in the end are drawn "
        "apart from those that this score or another reason cut.",
    )
    return joined([note, element("div", *drawn, class_="side"), *_quartiles(figures.get("scores") or {})])


def _spread(name: str, one: Histogram) -> Html:
    kinds = (Bars("kept", "kept", one.kept), Bars("cut", "cut", one.cut))
    return bars(f"score-{name}", _words(name), (one.low, one.high), kinds, _divider(one))


def _divider(one: Histogram) -> Divider | None:
    """The threshold; where each whole number has a bin, the line stands between two of them."""
    if one.threshold is None:
        return None
    words = f"goes on: {one.threshold.side} {number(one.threshold.at)}"
    beside = 0.5 if one.threshold.side == "at most" else -0.5
    return Divider(one.threshold.at + (beside if one.of_whole_numbers else 0), words)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _quartiles(scores: Mapping[str, Mapping[str, float]]) -> Iterator[Html]:
    if scores:
        places = list(next(iter(scores.values())))
        rows = [(_words(name), *(number(values[place]) for place in places)) for name, values in scores.items()]
        yield table("Scores of the pairs that are kept", ("score", *places), rows, "numbers unbroken")


def _tables(figures: Mapping[str, Any]) -> Html | None:
    rows = figures.get("rows")
    if rows is None:
        return None
    found = []
    for key in (one for one in _TABLES if one in figures):
        name = _NAMES.get(key, key)
        lines = [(value or "none", f"{count:,}", f"{count / rows:.1%}") for value, count in figures[key].items()]
        found.append(table(f"Rows by {name}", (name, "rows", "share"), lines, "numbers"))
    return element("div", *found, class_="side")
