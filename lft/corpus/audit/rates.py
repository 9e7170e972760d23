"""Rates with confidence intervals, and how far raters agree.

Agreement comes from libraries: Cohen's kappa (scikit-learn; two raters, both rated), Fleiss' kappa (statsmodels; items
that all raters rated), Krippendorff's alpha (krippendorff; ordinal, items may be missing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from lft.corpus.audit.ratings import QUESTIONS, Criterion, Rating
from lft.corpus.audit.sample import Item

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """Shares of ``number`` rated items: a yes (median of its raters) with its Wilson interval, and a no."""

    number: int
    yes: float
    low: float
    high: float
    no: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree on a criterion; None where it cannot be said (too few, or nobody ever differed)."""

    cohen: Mapping[tuple[str, str], float | None]
    fleiss: float | None
    krippendorff: float | None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Rates by data set and criterion, and agreement by criterion."""

    rates: Mapping[str, Mapping[Criterion, Rate]]
    agreement: Mapping[Criterion, Agreement]
    raters: Mapping[str, int]
    items: int

    def to_json(self) -> dict[str, object]:
        """As one JSON object; what cannot be said is null."""
        return {
            "items": self.items,
            "raters": dict(self.raters),
            "rates": {
                name: {key: _known(asdict(rate)) for key, rate in rates.items()} for name, rates in self.rates.items()
            },
            "agreement": {
                key: {
                    "cohen": [{"raters": list(two), "kappa": kappa} for two, kappa in one.cohen.items()],
                    "fleiss": one.fleiss,
                    "krippendorff": one.krippendorff,
                }
                for key, one in self.agreement.items()
            },
        }


def report(items: Sequence[Item], ratings: Mapping[tuple[str, str], Rating]) -> AuditReport:
    """Everything that the ratings say.

    Args:
        items: of the audit.
        ratings: each rater's last word, by (item, rater); those of other items are left out.
    """
    known = {item.id: item for item in items}
    kept = {key: rating for key, rating in ratings.items() if key[0] in known}
    raters = sorted({rater for _, rater in kept})
    rates = {
        name: {criterion: _rate(_majorities(kept, ids, criterion)) for criterion in QUESTIONS}
        for name, ids in _by_dataset(items).items()
    }
    agreement = {criterion: _agreement(kept, list(known), raters, criterion) for criterion in QUESTIONS}
    counts = {rater: sum(one == rater for _, one in kept) for rater in raters}
    return AuditReport(rates, agreement, counts, len(items))


def _by_dataset(items: Sequence[Item]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        found.setdefault(item.dataset, []).append(item.id)
    return dict(sorted(found.items()))


def _majorities(ratings: Mapping[tuple[str, str], Rating], ids: Sequence[str], criterion: Criterion) -> list[float]:
    """For each item that somebody rated, the median of the answers: 2 yes, 0 no, anything between is partly."""
    found: dict[str, list[int]] = {}
    for (item, _), rating in ratings.items():
        found.setdefault(item, []).append(rating.answers[criterion])
    return [_median(found[one]) for one in ids if one in found]


def _median(values: list[int]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return float(ordered[middle]) if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _rate(values: Sequence[float]) -> Rate:
    from scipy.stats import binomtest

    number, yes = len(values), sum(value == 2 for value in values)
    if not number:
        return Rate(0, math.nan, math.nan, math.nan, math.nan)
    interval = binomtest(yes, number).proportion_ci(LEVEL, method="wilson")
    return Rate(number, yes / number, interval.low, interval.high, sum(value == 0 for value in values) / number)


def _agreement(
    ratings: Mapping[tuple[str, str], Rating], ids: Sequence[str], raters: Sequence[str], criterion: Criterion
) -> Agreement:
    table = [
        [ratings[one, rater].answers[criterion] if (one, rater) in ratings else None for rater in raters] for one in ids
    ]
    pairs = {
        (raters[a], raters[b]): _cohen([(row[a], row[b]) for row in table])
        for a, b in combinations(range(len(raters)), 2)
    }
    return Agreement(pairs, _fleiss(table, len(raters)), _alpha(table))


def _cohen(pairs: Sequence[tuple[int | None, int | None]]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len({value for pair in both for value in pair}) < 2:
        return None  # nothing was rated by both, or all got one answer: kappa is 0/0
    return float(cohen_kappa_score([a for a, _ in both], [b for _, b in both]))


def _fleiss(table: Sequence[Sequence[int | None]], raters: int) -> float | None:
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    whole = [row for row in table if None not in row]
    if raters < 2 or len({value for row in whole for value in row}) < 2:
        return None
    return float(fleiss_kappa(aggregate_raters(whole)[0]))


def _alpha(table: Sequence[Sequence[int | None]]) -> float | None:
    import krippendorff

    paired = [row for row in table if sum(value is not None for value in row) > 1]
    if len({value for row in paired for value in row if value is not None}) < 2:
        return None
    values = [[math.nan if value is None else float(value) for value in column] for column in zip(*paired, strict=True)]
    return float(krippendorff.alpha(reliability_data=values, level_of_measurement="ordinal", value_domain=[0, 1, 2]))


def as_text(found: AuditReport) -> str:
    """The report in 80 columns."""
    lines = [f"{found.items} items; rated: " + (", ".join(f"{r} {n}" for r, n in found.raters.items()) or "none yet")]
    for name, rates in found.rates.items():
        lines += ["", f"{name[:30]:30} {'n':>4} {'yes':>6} {'95 % interval':>16} {'no':>6}"]
        lines += [f"  {criterion:28} {_said(rate)}" for criterion, rate in rates.items()]
    if len(found.raters) > 1:
        lines += ["", f"{'agreement':30} {'Cohen (mean)':>13} {'Fleiss':>8} {'Krippendorff':>13}"]
        for criterion, one in found.agreement.items():
            known = [value for value in one.cohen.values() if value is not None]
            mean = sum(known) / len(known) if known else None
            lines.append(
                f"  {criterion:28} {_number(mean):>13} {_number(one.fleiss):>8} {_number(one.krippendorff):>13}"
            )
    if len(found.raters) > 2:
        lines += ["", f"{'Cohen of two raters':24}" + "".join(f"{criterion:>14}" for criterion in found.agreement)]
        for two in combinations(sorted(found.raters), 2):
            kappas = (one.cohen[two] for one in found.agreement.values())
            lines.append(f"  {' - '.join(two)[:22]:22}" + "".join(f"{_number(kappa):>14}" for kappa in kappas))
    return "\n".join(lines)


def _known(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def _said(rate: Rate) -> str:
    if not rate.number:
        return f"{0:4} {'-':>6} {'-':>16} {'-':>6}"
    interval = f"{rate.low:.1%} - {rate.high:.1%}"
    return f"{rate.number:4} {rate.yes:6.1%} {interval:>16} {rate.no:6.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
