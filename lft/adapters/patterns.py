"""Regular expressions of somebody else's file: refused before they run where they could run for hours.

Python's engine tries again at every place where a repetition could have ended. Repeating something that can itself
match in several ways takes time that is exponential in the name's length; k repetitions one after another, about the
number of ways to cut the name into k.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from math import comb
from typing import Any, Final

from lft.errors import InputError
from lft.recipe.problems import shown

LENGTH: Final = 4096
NAME: Final = 128  # longest module name that is looked at with a pattern; real ones have 30 to 80 characters
REPEATS: Final = 4  # one after another: comb(NAME, 4) is 11 million steps, 0.1 s at worst
WAYS: Final = 1000  # alternatives and optional parts, multiplied


@dataclass(frozen=True, slots=True)
class _Cost:
    """How much trying a part of a pattern can take: repetitions in a row, and ways besides."""

    repeats: int = 0
    ways: int = 1

    def then(self, other: _Cost) -> _Cost:
        return _Cost(self.repeats + other.repeats, self.ways * other.ways)


class _Nested(Exception):
    """A repetition of something that can match in several ways."""


def require_cheap(pattern: str, where: str) -> None:
    """Raise InputError for a regular expression that is none, or that could take more than a moment on one name."""
    if len(pattern) > LENGTH:
        raise InputError(f"a pattern of {len(pattern):,} characters; {LENGTH:,} are allowed", where=where)
    try:
        re.compile(pattern)
        cost = _sequence(import_module("re._parser").parse(pattern))
    except _Nested:
        raise _refused(pattern, "a repetition inside a repetition", where) from None
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"{shown(pattern)} is no regular expression ({error})", where=where) from error
    if comb(NAME, min(cost.repeats, NAME // 2)) > comb(NAME, REPEATS):
        raise _refused(pattern, f"{cost.repeats} repetitions one after another", where)
    if cost.ways > WAYS:
        raise _refused(pattern, "that many alternatives one after another", where)


def _refused(pattern: str, why: str, where: str) -> InputError:
    return InputError(
        f"the pattern {shown(pattern)} is refused: {why} could be tried for hours",
        where=where,
        fix="write the modules as a list of names",
    )


def _sequence(parsed: Iterable[tuple[Any, Any]]) -> _Cost:
    """What one after another costs; ``parsed`` is what Python's own parser made."""
    cost = _Cost()
    for operation, argument in parsed:
        cost = cost.then(_part(str(operation).lower(), argument))
    return cost


def _part(operation: str, argument: Any) -> _Cost:
    if "repeat" in operation:
        return _repeat(*argument)
    if operation == "branch":
        costs = [_sequence(one) for one in argument[1]]
        return _Cost(max(one.repeats for one in costs), sum(one.ways for one in costs))
    cost = _Cost()
    for inner in _inner(operation, argument):
        cost = cost.then(_sequence(inner))
    return cost


def _repeat(least: int, most: int, repeated: Any) -> _Cost:
    inner = _sequence(repeated)
    if least == most:
        return _Cost(inner.repeats * most, inner.ways ** min(most, 64))
    if most == 1:  # an optional part
        return _Cost(inner.repeats, inner.ways + 1)
    if inner != _Cost():
        raise _Nested
    return _Cost(1)


def _inner(operation: str, argument: Any) -> Iterator[Any]:
    """The patterns inside a part that is no repetition and no alternative."""
    if operation == "subpattern":
        yield argument[3]
    elif operation in ("assert", "assert_not"):
        yield argument[1]
    elif operation == "groupref_exists":
        yield from (part for part in argument[1:] if part is not None)
    elif operation == "atomic_group":
        yield argument
