"""Training in processes of its own that start in an instant: forked from one that has imported the libraries.

``Forked(task, *args)`` runs ``task(*args)`` in a new process. ``together(task, size, *args)`` runs
``task(world, *args)`` in ``size`` processes that have joined one world. Tasks are functions of a module: they travel
by name.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from lft.errors import LftError

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240  # seconds; on a loaded machine a run of twenty steps takes ten
PRELOADED = [
    "lft.train.run", "lft.train.worker", "lft.train.resume", "peft", "trl", "datasets", "deepspeed", "tests.tiny",
]  # fmt: skip


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # The server does not take over sys.path in Python 3.11, only the environment.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return context


class Forked:
    """A process at work. ``result()`` waits for what the task returned, and raises what it raised, in words."""

    def __init__(self, task: Callable[..., Any], *args: Any) -> None:
        self.receiver, sender = _context().Pipe(duplex=False)
        self.process = _context().Process(target=_run, args=(sender, task, args))
        self.process.start()
        sender.close()

    def kill(self, number: int) -> None:
        """Send a signal; nothing happens where the process has ended."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def code(self, patience: float = PATIENCE) -> int:
        """Wait for the end; negative is the signal that ended it."""
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still running after {patience:g} seconds")
        return int(self.process.exitcode)

    def result(self, patience: float = PATIENCE) -> Any:
        """What the task returned."""
        assert self.receiver.poll(patience), f"nothing heard for {patience:g} seconds"
        good, value = self.receiver.recv()
        self.code()
        assert good, value
        return value

    def ended(self, patience: float) -> bool:
        """Wait so many seconds at most; whether it has ended."""
        self.process.join(patience)
        return not self.process.is_alive()


def _run(sender: Any, task: Callable[..., Any], args: tuple[Any, ...]) -> None:
    gc.freeze()  # what was imported before need not be looked through for garbage: half a second a run
    try:
        sender.send((True, task(*args)))
    except LftError as error:
        sender.send((False, f"{type(error).__name__}: {error}"))
    except Exception:
        sender.send((False, traceback.format_exc()))


def together(task: Callable[..., Any], size: int, *args: Any, patience: float = PATIENCE) -> list[Any]:
    """What ``task(world, *args)`` returned in each of ``size`` processes, in the order of the ranks."""
    started = begin_together(task, size, *args)
    try:
        return [one.result(patience) for one in started]
    finally:
        for one in started:
            one.kill(9)


def begin_together(task: Callable[..., Any], size: int, *args: Any, timeout: float = 120.0) -> list[Forked]:
    """The processes of ``together``, at work; a collective may take ``timeout`` seconds."""
    port = free_port()
    return [Forked(_in_world, task, rank, size, port, timeout, args) for rank in range(size)]


def _in_world(task: Callable[..., Any], rank: int, size: int, port: int, timeout: float, args: tuple[Any, ...]) -> Any:
    """As torchrun would have it."""
    from lft.train.world import open_world

    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    with open_world(rank, size, rank, "cpu", timeout) as world:
        return task(world, *args)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
