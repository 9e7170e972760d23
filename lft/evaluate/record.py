"""A result as scores of an adapter's version: what its card says of it."""

from __future__ import annotations

from math import isfinite
from typing import Final

from lft.adapters.store.manifest import Score, decimal
from lft.evaluate.result import Result
from lft.evaluate.run import METRICS
from lft.evaluate.summary import MetricSummary, summarised

_ALONE: Final = (
    "bits-per-byte",
    "s-l",
    "life",
    "judge",
    "accuracy",
)  # worth a line without a reference to overlap with


def scores_of(result: Result) -> tuple[Score, ...]:
    """Overlap metrics with their floors, what they must be read with, and a few that stand alone."""
    suite = result.suite
    where = f"{suite.name} v{suite.version}{' offline set' if suite.offline else ''} {suite.digest[:8]}"
    chosen = [one for one in summarised(result, METRICS).metrics if _is_told(one) and isfinite(one.whole.score)]
    found = []
    for one in chosen:
        whole = one.whole
        ends = (decimal(whole.low), decimal(whole.high)) if isfinite(whole.low) and isfinite(whole.high) else ()
        found.append(Score(where, one.metric.name, decimal(whole.score), whole.items, ends))
        if one.floor is not None and isfinite(one.floor.score):
            found.append(
                Score(where, f"{one.metric.name}, wrong references", decimal(one.floor.score), whole.items, ())
            )
    return tuple(found)


def _is_told(one: MetricSummary) -> bool:
    return one.metric.overlap or one.companion or one.metric.name in _ALONE
