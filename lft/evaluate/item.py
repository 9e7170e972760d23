"""What is asked and what came back: the objects that suites, generation, metrics and reports share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lft.data.clauses import Unit

Relation = Literal["equal", "at-most", "at-least"]
Finish = Literal["stop", "length", "unknown"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A length that an instruction asks for, as it can be checked: ``number`` of ``unit``."""

    number: int
    unit: Unit = "words"
    relation: Relation = "equal"


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a suite.

    ``id`` is a digest of the suite, the language, the instruction and the reference: the same item in two results is
    the same question. ``reference`` is empty where the suite has none.
    """

    id: str
    lang: str
    source: str
    subset: str
    instruction: str
    context: str
    reference: str
    wanted: tuple[Wanted, ...] = ()

    @property
    def asked(self) -> str:
        """What a person would say: the instruction, and below it the material that it is about."""
        return f"{self.instruction}\n\n{self.context}" if self.context.strip() else self.instruction


@dataclass(frozen=True, slots=True)
class Output:
    """An answer: ``sample`` counts from 0, ``finish`` is why it ended; an endpoint or a file may not say."""

    text: str
    sample: int = 0
    tokens: int | None = None
    finish: Finish = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One answer to one item: what every metric sees."""

    item: Item
    output: Output
