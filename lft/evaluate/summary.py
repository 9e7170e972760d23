"""What a result says: scores with intervals, the floor beside each overlap metric, and what was left out.

An overlap metric alone misleads: METEOR gives about 15 to a fluent answer of another question, and more to an answer
that is said twice. So the wrong-reference floor stands in its row, and length and repetition in the rows that follow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lft.evaluate.item import Row
from lft.evaluate.metric import Metric
from lft.evaluate.result import Column, Result, Subject, SuiteRef
from lft.evaluate.statistics import DRAWS, Estimate, Places, interval, numbered, score_of
from lft.evaluate.suite_schema import Suite

COMPANIONS: Final = ("length-ratio", "repetition")  # beginnings of the names that stand next to overlap metrics
KINDS: Final = ("language", "source", "subset", "length")
_BUCKETS: Final = ((100, "short"), (500, "medium"), (2_000, "long"))


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that have something in common: ``kind`` is language, source, subset or length of the reference."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class PartScore:
    """A metric over a part; ``floor`` is NaN for a metric that has none."""

    part: Part
    estimate: Estimate
    floor: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows have no value, and how many."""

    words: str
    rows: int


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of a result. ``floor`` is what the same answers get against references of other items."""

    metric: Metric
    variants: Mapping[str, str]
    whole: Estimate
    floor: Estimate | None
    left_out: tuple[Reason, ...]
    parts: tuple[PartScore, ...]

    @property
    def companion(self) -> bool:
        """Whether overlap metrics must not be read without it."""
        return is_companion(self.metric.name)


@dataclass(frozen=True, slots=True)
class Summary:
    """A result in numbers; ``metrics`` has overlap metrics first, then what must be read with them, then the rest.

    ``unknown`` names columns that this lft has no metric for, ``unread`` the companions that were not measured.
    """

    suite: SuiteRef
    subject: Subject
    decoding: Mapping[str, float | int | bool]
    items: int
    rows: int
    finished: Mapping[str, int]
    metrics: tuple[MetricSummary, ...]
    unknown: tuple[str, ...]
    unread: tuple[str, ...]
    made: str
    versions: Mapping[str, str]

    def get(self, name: str) -> MetricSummary | None:
        """A metric by name."""
        return next((one for one in self.metrics if one.metric.name == name), None)


@dataclass(frozen=True, slots=True)
class Published:
    """A number that somebody printed for a suite; it was not measured here. ``metric`` is its name, ``score`` in print.

    ``note`` says where it stands and what is not known of how it was counted.
    """

    model: str
    metric: str
    score: float
    note: str


def published_of(suite: Suite) -> tuple[Published, ...]:
    """What others scored on a suite."""
    return tuple(Published(one.model, one.metric, one.score, one.note or one.source) for one in suite.published)


def summarised(result: Result, metrics: Mapping[str, Metric], draws: int = DRAWS, seed: int = 0) -> Summary:
    """A result's scores, all intervals over the same draws of its items."""
    items = numbered([row.item.id for row in result.rows])
    known = [(metrics[name], column) for name, column in result.columns.items() if name in metrics]
    scores = _part_scores(result, known, items, draws, seed)
    found = [
        MetricSummary(
            metric,
            column.variants,
            interval(column.sums, items, metric, draws, seed),
            None if column.floor is None else interval(column.floor, items, metric, draws, seed),
            reasons(result, column),
            tuple(parts),
        )
        for (metric, column), parts in zip(known, scores, strict=True)
    ]
    present = [one.metric.name for one in found]
    unread = [name for name in COMPANIONS if not any(one.startswith(name) for one in present)]
    return Summary(
        result.suite,
        result.subject,
        result.decoding,
        len(set(items.tolist())),
        len(result.rows),
        Counter(row.output.finish for row in result.rows),
        tuple(sorted(found, key=lambda one: reading_order(one.metric))),
        tuple(name for name in result.columns if name not in metrics),
        tuple(unread) if any(one.metric.overlap for one in found) else (),
        result.made,
        result.versions,
    )


