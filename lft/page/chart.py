"""A line chart as inline SVG that keeps its type size and stroke at every width.

figure
  svg (no viewBox; coordinates in % and px)       grid, tick labels, dots
    svg (viewBox 0 0 1000 1000, stretched)        the lines, with strokes that do not scale
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from lft.page.html import Html, element, joined

MOST_POINTS: Final = 400  # more than that is finer than the pixels of the chart
Point = tuple[float, ...]
"""(x, y), or (x, y, low, high) where y has an interval."""


@dataclass(frozen=True, slots=True)
class Along:
    """What the width of a chart is: ``name`` stands below it, ``point`` before a value in words.

    With ``log`` equal factors are equally wide, and values are written short (125M, 1.7B).
    """

    name: str
    point: str
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands; nowhere (NaN) if it has no logarithm."""
        if not self.log:
            return value
        return math.log10(value) if value > 0 else math.nan

    def words(self, place: float) -> str:
        """The value at a place, in words."""
        return short(10**place) if self.log else f"{place:,.0f}"

    def ticks(self, low: float, high: float, places: Sequence[float]) -> tuple[float, ...]:
        """Round values between both ends; where there is hardly one, those at ``places``."""
        if not self.log:
            return tuple(at for at in ticks(low, high, 5) if low <= at <= high and at == round(at))
        powers = range(math.floor(low), math.ceil(high) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [power + math.log10(factor) for power in powers for factor in factors]
            kept = tuple(at for at in found if low <= at <= high)
            if 2 <= len(kept) <= _MOST_LOG_TICKS:
                return kept
        return tuple(sorted(set(places)))[:_MOST_LOG_TICKS]


STEPS: Final = Along("optimizer steps", "step")
PARAMETERS: Final = Along("parameters", "size", log=True)
_MOST_LOG_TICKS: Final = 6  # their labels must fit side by side on a phone


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; ``kind`` is its class in the style sheet, ``dots`` marks each point, ``line`` joins them."""

    name: str
    kind: str
    points: tuple[Point, ...]
    dots: bool = False
    line: bool = True


@dataclass(frozen=True, slots=True)
class Axes:
    """Tick positions. The height goes from the first to the last tick of ``y``, the width over ``span``."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    span: tuple[float, float]

    def place(self, point: Point) -> Point:
        """A point in shares of width and height, from the upper left corner."""
        across = (point[0] - self.span[0]) / (self.span[1] - self.span[0])
        up = (point[1] - self.y[0]) / (self.y[-1] - self.y[0])
        return across, 1 - up


def chart(name: str, title: str, unit: str, series: Sequence[Series], along: Along = STEPS) -> Html:
    """A figure of one or several series.

    Args:
        name: unique in the page; the ids of title and description are made of it.
        title: what is shown.
        unit: of the vertical axis.
        series: at least one has a finite point.
        along: what they go over.
    """
    placed = [replace(one, points=tuple((along.place(at), *rest) for at, *rest in one.points)) for one in series]
    thinned = [(one, *_thinned(one.points)) for one in placed]
    shown = [replace(one, points=points) for one, points, _ in thinned if points]
    if not shown:
        return element("p", f"{title}: there is no value to draw.", class_="missing")
    axes = _axes([point for one in shown for point in one.points], along)
    drawing = element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", _described(unit, shown, along), id=f"{name}-desc"),
        *_grid(axes, along),
        _lines(axes, shown),
        *(dot for one in shown for dot in _dots(axes, one, along)),
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    notes = [_thinning(one, every) for one, _, every in thinned] + [_left_out(one) for one in placed]
    caption = element(
        "figcaption", element("strong", title), element("span", unit, class_="unit"), _legend(shown),
        *(element("span", note, class_="note") for note in notes if note),
    )  # fmt: skip
    below = element("p", along.name, class_="x-name", aria_hidden="true")
    return element("figure", caption, drawing, below, class_="chart")


def _described(unit: str, shown: Sequence[Series], along: Along) -> str:
    parts = [
        f"{one.name}: {_at(one.points[0], along)}, {_at(one.points[-1], along)}, "
        f"lowest {number(min(point[1] for point in one.points))}, "
        f"highest {number(max(point[1] for point in one.points))}"
        for one in shown
    ]
    return f"In {unit}, over {along.name}. {'. '.join(parts)}."


def _at(point: Point, along: Along) -> str:
    interval = f" ({number(point[2])} to {number(point[3])})" if len(point) > 2 else ""
    return f"{number(point[1])}{interval} at {along.point} {along.words(point[0])}"


def _thinned(points: Sequence[Point]) -> tuple[tuple[Point, ...], int]:
    """The finite points, and how many neighbours each of them is the mean of."""
    finite = [point for point in points if all(map(math.isfinite, point))]
    every = -(-len(finite) // MOST_POINTS) or 1
    groups = [finite[start : start + every] for start in range(0, len(finite), every)]
    return tuple(tuple(map(fmean, zip(*group, strict=True))) for group in groups), every


def _thinning(one: Series, every: int) -> str:
    return f"{one.name}: each point is the mean of {every} logged steps" if every > 1 else ""


def _left_out(one: Series) -> str:
    odd = sum(not all(map(math.isfinite, point)) for point in one.points)
    return f"{one.name}: {odd:,} values that are not finite are not drawn" if odd else ""


def _axes(points: Sequence[Point], along: Along) -> Axes:
    across = [point[0] for point in points]
    low, high = min(across), max(across)
    span = (low, high) if high > low else (low - 1, high + 1)
    up = [value for point in points for value in point[1:]]
    return Axes(along.ticks(*span, across), ticks(min(up), max(up), 4), span)


def ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """Round numbers, at most ``count`` steps apart, that enclose both ends; at least two."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) / 10 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def number(value: float) -> str:
    """Four significant digits at most, thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def short(value: float) -> str:
    """A count of parameters or tokens as people say it: 125M, 1.7B."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{share:.3%}"


def _grid(axes: Axes, along: Along) -> list[Html]:
    found = []
    for value in axes.y:
        at = _percent(axes.place((axes.span[0], value))[1])
        found.append(element("line", x1="0", x2="100%", y1=at, y2=at, class_="grid"))
        found.append(element("text", number(value), x="0", y=at, dx="-8", dy="0.35em", class_="y-tick"))
    for value in axes.x:
        at = _percent(axes.place((value, axes.y[0]))[0])
        found.append(element("line", x1=at, x2=at, y1="100%", y2="100%", class_="tick"))
        found.append(element("text", along.words(value), x=at, y="100%", dy="1.5em", class_="x-tick"))
    return found


def _lines(axes: Axes, shown: Sequence[Series]) -> Html:
    lines = []
    for one in (one for one in shown if one.line):
        places = (axes.place(point) for point in one.points)
        points = " ".join(f"{1000 * x:.1f},{1000 * y:.1f}" for x, y in places)
        lines.append(element("polyline", points=points, class_=f"line {one.kind}"))
    return element("svg", *lines, viewBox="0 0 1000 1000", preserveAspectRatio="none")


def _dots(axes: Axes, one: Series, along: Along) -> list[Html]:
    if not one.dots and len(one.points) > 1:
        return []
    found = []
    for point in one.points:
        x, y = axes.place(point[:2])
        if len(point) > 2:
            low, high = (_percent(axes.place((point[0], end))[1]) for end in point[2:])
            found.append(element("line", x1=_percent(x), x2=_percent(x), y1=low, y2=high, class_=f"whisker {one.kind}"))
        words = element("title", f"{one.name} {_at(point, along)}")
        found.append(element("circle", words, cx=_percent(x), cy=_percent(y), r="4", class_=f"dot {one.kind}"))
    return found


def _legend(shown: Sequence[Series]) -> Html:
    if len(shown) == 1:
        return joined(())
    keys = [element("span", element("i", class_=f"key {one.kind}"), one.name) for one in shown]
    return element("span", *keys, class_="legend")
