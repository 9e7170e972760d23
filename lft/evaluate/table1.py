"""The paper's out-of-domain table: METEOR by suite and their plain mean, with what was published beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from statistics import fmean
from typing import Final

from lft.evaluate.compare_pairs import Entry
from lft.evaluate.metric import Metric
from lft.evaluate.statistics import score_of
from lft.evaluate.suite_baselines import Baseline, published_average, published_of
from lft.evaluate.suite_schema import Published

SUITES: Final = ("rgen", "eli5", "writingprompts")
_NAME: Final = 22


def table_lines(entries: Sequence[Entry], baselines: Sequence[Baseline], metric: Metric) -> Iterator[str]:
    """A row a model: measured here, and in brackets what was published."""
    yield f"{metric.title}, measured here (in brackets: published, not measured here)"
    offline = any(result.suite.offline for entry in entries for result in entry.results.values())
    if offline:
        yield "small offline sets: these are not the sets that the published numbers were measured on"
    yield f"{'MODEL':<{_NAME}}" + "".join(f"{name:>19}" for name in ("mean", *SUITES))
    for entry, one in zip(entries, baselines, strict=True):
        name = one.published_as or ""
        printed = published_of(name)
        own = [_own(entry, suite, metric) for suite in SUITES]
        known = [value for value in own if value is not None]
        mean = fmean(known) if len(known) == len(SUITES) else None
        theirs = [_printed(printed.get(suite, ()), metric) for suite in SUITES]
        cells = [_cell(mean, published_average(name)), *map(_cell, own, theirs)]
        yield f"{entry.label:<{_NAME}}" + "".join(f"{cell:>19}" for cell in cells)


def _printed(rows: Sequence[Published], metric: Metric) -> float | None:
    return next((row.score for row in rows if row.metric == metric.name), None)


def _own(entry: Entry, suite: str, metric: Metric) -> float | None:
    result = entry.results.get(suite)
    if result is None or metric.name not in result.columns:
        return None
    score = score_of(result.columns[metric.name].sums, metric)
    return score if isfinite(score) else None


def _cell(own: float | None, printed: float | None) -> str:
    return f"{'-' if own is None else f'{own:.1f}'} ({'-' if printed is None else f'{printed:.1f}'})"
