"""What an example is: turns of a conversation, whatever columns it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training example: turns that end with the assistant's answer.

    ``context`` is Alpaca's `input` column (material that the instruction talks about); it stays apart because the
    Alpaca prompt gives it a heading of its own.
    """

    turns: tuple[Turn, ...]
    context: str = ""
    source: str = ""
    subset: str = ""
    lang: str = ""

    @property
    def output(self) -> str:
        """The last turn's text."""
        return self.turns[-1].content if self.turns else ""
