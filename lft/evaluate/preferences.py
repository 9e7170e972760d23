"""Which of two subjects a judge prefers, over the answers that both gave; ties count for neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from lft.evaluate.compare_pairs import Entry
from lft.evaluate.item import Row
from lft.evaluate.judge import Court, Verdict


@dataclass(frozen=True, slots=True)
class Preferences:
    """Verdicts on one suite: ``wins`` of the other over the baseline, ``losses``, ``ties``.

    ``split`` are the ties where the judge named the one that stood first (or second) both times. ``p`` is of the exact
    sign test over wins and losses, two-sided.
    """

    suite: str
    other: str
    wins: int
    losses: int
    ties: int
    split: int
    unread: int
    p: float
    verdicts: tuple[Verdict, ...]


def preferences(baseline: Entry, other: Entry, court: Court) -> list[Preferences]:
    """The judge's verdicts, suite by suite, on what both answered."""
    found = []
    for name, result in other.results.items():
        if name in baseline.results:
            verdicts = court.preferred(_shared(baseline.results[name].rows, result.rows))
            found.append(_counted(name, other.label, verdicts))
    return found


def _shared(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row, Row]]:
    known = {(row.item.id, row.output.sample): row for row in after}
    pairs = ((row, known.get((row.item.id, row.output.sample))) for row in before)
    return [(one, other) for one, other in pairs if other is not None]


def _counted(suite: str, other: str, verdicts: Sequence[Verdict]) -> Preferences:
    wins = sum(one.winner == "second" for one in verdicts)
    losses = sum(one.winner == "first" for one in verdicts)
    ties = sum(one.winner == "tie" for one in verdicts)
    split = sum(one.winner == "tie" and not one.agreed for one in verdicts)
    unread = sum(one.winner is None for one in verdicts)
    return Preferences(suite, other, wins, losses, ties, split, unread, sign_test(wins, losses), tuple(verdicts))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of as uneven a split where both were equally likely; 1 where nothing was decided."""
    number, least = wins + losses, min(wins, losses)
    tail = float(sum(comb(number, count) for count in range(least + 1)) / 2**number)
    return min(1.0, 2 * tail)


def preference_line(one: Preferences, baseline: str) -> str:
    """In words."""
    decided = one.wins + one.losses
    share = f"{one.wins / decided:.0%} of the decided" if decided else "none decided"
    split = f", {one.split} of them named the same place twice" if one.split else ""
    unread = f"; {one.unread} without a verdict" if one.unread else ""
    return (
        f"{one.suite}: {one.other} is better {one.wins} times, {baseline} {one.losses} times ({share}, sign test "
        f"p {one.p:.3g}); {one.ties} ties{split}{unread}"
    )
