"""Values with their intervals, one a row of a table and all on one axis; the numbers stand beside the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lft.page.chart import number, ticks
from lft.page.html import Child, Html, element


@dataclass(frozen=True, slots=True)
class Interval:
    """A row: ``cells`` stand right of the drawing; ``kind`` is a class of the style sheet.

    ``mark`` is a second value of the same unit, drawn as a small cross; NaN leaves it out.
    """

    name: Child
    value: float
    low: float
    high: float
    cells: tuple[Child, ...]
    kind: str = ""
    mark: float = math.nan


def forest(caption: str, head: Sequence[str], rows: Sequence[Interval], zero: float | None = None) -> Html:
    """A table with a drawing in each row.

    Args:
        caption: of the table.
        head: names of the columns: the rows' names, the drawing, then the cells.
        rows: one without a finite value has an empty drawing.
        zero: drawn as a line through all rows.
    """
    axis = _axis(rows, zero)
    header = element("tr", *(element("th", text, scope="col") for text in head))
    body = [
        element(
            "tr",
            element("th", row.name, scope="row"),
            element("td", _drawing(row, axis, zero), class_="plot"),
            *(element("td", cell) for cell in row.cells),
        )
        for row in rows
    ]
    scale = element("tr", element("td"), element("td", _scale(axis), class_="plot"), aria_hidden="true", class_="scale")
    whole = element("table", element("caption", caption), element("thead", header), element("tbody", *body, scale))
    return element("div", whole, class_="table forest", tabindex="0", role="group", aria_label=caption)


def _axis(rows: Sequence[Interval], zero: float | None) -> tuple[float, ...]:
    drawn = [value for row in rows for value in (row.value, row.low, row.high, row.mark)]
    finite = [value for value in [*drawn, *([] if zero is None else [zero])] if math.isfinite(value)]
    return ticks(min(finite), max(finite), 3) if finite else ()


def _place(value: float, axis: Sequence[float]) -> str:
    return f"{(value - axis[0]) / (axis[-1] - axis[0]):.3%}"


def _drawing(row: Interval, axis: Sequence[float], zero: float | None) -> Html:
    parts = [_upright(at, axis, "grid") for at in axis]
    if zero is not None and axis:
        parts.append(_upright(zero, axis, "zero"))
    if math.isfinite(row.mark):
        parts.append(_cross(_place(row.mark, axis)))
    if math.isfinite(row.value):
        if math.isfinite(row.low) and math.isfinite(row.high):
            ends = {"x1": _place(row.low, axis), "x2": _place(row.high, axis)}
            parts.append(element("line", **ends, y1="50%", y2="50%", class_=f"whisker {row.kind}"))
        parts.append(element("circle", cx=_place(row.value, axis), cy="50%", r="4.5", class_=f"dot {row.kind}"))
    return element("svg", *parts, aria_hidden="true")


def _upright(value: float, axis: Sequence[float], kind: str) -> Html:
    at = _place(value, axis)
    return element("line", x1=at, x2=at, y1="0", y2="100%", class_=kind)


def _cross(at: str) -> Html:
    """A cross of 7 pixels; in a drawing of percents only a nested one can shift by pixels."""
    ends = (("-3.5", "3.5"), ("3.5", "-3.5"))
    lines = [element("line", x1="-3.5", x2="3.5", y1=up, y2=down, class_="mark") for up, down in ends]
    return element("svg", *lines, x=at, y="50%", class_="cross")


def _scale(axis: Sequence[float]) -> Html:
    labels = [element("text", number(at), x=_place(at, axis), y="50%", dy="0.35em", class_="x-tick") for at in axis]
    return element("svg", *labels, aria_hidden="true")
