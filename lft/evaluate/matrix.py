"""Every adapter on every domain and language: the table from which one chooses what to merge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

import lft
from lft.errors import InputError
from lft.evaluate.compare_pairs import Entry
from lft.evaluate.metric import Metric
from lft.evaluate.result import Result
from lft.evaluate.statistics import DRAWS, Estimate, interval, numbered
from lft.evaluate.summary import shown
from lft.page.document import page
from lft.page.heat import Cell, heat
from lft.page.html import Html, element

_NAME: Final = 22  # characters of a subject's name in the terminal
_CELL: Final = 14  # and of a cell with its interval


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """A column: a suite and one of its languages."""

    suite: str
    lang: str

    @property
    def name(self) -> str:
        """As it stands over the column."""
        return f"{self.suite} {self.lang}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Estimates by subject (in the order given) and field (sorted); None where a subject has no answers there."""

    metric: Metric
    labels: tuple[str, ...]
    fields: tuple[Field, ...]
    cells: tuple[tuple[Estimate | None, ...], ...]

    def best(self, field: Field) -> str:
        """The subject that is best in a field; empty for a metric where neither more nor less is better."""
        place = self.fields.index(field)
        sign = {"higher": 1.0, "lower": -1.0, "neither": 0.0}[self.metric.better]
        rows = zip(self.labels, self.cells, strict=True)
        found = [(sign * cell.score, label) for label, row in rows if (cell := row[place]) is not None]
        finite = [one for one in found if math.isfinite(one[0])]
        return max(finite)[1] if sign and finite else ""


def matrix(entries: Sequence[Entry], metric: Metric, draws: int = DRAWS, seed: int = 0) -> Matrix:
    """One metric of several subjects by suite and language.

    Raises:
        InputError: none of them has this metric, or a suite was asked with other items of one than of another.
    """
    _same_items(entries)
    found = [_of_subject(entry, metric, draws, seed) for entry in entries]
    fields = tuple(sorted({field for one in found for field in one}))
    if not fields:
        raise InputError(f"no result has a score of {metric.name}", fix=f"evaluate with --metric +{metric.name}")
    cells = tuple(tuple(one.get(field) for field in fields) for one in found)
    return Matrix(metric, tuple(entry.label for entry in entries), fields, cells)


def _same_items(entries: Sequence[Entry]) -> None:
    """Scores of other questions do not stand in one column."""
    digests: dict[str, tuple[str, str]] = {}
    for entry in entries:
        for name, result in entry.results.items():
            label, digest = digests.setdefault(name, (entry.label, result.suite.digest))
            if digest != result.suite.digest:
                raise InputError(
                    f"{label} and {entry.label} answered other items of {name}", fix="give both the same options"
                )


def _of_subject(entry: Entry, metric: Metric, draws: int, seed: int) -> dict[Field, Estimate]:
    return {
        Field(name, lang): estimate
        for name, result in entry.results.items()
        for lang, estimate in _by_language(result, metric, draws, seed)
    }


def _by_language(result: Result, metric: Metric, draws: int, seed: int) -> Iterator[tuple[str, Estimate]]:
    column = result.columns.get(metric.name)
    if column is None:
        return
    langs = np.array([row.item.lang for row in result.rows])
    items = numbered([row.item.id for row in result.rows])
    for lang in sorted(set(langs.tolist())):
        chosen = langs == lang
        yield lang, interval(column.sums[chosen], items[chosen], metric, draws, seed)


def matrix_lines(found: Matrix, width: int = 80) -> Iterator[str]:
    """The table for a terminal, in blocks that fit its width; the best of each column is marked."""
    at_once = max(1, (width - _NAME) // _CELL)
    yield f"{found.metric.title} with 95 % intervals; * is the best of a column"
    for start in range(0, len(found.fields), at_once):
        fields = found.fields[start : start + at_once]
        yield ""
        yield " " * _NAME + "".join(f"{field.suite[: _CELL - 1]:>{_CELL}}" for field in fields)
        yield " " * _NAME + "".join(f"{field.lang:>{_CELL}}" for field in fields)
        for label, row in zip(found.labels, found.cells, strict=True):
            cells = [_text(found, label, field, row[start + place]) for place, field in enumerate(fields)]
            yield f"{label[: _NAME - 1]:<{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
            ends = [_ends(found, row[start + place]) for place in range(len(fields))]
            yield " " * _NAME + "".join(f"{end:>{_CELL}}" for end in ends)


def _text(found: Matrix, label: str, field: Field, estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{shown(estimate.score, found.metric)}{'*' if found.best(field) == label else ' '}"


def _ends(found: Matrix, estimate: Estimate | None) -> str:
    if estimate is None or not math.isfinite(estimate.low):
        return ""
    return f"{shown(estimate.low, found.metric)}-{shown(estimate.high, found.metric)} "


def matrix_table(found: Matrix) -> Html:
    """The same as a heat map."""
    rows = [
        (label, [_cell(found, estimate) for estimate in row])
        for label, row in zip(found.labels, found.cells, strict=True)
    ]
    names = [field.name for field in found.fields]
    caption = f"{found.metric.title} by suite and language, with 95 % intervals"
    return heat(caption, "subject", names, rows, higher_is_better=found.metric.better != "lower")


def _cell(found: Matrix, estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(math.nan, "no answers")
    return Cell(estimate.score, shown(estimate.score, found.metric), _ends(found, estimate).strip())


def matrix_page(found: Matrix) -> str:
    """The heat map as a page of its own."""
    intro = element(
        "p", "Each cell: the score, and below it its 95 % interval over items. Bold is the best of a column."
    )
    title = f"{found.metric.title} of {len(found.labels)} subjects"
    return page(
        title, element("header", element("h1", title), intro), [("All subjects", matrix_table(found))], _footer()
    )


def _footer() -> Html:
    return element("footer", element("p", f"Written by lft {lft.__version__}."))
