"""A language model as the judge: points for one answer, or which of two is better, read strictly.

Judges prefer what stands first. So each pair is asked twice, the second time the other way round, and a verdict counts
only where both say the same; else it is a tie. A reply that is not the JSON object it was asked for is no verdict: the
row is left out with that reason, never guessed at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Message, Model, Request
from lft.evaluate.item import Item, Row
from lft.evaluate.metric import Measured, Metric, given_elsewhere, means, ratio
from lft.evaluate.rubric import Judge, Rubric

SHOWN: Final = 24_000  # characters of an answer that the judge sees; what is cut is said in the prompt
UNREADABLE: Final = "the judge's reply is no verdict"
NO_REPLY: Final = "the judge gave no reply"
Winner = Literal["first", "second", "tie"]
POINTS: Final = Metric("judge", "judge's points", given_elsewhere, ratio, "higher", digits=2)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of two answers is better; ``agreed`` is whether both orders said so, ``reason`` why there is none."""

    item: str
    sample: int
    winner: Winner | None
    agreed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Court:
    """A judge at work: the file, its rubric, the model behind it, the ledger of its replies."""

    judge: Judge
    rubric: Rubric
    model: Model
    ledger: Ledger
    notify: Notify

    @property
    def variant(self) -> str:
        """What one must know to ask again."""
        sampling = self.judge.backend
        return (
            f"{self.model.name}, rubric {self.rubric.name} v{self.rubric.version}, mean of "
            f"{len(self.rubric.dimensions)} questions, {self.rubric.lowest}-{self.rubric.highest}, "
            f"temperature {sampling.temperature:g}"
        )

    def rated(self, rows: Sequence[Row]) -> Measured:
        """Points of each answer, the mean over the rubric's questions: sums (points, 1)."""
        asked = [self._request(row.item, self._single(row), "single") for row in rows]
        ask(self.model, asked, self.ledger, self.notify)
        replies = [self._reply(one) for one in asked]
        found = [None if reply is None else points(reply, self.rubric) for reply in replies]
        reasons = {
            place: NO_REPLY if reply is None else UNREADABLE
            for place, (reply, value) in enumerate(zip(replies, found, strict=True))
            if value is None
        }
        return Measured(means(found), self.variant, reasons)

    def preferred(self, pairs: Sequence[tuple[Row, Row]]) -> list[Verdict]:
        """Which answer of each pair is better, asked in both orders."""
        there = [self._request(one.item, self._pair(one, other), "first") for one, other in pairs]
        back = [self._request(one.item, self._pair(other, one), "second") for one, other in pairs]
        ask(self.model, [*there, *back], self.ledger, self.notify)
        rows = zip(pairs, there, back, strict=True)
        return [self._verdict(one, self._reply(first), self._reply(second)) for (one, _), first, second in rows]

    def _verdict(self, row: Row, first: str | None, second: str | None) -> Verdict:
        item, sample = row.item.id, row.output.sample
        if first is None or second is None:
            return Verdict(item, sample, None, False, NO_REPLY)
        one, turned = winner(first), winner(second)
        if one is None or turned is None:
            return Verdict(item, sample, None, False, UNREADABLE)
        other: Winner = {"first": "second", "second": "first"}.get(turned, "tie")  # type: ignore[assignment]
        return Verdict(item, sample, one if one == other else "tie", one == other)

    def _single(self, row: Row) -> str:
        keys = ", ".join(f'"{name}": points' for name in self.rubric.dimensions)
        return self.rubric.single.format(
            lowest=self.rubric.lowest, highest=self.rubric.highest, dimensions=self._questions(),
            instruction=row.item.asked, answer=_shown(row.output.text), keys=f"{{{keys}}}",
        )  # fmt: skip

    def _pair(self, first: Row, second: Row) -> str:
        return self.rubric.pair.format(
            dimensions=self._questions(), instruction=first.item.asked,
            first=_shown(first.output.text), second=_shown(second.output.text),
        )  # fmt: skip

    def _questions(self) -> str:
        return "\n".join(f"{name}: {question}" for name, question in self.rubric.dimensions.items())

    def _request(self, item: Item, prompt: str, order: str) -> Request:
        asked = (Message("user", prompt),) if self.model.form == "chat" else f"{prompt}\n"
        about = hashlib.sha256(f"{item.id}\n{self.rubric.name}\n{self.rubric.version}\n{order}".encode()).hexdigest()
        return Request(f"{item.id}/{order}", about, asked, sampling_of(self.judge.backend), self.judge.backend.seed)

    def _reply(self, request: Request) -> str | None:
        entry = self.ledger.get(request.key(self.model.name))
        return None if entry is None or entry.reason else entry.text


def points(reply: str, rubric: Rubric) -> float | None:
    """The mean of a reply's points; None unless it has a whole number on the scale for every question, and no more."""
    found = _object(reply)
    if found is None or set(found) != set(rubric.dimensions):
        return None
    given = list(found.values())
    if not all(type(one) is int and rubric.lowest <= one <= rubric.highest for one in given):
        return None
    return float(sum(given) / len(given))


def winner(reply: str) -> Winner | None:
    """Which one a reply names; None unless it is one object with that word and nothing else."""
    found = _object(reply)
    if found is None or set(found) != {"better"}:
        return None
    words: dict[Any, Winner] = {"first": "first", "second": "second", "tie": "tie"}
    return words.get(found["better"]) if isinstance(found["better"], str) else None


def _object(reply: str) -> dict[str, Any] | None:
    """The JSON object that a reply is, with or without a code fence around it; keys that come twice are none."""
    text = reply.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") : -3]
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(pair, tuple) for pair in found):
        return None
    made = dict(found)
    return made if len(made) == len(found) else None


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n[{len(text) - SHOWN:,} characters more]"
