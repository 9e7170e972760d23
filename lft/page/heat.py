"""A table whose cells are coloured by their values; the value is written in each, so that colour is never all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lft.page.html import Html, element

_LEVELS: Final = 4  # of either colour in the style sheet


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and how it is written; NaN has no colour. ``note`` is small below it (an interval)."""

    value: float
    text: str
    note: str = ""


def heat(
    caption: str, corner: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]],
    middle: float | None = None, higher_is_better: bool = True,
) -> Html:  # fmt: skip
    """A heat map as a table; the best value of each column is bold.

    Args:
        caption: of the table.
        corner: what the names of the rows are.
        columns: their names.
        rows: names, and a cell for each column.
        middle: with one, colours say on which side of it a value is and how far, over the whole table; without one,
            where between the lowest and the highest of its column.
        higher_is_better: turns colours and bold round.
    """
    sign = 1 if higher_is_better else -1
    sides = [[sign * cell.value for cell in cells] for _, cells in rows]
    ranges = [_ends([side[place] for side in sides]) for place in range(len(columns))]
    if middle is not None:
        far = max((abs(value - sign * middle) for side in sides for value in side if math.isfinite(value)), default=0.0)
        levels = [[_side(value - sign * middle, far) for value in side] for side in sides]
    else:
        levels = [[_between(value, *ends) for value, ends in zip(side, ranges, strict=True)] for side in sides]
    body = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(
                _cell(cell, level, bool(cells[1:] or rows[1:]) and side == ends[1])
                for cell, level, side, ends in zip(cells, line, values, ranges, strict=True)
            ),
        )
        for (name, cells), line, values in zip(rows, levels, sides, strict=True)
    ]
    head = element("tr", *(element("th", text, scope="col") for text in (corner, *columns)))
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="table heat", tabindex="0", role="group", aria_label=caption)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (math.nan, math.nan)


def _side(away: float, far: float) -> str:
    """The class of a value so far away from the middle, where the farthest is ``far`` away."""
    if not math.isfinite(away) or not far:
        return ""
    level = math.ceil(_LEVELS * abs(away) / far - 1e-9)
    return f"{'gain' if away > 0 else 'loss'}{level}" if level else ""


def _between(value: float, low: float, high: float) -> str:
    if not math.isfinite(value) or high <= low:
        return ""
    level = round(_LEVELS * (value - low) / (high - low))
    return f"gain{level}" if level else ""


def _cell(cell: Cell, level: str, best: bool) -> Html:
    value = element("strong" if best else "span", cell.text)
    note = [element("span", cell.note, class_="range")] if cell.note else []
    return element("td", value, *note, class_=level) if level else element("td", value, *note)
