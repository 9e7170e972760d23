"""A function over many rows: here alone where that is quick, with the help of other processes where much is left."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from lft.errors import MachineError

T = TypeVar("T")
R = TypeVar("R")
PATIENCE: Final = 3.0  # seconds of work left for which others are asked: each takes one to begin
_ALONE: Final = 0.5  # seconds of work here that tell how long the rest will take
_NOT_NEEDED: Final = ("matplotlib", "pandas", "scipy", "sklearn")  # NLTK imports them where they are, for two seconds
_CHUNK: Final = 16  # rows that are sent to a process at once


def spread(function: Callable[[T], R], rows: Sequence[T], workers: int, patience: float = PATIENCE) -> list[R]:
    """``function`` of each row, in their order, the same whoever works it out.

    Args:
        function: of a module's top level, for other processes to import it (or a ``partial`` of one).
        rows: what it is called with.
        workers: how many processes may work, this one among them; 1 stays in this one.
        patience: seconds of work left for which this process stays alone.

    Raises:
        MachineError: a process was killed, or could not begin.
    """
    began = time.perf_counter()
    found: list[R] = []
    for row in rows:
        spent, left = time.perf_counter() - began, len(rows) - len(found)
        if workers > 1 and spent >= min(_ALONE, patience) and spent * left >= patience * len(found):
            break
        found.append(function(row))
    rest = rows[len(found) :]
    return found + _together(function, rest, workers) if rest else found


def _together(function: Callable[[T], R], rows: Sequence[T], workers: int) -> list[R]:
    """Others take chunks from the end; this process, which has nothing to load first, takes them from the front."""
    # spawned, because a forked copy of a process that runs torch's threads may hang
    context = multiprocessing.get_context("spawn")
    size = max(1, min(_CHUNK, len(rows) // (4 * workers)))
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ProcessPoolExecutor(workers - 1, mp_context=context, initializer=_begin) as pool:
        try:
            asked = [pool.submit(_each, function, chunk) for chunk in reversed(chunks)]
            found: list[R] = []
            for chunk, other in zip(chunks, reversed(asked), strict=True):
                found += _each(function, chunk) if other.cancel() else other.result()
            return found
        except BrokenProcessPool:
            raise MachineError(
                "a process that scores answers was killed, or could not begin",
                fix="if memory was short, ask for fewer workers (1 works in this process alone)",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Keeps a process that only counts words from loading what its packages take for optional."""
    for name in _NOT_NEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def _each(function: Callable[[T], R], rows: Sequence[T]) -> list[R]:
    return [function(row) for row in rows]
