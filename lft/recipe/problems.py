"""Where a value came from, and what is wrong with it: one line each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lft.errors import RecipeError

COMMAND_LINE: Final = "command line"
SHOWN: Final = 60  # characters of somebody's text that fit into one line beside the explanation


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a file (line and column from 1), an override on the command line, or the schema's default."""

    source: str
    line: int = 0
    column: int = 0
    override: str = ""

    def __str__(self) -> str:
        return f"{shown(self.source, 4096, '')}:{self.line}:{self.column}" if self.line else self.source


DEFAULT: Final = Origin("default")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at one place; its text is always one line."""

    at: Origin
    what: str

    def __str__(self) -> str:
        where = f"{COMMAND_LINE}: {shown(self.at.override, quote='')}" if self.at.override else str(self.at)
        return f"{where}: {self.what}"


class BadRecipe(RecipeError):
    """Everything that is wrong with one recipe, or with a file of another ``kind`` that is read as recipes are."""

    def __init__(self, problems: Iterable[Problem], kind: str = "recipe") -> None:
        self.problems = tuple(sorted(problems, key=_position))
        lines = [str(problem) for problem in self.problems]
        super().__init__("\n".join(lines if len(lines) == 1 else [f"{len(lines)} problems in the {kind}", *lines]))


def _position(problem: Problem) -> tuple[bool, str, int, int]:
    at = problem.at
    return (at.source == COMMAND_LINE, at.source, at.line, at.column)


def shown(text: str, limit: int = SHOWN, quote: str = "'") -> str:
    """Somebody's text inside a message: one line, printable, at most ``limit`` characters, in quotes."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return quote + "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in cut) + quote


def listed(words: Iterable[str], limit: int = 12) -> str:
    """Words with commas; a long list is cut with a count of what was left out."""
    known = list(words)
    more = f", … ({len(known) - limit} more)" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was probably meant: a close spelling, or the one whose initials were written (lr)."""
    import difflib  # only a mistake needs it

    known = {candidate.lower(): candidate for candidate in candidates}
    written = word.strip().lower().replace("-", "_")
    if written in known:
        return known[written]
    for name, candidate in known.items():
        if len(written) > 1 and written == "".join(part[0] for part in name.split("_") if part):
            return candidate
    close = difflib.get_close_matches(written[:64], list(known), n=1, cutoff=0.6)
    return known[close[0]] if close else None
