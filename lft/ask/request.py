"""What a model is asked, and what it says: the objects that every kind of model shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lft.ask.meter import Limits, Meter

Form = Literal["chat", "completion"]
"""Whether a model answers messages, or goes on with a text."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; a temperature of 0 takes the likeliest."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 128


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    ``id`` says what it is about (a document, a pair), ``document`` is the digest of that, ``asked`` messages for a
    model of the form chat and a text for one that completes. ``seed`` is this request's own.
    """

    id: str
    document: str
    asked: tuple[Message, ...] | str
    sampling: Sampling
    seed: int

    @property
    def prompt(self) -> str:
        """All that the model reads, as one text."""
        return self.asked if isinstance(self.asked, str) else "\n".join(one.text for one in self.asked)

    def key(self, model: str) -> str:
        """Hex sha256 of the document, the prompt, the model and the decoding: what makes an answer this one's."""
        asked = self.asked if isinstance(self.asked, str) else [[one.role, one.text] for one in self.asked]
        chosen = self.sampling
        decoding = [float(chosen.temperature), float(chosen.top_p), chosen.max_tokens, self.seed]
        return hashlib.sha256(json.dumps([self.document, asked, model, decoding]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: ``finish`` is its own word for why it ended (stop, length), ``seconds`` how long it took."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer although every try was made; ``lasting`` if another run would hear the same."""

    reason: str
    lasting: bool = False


Take = Callable[[Request, Reply | Failure], None]


class Model(Protocol):
    """A model that can be asked, wherever it runs."""

    @property
    def name(self) -> str:
        """What the ledger's keys call it."""

    @property
    def form(self) -> Form:
        """What it wants to be asked in."""

    @property
    def limits(self) -> Limits:
        """What it may cost."""

    @property
    def counted_by(self) -> str:
        """In words: what ``count`` counts with."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter, /) -> None:
        """Ask each of the requests, pulled as there is room for them, and hand each outcome to ``take``.

        Raises LftError when asking must stop; what was under way has then been finished and handed on.
        """


def from_json(fields: dict[str, Any]) -> Request:
    """A request from ``asdict`` that went through JSON."""
    asked = fields["asked"]
    messages = asked if isinstance(asked, str) else tuple(Message(**one) for one in asked)
    return Request(**{**fields, "asked": messages, "sampling": Sampling(**fields["sampling"])})


def rough_tokens(text: str) -> int:
    """Tokens where no tokenizer is at hand: one for 4 characters, which is near for English and low for others."""
    return (len(text) + 3) // 4


ROUGHLY = "4 characters a token"
