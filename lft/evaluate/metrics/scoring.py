"""Rows of several languages through several metrics: one column each, and what had no value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lft.evaluate.item import Row
from lft.evaluate.metric import Floats, Measured, Metric, Tools
from lft.evaluate.metrics.floor import floor
from lft.evaluate.result import Column, LeftOut

Parts = Mapping[str, Sequence[int]]
"""The places of each language's rows."""


def score_rows(rows: Sequence[Row], metrics: Sequence[Metric], tools: Tools) -> tuple[dict[str, Column], list[LeftOut]]:
    """Measure rows with metrics, each language by itself, with a floor beside each metric of overlap.

    Returns:
        Columns by the metric's name, over the rows in their order, and the rows that a metric has no value for.

    Raises:
        MachineError: a package that a metric needs is not installed, or a process was killed.
    """
    parts = _by_language(rows)
    columns, left_out = {}, []
    tools.notify(f"scoring {len(rows):,} answers by {len(metrics)} metrics")
    for metric in metrics:
        made = {
            lang: _measured(metric, [rows[place] for place in places], lang, tools) for lang, places in parts.items()
        }
        floors = {lang: one.floor for lang, one in made.items() if one.floor is not None}
        columns[metric.name] = Column(
            metric.name,
            _joined(parts, {lang: one.measured.sums for lang, one in made.items()}, len(rows)),
            {lang: "; ".join((one.measured.variant, *one.how)) for lang, one in made.items()},
            _joined(parts, floors, len(rows)) if floors else None,
        )
        for lang, one in made.items():
            left_out += _left_out(metric, [rows[place] for place in parts[lang]], one.measured)
    return columns, left_out


@dataclass(frozen=True, slots=True, eq=False)
class _InLanguage:
    measured: Measured
    floor: Floats | None = None
    how: tuple[str, ...] = field(default=())


def _measured(metric: Metric, rows: Sequence[Row], lang: str, tools: Tools) -> _InLanguage:
    measured = metric.measure(rows, lang, tools)
    if not metric.overlap or np.isnan(measured.sums).all():
        return _InLanguage(measured)
    below = floor(metric, rows, lang, tools)
    return _InLanguage(measured, below.sums, (below.how,))


def _by_language(rows: Sequence[Row]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        parts.setdefault(row.item.lang, []).append(place)
    return parts


def _joined(parts: Parts, found: Mapping[str, Floats], count: int) -> Floats:
    """Sums of all rows in their order; NaN for those of a language that has none."""
    width = max((sums.shape[1] for sums in found.values()), default=2)
    joined = np.full((count, width), np.nan)
    for lang, sums in found.items():
        joined[parts[lang]] = sums
    return joined


def _left_out(metric: Metric, rows: Sequence[Row], measured: Measured) -> list[LeftOut]:
    return [
        LeftOut(rows[place].item.id, rows[place].output.sample, metric.name, reason)
        for place, reason in sorted(measured.reasons.items())
    ]
