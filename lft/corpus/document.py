"""What flows through a build: documents that people wrote, and pairs of an instruction and its document."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Style = Literal["instruction", "chatbot", "search-engine", "human", "template"]
"""Who asks, and how: the paper's three styles of a model's reverse instruction, a question that a person wrote
(Stack Exchange, e-mail), or a template around a title (WikiHow)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that a person wrote, and where it is from.

    ``lang`` is what its source says (ISO 639-1), ``detected`` what the text itself looks like. ``where`` is its URL, or
    its path and place in the source. ``question`` is a person's own instruction for it, where the source has one: no
    model writes another.
    """

    id: str
    text: str
    source: str
    lang: str
    licence: str
    where: str
    subset: str = ""
    title: str = ""
    question: str = ""
    style: Style | None = None
    score: float | None = None
    detected: str = ""

    @property
    def words(self) -> int:
        """Words, as the paper counts them: what white space divides."""
        return len(self.text.split())

    def record(self) -> dict[str, Any]:
        """As one JSON object; its length stands there for whoever reads the file."""
        return {**asdict(self), "words": self.words}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Document:
        """From ``record()``. Raises TypeError or KeyError for another object."""
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})


def document_id(source: str, where: str, text: str) -> str:
    """16 hex digits of a hash over where a text is from and what it says: the same in every run."""
    return hashlib.sha256("\x1f".join((source, where, text)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Pair:
    """An instruction and the text that answers it: one row of the data set.

    The first four are LongForm's columns. ``length_clause`` is the sentence about length that is part of ``input``
    (empty where none is); ``scores`` are those of the screening, by name.
    """

    input: str
    output: str
    source: str
    subset: str
    id: str
    lang: str
    licence: str
    style: Style
    length_clause: str = ""
    where: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As one JSON object."""
        return {**asdict(self), "scores": dict(self.scores)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Pair:
        """From ``record()``. Raises TypeError or KeyError for another object."""
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})
