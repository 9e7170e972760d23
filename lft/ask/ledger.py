"""The ledger: one line for each answer that a model gave, so that none is paid for twice.

A file of JSON lines that only grows, written by one process at a time. A line counts when it is on the disk
(``add`` returns after fsync). A line that was cut by a kill is passed over and its document asked again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.ask.meter import Spent
from lft.ask.request import Failure, Reply, Request
from lft.errors import MachineError
from lft.files import disk_errors, sync_folder

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``reason`` is empty for an answer; else there is none, and a later run asks again."""

    key: str
    id: str
    model: str
    text: str = ""
    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    reason: str = ""

    @property
    def spent(self) -> Spent:
        """What it cost."""
        return Spent(0 if self.reason else 1, self.tokens_in, self.tokens_out)


def entry_of(request: Request, model: str, outcome: Reply | Failure) -> Entry:
    """The line that an outcome becomes."""
    key = request.key(model)
    if isinstance(outcome, Failure):
        return Entry(key, request.id, model, reason=outcome.reason)
    tokens = outcome.tokens_in, outcome.tokens_out
    return Entry(key, request.id, model, outcome.text, outcome.finish, tokens[0], tokens[1], round(outcome.seconds, 3))


class Ledger:
    """An open ledger. Memory holds a digest and a place for each answer, never its text."""

    def __init__(self, handle: int, path: Path) -> None:
        self.path = path
        self.broken = 0
        self._handle = handle
        self._end = 0
        self._places: dict[bytes, int] = {}
        self._spent: dict[str, Spent] = {}
        self._scan()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def get(self, key: str) -> Entry | None:
        """The answer to a request with this key."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        line = b""
        while b"\n" not in line:
            more = os.pread(self._handle, 4096, place + len(line))
            if not more:
                break
            line += more
        return _entry(line.partition(b"\n")[0])

    def spent(self, model: str) -> Spent:
        """What a model's answers have cost, in all runs."""
        return self._spent.get(model, Spent())

    def add(self, entries: Sequence[Entry]) -> None:
        """Append lines and wait until they are on the disk.

        Raises:
            MachineError: the disk is full; lines that were added before are whole.
        """
        lines = [_line(one) for one in entries]
        rest = memoryview(b"".join(lines))
        with disk_errors(self.path):
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        for one, line in zip(entries, lines, strict=True):
            self._note(one, self._end)
            self._end += len(line)

    def _note(self, entry: Entry, place: int) -> None:
        self._spent[entry.model] = self.spent(entry.model) + entry.spent
        if not entry.reason:
            self._places[bytes.fromhex(entry.key)] = place

    def _scan(self) -> None:
        last = b"\n"
        with os.fdopen(os.dup(self._handle), "rb") as stream:
            stream.seek(0)
            for line in stream:
                last, entry = line, _entry(line)
                if entry is not None:
                    self._note(entry, self._end)
                elif line.strip():
                    self.broken += 1
                self._end += len(line)
        if not last.endswith(b"\n"):  # what was cut stays, on a line of its own
            os.write(self._handle, b"\n")
            self._end += 1


def _line(entry: Entry) -> bytes:
    record = {name: getattr(entry, name) for name in Entry.__slots__}
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _entry(line: bytes) -> Entry | None:
    try:
        entry = Entry(**json.loads(line))
        numbers: list[Any] = [entry.tokens_in, entry.tokens_out]
        words: list[Any] = [entry.id, entry.model, entry.text, entry.finish, entry.reason]
        whole = all(type(one) is int for one in numbers) and all(isinstance(one, str) for one in words)
        return entry if whole and len(bytes.fromhex(entry.key)) == 32 else None
    except (ValueError, TypeError, RecursionError):
        return None


@contextmanager
def open_ledger(path: Path, notify: Notify | None = None) -> Iterator[Ledger]:
    """The ledger of a file, made where there is none, locked until the block ends.

    Raises:
        MachineError: another process writes to it, or the disk does not let it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(handle, path)
        sync_folder(path.parent)
        ledger = Ledger(handle, path)
        if ledger.broken and notify:
            notify(f"{path.name}: {ledger.broken} lines are not whole (a run was killed); they are passed over")
        yield ledger
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MachineError(
            "another process writes to this ledger", where=str(path), fix="wait for it, or build into another folder"
        ) from None
    except OSError as error:
        raise MachineError(f"this place has no file locks ({error.strerror})", where=str(path)) from None
