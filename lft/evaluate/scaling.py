"""How a score grows with the size of the base: a straight line over the logarithm of parameters, with intervals.

    score = at_billion + slope * log10(parameters / 10^9)

All sizes are scored on the same items, so each draw of the bootstrap takes the same items for all of them: what makes
an item hard is hard for every size, and the slope is surer than scores of their own items would make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

import lft
from lft.errors import InputError
from lft.evaluate.metric import Floats, Metric
from lft.evaluate.result import Result
from lft.evaluate.statistics import DRAWS, Estimate, clustered, ends, held, interval, numbered, resampled, score_of
from lft.evaluate.summary import shown
from lft.page.chart import PARAMETERS, Series, chart, short
from lft.page.document import page
from lft.page.html import Child, Html, element, joined

LEAST: Final = 3  # sizes: two points lie on every line
_BILLION: Final = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """A base that was trained and evaluated: its name, how many parameters it has, its result on a suite."""

    label: str
    parameters: int
    result: Result


@dataclass(frozen=True, slots=True)
class Line:
    """The line through the scores: its rise for ten times the parameters and its height at a billion, each with its
    95 % interval over items; ``r2`` is the share of the scores' variance that it explains."""

    slope: float
    slope_low: float
    slope_high: float
    at_billion: float
    at_billion_low: float
    at_billion_high: float
    r2: float

    def at(self, parameters: float) -> float:
        """The line's score for a number of parameters."""
        return self.at_billion + self.slope * float(np.log10(parameters / _BILLION))


@dataclass(frozen=True, slots=True)
class Scaling:
    """One metric over the sizes of one suite; ``line`` is None while there are fewer than three."""

    suite: str
    metric: Metric
    labels: tuple[str, ...]
    parameters: tuple[int, ...]
    scores: tuple[Estimate, ...]
    line: Line | None
    items: int


def scaling(sizes: Sequence[Size], metric: Metric, draws: int = DRAWS, seed: int = 0) -> Scaling:
    """A metric over sizes, smallest first, on the items that all of them have a value for.

    Raises:
        InputError: the results are of several suites, one lacks the metric, or no item is common to all.
    """
    found = sorted(sizes, key=lambda one: one.parameters)
    suites = sorted({f"{one.result.suite.name} {one.result.suite.digest[:12]}" for one in found})
    if len(suites) != 1:
        raise InputError(f"sizes of several suites: {', '.join(suites)}", fix="evaluate all sizes on the same items")
    sums, names = _on_common_items(found, metric)
    items = numbered(names)
    drawn = np.stack([resampled(clustered(one, items), metric, draws, seed) for one in sums])  # [sizes x draws]
    totals = np.array([score_of(one, metric) for one in sums])
    line = _line(found, totals, drawn, len(set(names))) if len(found) >= LEAST else None
    return Scaling(
        found[0].result.suite.name,
        metric,
        tuple(one.label for one in found),
        tuple(one.parameters for one in found),
        tuple(interval(one, items, metric, draws, seed) for one in sums),
        line,
        len(set(names)),
    )


def _on_common_items(sizes: Sequence[Size], metric: Metric) -> tuple[list[Floats], list[str]]:
    """The sums of each size over the rows that all have, in one order, and the items of these rows."""
    by_size = []
    for one in sizes:
        column = one.result.columns.get(metric.name)
        if column is None:
            fix = f"evaluate it with --metric +{metric.name}"
            raise InputError(f"{one.label} was not scored by {metric.name}", fix=fix)
        keep = held(column.sums)
        rows = zip(one.result.rows, column.sums, keep, strict=True)
        by_size.append({(row.item.id, row.output.sample): sums for row, sums, there in rows if there})
    common = [key for key in by_size[0] if all(key in one for one in by_size)]
    if not common:
        raise InputError(f"no item has a value of {metric.name} for every size")
    return [np.array([one[key] for key in common]) for one in by_size], [item for item, _ in common]


def _line(sizes: Sequence[Size], scores: Floats, drawn: Floats, items: int) -> Line:
    along = np.log10(np.array([one.parameters for one in sizes]) / _BILLION)
    if np.ptp(along) == 0:
        raise InputError("all bases have the same number of parameters", fix="name bases of several sizes")
    slope, height = _fitted(along, scores[:, None])
    slopes, heights = _fitted(along, drawn)
    left = scores - (height + slope * along)
    spread = float(np.sum((scores - scores.mean()) ** 2))
    r2 = 1 - float(np.sum(left**2)) / spread if spread else float("nan")
    return Line(float(slope[0]), *ends(slopes, items), float(height[0]), *ends(heights, items), r2)


def _fitted(along: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Least squares for each column of scores [sizes x d]: slopes and heights at zero, [d] each."""
    middle = along.mean()
    slope = (along - middle) @ (scores - scores.mean(axis=0)) / np.sum((along - middle) ** 2)
    return slope, scores.mean(axis=0) - slope * middle


def scale_lines(found: Sequence[Scaling]) -> Iterator[str]:
    """The scores of each size and the line through them, for a terminal."""
    for one in found:
        yield f"{one.suite}: {one.metric.title} on {one.items:,} items that all sizes have"
        for label, parameters, score in zip(one.labels, one.parameters, one.scores, strict=True):
            ends_ = f"{shown(score.low, one.metric)} to {shown(score.high, one.metric)}"
            yield f"  {label[:34]:<34} {short(parameters):>7}  {shown(score.score, one.metric):>6}  {ends_}"
        if one.line is None:
            yield f"  no line: {len(one.labels)} sizes, and it takes {LEAST}"
            continue
        line = one.line
        yield (
            f"  ten times the parameters: {line.slope:+.2f} ({line.slope_low:+.2f} to {line.slope_high:+.2f}); "
            f"at a billion {line.at_billion:.1f}; R2 {line.r2:.2f}"
        )
    yield "intervals of 95 % over items; they say nothing of other bases, seeds or recipes"


def scale_page(found: Sequence[Scaling]) -> str:
    """A plot of each suite on a logarithmic axis, with the line where there is one."""
    title = "Score against size"
    sections: list[tuple[str, Child]] = [(one.suite, _plot(number, one)) for number, one in enumerate(found)]
    text = [element("p", line.strip()) for line in scale_lines(found)]
    foot = element("footer", element("p", f"Written by lft {lft.__version__}."))
    return page(title, element("header", element("h1", title)), [*sections, ("In words", joined(text))], foot)


def _plot(number: int, one: Scaling) -> Html:
    points = tuple(
        (float(parameters), score.score, score.low, score.high)
        for parameters, score in zip(one.parameters, one.scores, strict=True)
    )
    series = [Series("measured", "train", points, dots=True, line=False)]
    if one.line is not None:
        fit = one.line
        series.append(Series("line", "validation", tuple((float(size), fit.at(size)) for size in one.parameters)))
    return chart(f"scale{number}", f"{one.suite}: {one.metric.title}", one.metric.title, series, PARAMETERS)
