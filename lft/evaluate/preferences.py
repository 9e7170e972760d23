"""Which of two subjects a judge prefers, over the answers that both gave; ties count for neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

from lft.evaluate.compare_pairs import Entry
from lft.evaluate.item import Row
from lft.evaluate.judge import Court, Verdict
from lft.evaluate.statistics import holm


@dataclass(frozen=True, slots=True)
class Preferences:
    """Verdicts on one suite, by items: ``wins`` of the other over the baseline, ``losses``, ``ties``.

    An item is won where more of its answers are better than worse: answers to one question are no independent
    witnesses. ``split`` counts the answers where the judge named the one that stood first (or second) both times,
    ``unread`` those without a verdict. ``p`` is of the exact sign test over wins and losses, two-sided; ``p_holm`` the
    same, corrected over the suites.
    """

    suite: str
    other: str
    wins: int
    losses: int
    ties: int
    split: int
    unread: int
    p: float
    p_holm: float
    verdicts: tuple[Verdict, ...]


def preferences(baseline: Entry, other: Entry, court: Court) -> list[Preferences]:
    """The judge's verdicts, suite by suite, on what both answered."""
    found = []
    for name, result in other.results.items():
        if name in baseline.results:
            verdicts = court.preferred(_shared(baseline.results[name].rows, result.rows))
            found.append(counted(name, other.label, verdicts))
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _shared(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row, Row]]:
    known = {(row.item.id, row.output.sample): row for row in after}
    pairs = ((row, known.get((row.item.id, row.output.sample))) for row in before)
    return [(one, other) for one, other in pairs if other is not None]


def counted(suite: str, other: str, verdicts: Sequence[Verdict]) -> Preferences:
    """Verdicts (``second`` is the other) by items; not corrected for other suites."""
    signs: Mapping[str | None, int] = {"second": 1, "first": -1}
    by_item: dict[str, int] = {}
    for one in verdicts:
        if one.winner is not None:
            by_item[one.item] = by_item.get(one.item, 0) + signs.get(one.winner, 0)
    wins = sum(value > 0 for value in by_item.values())
    losses = sum(value < 0 for value in by_item.values())
    split = sum(one.winner == "tie" and not one.agreed for one in verdicts)
    unread = sum(one.winner is None for one in verdicts)
    p = sign_test(wins, losses)
    return Preferences(suite, other, wins, losses, len(by_item) - wins - losses, split, unread, p, p, tuple(verdicts))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of as uneven a split where both were equally likely; 1 where nothing was decided."""
    number, least = wins + losses, min(wins, losses)
    tail = float(sum(comb(number, count) for count in range(least + 1)) / 2**number)
    return min(1.0, 2 * tail)


def preference_line(one: Preferences, baseline: str) -> str:
    """In words."""
    decided = one.wins + one.losses
    share = f"{one.wins / decided:.0%} of the decided" if decided else "none decided"
    split = f"; {one.split} answers where the same place was named twice" if one.split else ""
    unread = f"; {one.unread} answers without a verdict" if one.unread else ""
    return (
        f"{one.suite}: {one.other} is better on {one.wins} items, {baseline} on {one.losses} ({share}, sign test "
        f"p {one.p_holm:.3g} after Holm); {one.ties} ties{split}{unread}"
    )
