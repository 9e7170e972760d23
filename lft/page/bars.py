"""Counts in bins as inline SVG: two kinds on top of each other, and a line where something divides them.

All places are shares of width and height, so that type and strokes keep their size at every width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lft.page.chart import number, ticks
from lft.page.html import Html, element

_MOST_TICKS: Final = 5  # of the horizontal axis: their labels must fit side by side on a phone
_GAP: Final = 0.06  # of a bin's width, on either side of its bar


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts of a kind in each bin; ``kind`` is its class in the style sheet. The first of several is drawn lowest."""

    name: str
    kind: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Divider:
    """A value at which a line is drawn, and what it means."""

    at: float
    words: str


def bars(name: str, title: str, span: tuple[float, float], kinds: Sequence[Bars], line: Divider | None = None) -> Html:
    """A figure of counts.

    Args:
        name: unique in the page; the ids of title and description are made of it.
        title: what is counted.
        span: of all bins, which are equally wide.
        kinds: of the same number of bins, at least one.
        line: inside the span.
    """
    tops = [sum(counts) for counts in zip(*(one.counts for one in kinds), strict=True)]
    up = ticks(0, max(1, *tops), 3)
    drawing = element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", _described(span, kinds, line), id=f"{name}-desc"),
        *_grid(span, up),
        *_drawn(span, kinds, up[-1]),
        *([] if line is None else [_upright(_percent((line.at - span[0]) / (span[1] - span[0])), "divider")]),
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    keys = [element("span", element("i", class_=f"key {one.kind}"), one.name) for one in kinds]
    keys += [] if line is None else [element("span", element("i", class_="key divider"), line.words)]
    caption = element("figcaption", element("strong", title), element("span", *keys, class_="legend"))
    return element("figure", caption, drawing, class_="chart bars")


def share(part: float) -> Html:
    """A bar as wide as a share of its cell; the number stands beside it."""
    filled = element("rect", x="0", y="0", width=_percent(part), height="100%", class_="bar kept")
    return element("svg", filled, class_="share", aria_hidden="true")


def _described(span: tuple[float, float], kinds: Sequence[Bars], line: Divider | None) -> str:
    counted = ", ".join(f"{one.name}: {sum(one.counts):,}" for one in kinds)
    divided = "" if line is None else f" {line.words}."
    return f"{counted}; from {number(span[0])} to {number(span[1])}.{divided}"


def _drawn(span: tuple[float, float], kinds: Sequence[Bars], top: float) -> list[Html]:
    found = []
    width = (span[1] - span[0]) / len(kinds[0].counts)
    for place, counts in enumerate(zip(*(one.counts for one in kinds), strict=True)):
        below = 0
        for one, count in zip(kinds, counts, strict=True):
            if count:
                low = span[0] + place * width
                words = f"{number(low)} to {number(low + width)}: {count:,} {one.name}"
                found.append(_bar(place / len(one.counts), 1 / len(one.counts), below / top, count / top, words, one))
            below += count
    return found


def _bar(left: float, width: float, below: float, height: float, words: str, one: Bars) -> Html:
    return element(
        "rect", element("title", words), x=_percent(left + width * _GAP), width=_percent(width * (1 - 2 * _GAP)),
        y=_percent(1 - below - height), height=_percent(height), class_=f"bar {one.kind}",
    )  # fmt: skip


def _grid(span: tuple[float, float], up: Sequence[float]) -> list[Html]:
    found = []
    for value in (one for one in up if one == int(one)):
        at = _percent(1 - value / up[-1])
        found.append(element("line", x1="0", x2="100%", y1=at, y2=at, class_="grid"))
        found.append(element("text", number(value), x="0", y=at, dx="-8", dy="0.35em", class_="y-tick"))
    for value in (one for one in ticks(*span, _MOST_TICKS) if span[0] <= one <= span[1]):
        at = _percent((value - span[0]) / (span[1] - span[0]))
        found.append(element("text", number(value), x=at, y="100%", dy="1.5em", class_="x-tick"))
    return found


def _upright(at: str, kind: str) -> Html:
    return element("line", x1=at, x2=at, y1="0", y2="100%", class_=kind)


def _percent(part: float) -> str:
    return f"{part:.3%}"
