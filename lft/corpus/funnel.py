"""Reports of a build as a page of Markdown that also reads well in a terminal: what came, went on, was cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from lft.corpus.step import Report

WIDTH = 78


def funnel(reports: Sequence[Report], samples: bool = True) -> str:
    """The table of all steps and, for each reason, how many and what they looked like."""
    lines = ["| step | came | cut | went on |", "|---|---:|---:|---:|"]
    for one in reports:
        lines.append(f"| {one.step} | {one.came:,} | {one.came - one.kept:,} | {one.kept:,} |")
    for one in reports:
        lines += _step(one, samples)
    return "\n".join(lines) + "\n"


def _step(report: Report, samples: bool) -> Iterator[str]:
    if not report.cut and not report.notes and not report.figures.get("scores"):
        return
    yield ""
    yield f"## {report.step}"
    for note in report.notes:
        yield from textwrap.wrap(note, WIDTH)
    yield from _scores(report.figures.get("scores") or {})
    for reason, cut in sorted(report.cut.items(), key=lambda item: -item[1].count):
        yield from textwrap.wrap(f"- {cut.count:,} x {reason}", WIDTH, subsequent_indent="  ")
        for sample in cut.samples if samples else ():
            text = " ".join(sample.text.split())
            yield f"  - `{sample.id}` {_plain(textwrap.shorten(text, 56, placeholder=' …') or '(empty)')}"


def _scores(scores: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """How each score is spread among the pairs that were kept."""
    if scores:
        places = list(next(iter(scores.values())))
        yield f"| score | {' | '.join(places)} |"
        yield "|---" + "|---:" * len(places) + "|"
        for name, values in scores.items():
            yield f"| {name} | {' | '.join(f'{values[place]:.3g}' for place in places)} |"
        yield ""


def _plain(text: str) -> str:
    """Somebody's text where Markdown and HTML do not act."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|~&" else c for c in text)