def _part_scores(
    result: Result, known: Sequence[tuple[Metric, Column]], items: Places, draws: int, seed: int
) -> list[list[PartScore]]:
    """Of each metric over each part; all metrics of a part in turn, since they share its draws."""
    found: list[list[PartScore]] = [[] for _ in known]
    for part, mask in parts_of(result.rows).items():
        for scores, (metric, column) in zip(found, known, strict=True):
            floor = math.nan if column.floor is None else score_of(column.floor, metric, mask)
            estimate = interval(column.sums[mask], items[mask], metric, draws, seed)
            scores.append(PartScore(part, estimate, floor))
    return found


def is_companion(name: str) -> bool:
    """Whether a metric is one that overlap metrics must not be read without."""
    return name.startswith(COMPANIONS)


def reading_order(metric: Metric) -> int:
    """Overlap metrics first, then their companions, then the rest; a stable sort keeps the table's own order."""
    return 0 if metric.overlap else 1 if is_companion(metric.name) else 2


def reasons(result: Result, column: Column) -> tuple[Reason, ...]:
    """Why rows, or items that were never answered, have no value of a metric; the most frequent first."""
    said = {(one.item, one.sample): one.reason for one in result.left_out if one.metric in (None, column.metric)}
    empty = np.flatnonzero(np.isnan(column.sums).any(axis=-1))
    bare = [(row.item.id, row.output.sample) for row in (result.rows[place] for place in empty)]
    found = dict.fromkeys(bare, "no reason was recorded") | said
    return tuple(Reason(words, rows) for words, rows in Counter(found.values()).most_common())


def parts_of(rows: Sequence[Row]) -> dict[Part, NDArray[np.bool_]]:
    """Masks over rows of each language, source, subset and length bucket of the reference, by kind and value."""
    places: dict[Part, list[int]] = {}
    for place, row in enumerate(rows):
        item = row.item
        values = (item.lang, item.source, item.subset, length_bucket(item.reference))
        for kind, value in zip(KINDS, values, strict=True):
            places.setdefault(Part(kind, value), []).append(place)
    masks = {}
    for part in sorted(places, key=_part_order):
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[places[part]] = True
        masks[part] = mask
    return masks


def _part_order(part: Part) -> tuple[int, int, str]:
    buckets = ("", "no reference", *(name for _, name in _BUCKETS), "very-long")
    return KINDS.index(part.kind), buckets.index(part.value) if part.kind == "length" else 0, part.value


def length_bucket(reference: str) -> str:
    """short, medium, long or very-long: below 100, 500, 2,000 words between white space, or more."""
    words = len(reference.split())
    if not words:
        return "no reference"
    return next((name for most, name in _BUCKETS if words < most), "very-long")


def as_json(summary: Summary) -> dict[str, Any]:
    """``scores`` of result.json: what people read, by metric; null stands for no value."""
    return {one.metric.name: _metric_json(one) for one in summary.metrics} | {
        name: {"unknown": True} for name in summary.unknown
    }


def _metric_json(one: MetricSummary) -> dict[str, Any]:
    return {
        "title": one.metric.title,
        "better": one.metric.better,
        "variants": dict(one.variants),
        **estimate_json(one.whole),
        "floor": None if one.floor is None else estimate_json(one.floor),
        "left_out": {reason.words: reason.rows for reason in one.left_out},
        "parts": [
            {"kind": score.part.kind, "value": score.part.value, **estimate_json(score.estimate)}
            | ({} if one.floor is None else {"floor": without_nan(score.floor)})
            for score in one.parts
        ],
    }


def estimate_json(one: Estimate) -> dict[str, Any]:
    """An estimate as JSON holds it."""
    said = {key: without_nan(value) for key, value in asdict(one).items()}
    return said | ({"note": one.note} if one.note else {})


def shown(value: float, metric: Metric, *, sign: bool = False) -> str:
    """A score with the metric's digits, none of them from 1,000 on; a dash where there is no score."""
    digits = metric.digits if abs(value) < 1000 else 0
    return "–" if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def without_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
