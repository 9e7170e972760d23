"""A function over many rows: here for as long as that is quick, in other processes where much is left."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from lft.errors import MachineError

T = TypeVar("T")
R = TypeVar("R")
PATIENCE: Final = 15.0  # seconds of work here before others are asked: each takes seconds to begin
CHUNK: Final = 64  # rows that are sent to a process at once


def spread(function: Callable[[T], R], rows: Sequence[T], workers: int, patience: float = PATIENCE) -> list[R]:
    """``function`` of each row, in their order, the same whoever works it out.

    Args:
        function: of a module's top level, for other processes to import it (or a ``partial`` of one).
        rows: what it is called with.
        workers: how many processes may work; 1 stays in this one.
        patience: seconds that this process works alone first.

    Raises:
        MachineError: a process was killed, or could not begin.
    """
    began = time.perf_counter()
    found: list[R] = []
    for row in rows:
        if workers > 1 and time.perf_counter() - began >= patience:
            break
        found.append(function(row))
    rest = rows[len(found) :]
    return found + _elsewhere(function, rest, workers) if rest else found


def _elsewhere(function: Callable[[T], R], rows: Sequence[T], workers: int) -> list[R]:
    # spawned, because a forked copy of a process that runs torch's threads may hang
    context = multiprocessing.get_context("spawn")
    size = max(1, min(CHUNK, len(rows) // (2 * workers)))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            return list(pool.map(function, rows, chunksize=size))
        except BrokenProcessPool:
            raise MachineError(
                "a process that scores answers was killed, or could not begin",
                fix="if memory was short, ask for fewer workers (1 works in this process alone)",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
