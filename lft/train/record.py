"""What a run records of itself beside its logs: how it stands (state.json) and what its data came to (data.json).

Nothing here needs torch: `lft runs` reads with it what training writes with it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from lft.errors import InputError, LftError
from lft.files import disk_errors, write_text

STATE, DATA, LOG = "state.json", "data.json", "log.txt"
Word = Literal["running", "finished", "interrupted", "failed"]
WORDS: Final = ("running", "finished", "interrupted", "failed")


@dataclass(frozen=True, slots=True)
class State:
    """How a run stands, as it last said itself.

    ``planned`` and ``done`` are optimizer steps; ``began`` and ``ended`` are UTC in ISO 8601. ``seconds`` is summed
    over the sessions (a run that was resumed has several) but for the ``untimed`` ones that were killed.
    """

    word: Word
    why: str
    planned: int
    done: int | None
    began: str
    ended: str | None
    seconds: float
    sessions: int
    untimed: int


@dataclass(slots=True)
class Session:
    """What the training inside ``recorded`` says about its end."""

    done: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What became of a split's examples.

    ``full`` is the share of packed rows that holds tokens, None without packing; ``rows`` is None for a stream, whose
    counts are those of what was read, each pass anew.
    """

    rows: int | None
    full: float | None
    examples: int
    kept: int
    tokens: int
    supervised: int
    dropped: int
    truncated: int
    tokens_cut: int
    split: int
    empty: int
    retokenised: int
    longest: int
    specials: int = 0
    empty_turns: int = 0
    starts_masked: int = 0
    spaces_lost: int = 0
    unknown: int = 0

    @classmethod
    def of(cls, counts: Any, rows: int | None, full: float | None) -> SplitCounts:
        """From ``lft.data.tokens.Counts``, which knows neither rows nor packing."""
        taken = {field.name: getattr(counts, field.name) for field in fields(cls) if field.name not in ("rows", "full")}
        return cls(rows=rows, full=full, **taken)


def write_data(folder: Path, splits: dict[str, SplitCounts]) -> None:
    """Save what became of the examples of each split."""
    write_text(folder / DATA, json.dumps({name: asdict(counts) for name, counts in splits.items()}, indent=2))


def read_data(folder: Path) -> dict[str, SplitCounts] | None:
    """What ``write_data`` saved; None where it is not there or cannot be read."""
    try:
        saved = json.loads((folder / DATA).read_text(encoding="utf-8"))
        splits = {name: SplitCounts(**entry) for name, entry in saved.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return splits if all(_are_numbers(asdict(counts).values()) for counts in splits.values()) else None


def _are_numbers(values: Any) -> bool:
    return all(value is None or type(value) in (int, float) for value in values)


def read_state(folder: Path) -> State | None:
    """What ``recorded`` saved; None where it is not there or cannot be read."""
    try:
        state = State(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    texts = (state.why, state.began, state.ended or "")
    numbers = (state.planned, state.done, state.seconds, state.sessions, state.untimed)
    sound = state.word in WORDS and all(isinstance(text, str) for text in texts) and _are_numbers(numbers)
    return state if sound else None


@contextmanager
def recorded(folder: Path, planned: int) -> Iterator[Session]:
    """While the block runs state.json says so; then it says how the block ended. Errors pass through.

    Args:
        folder: the run.
        planned: optimizer steps of the whole run.
    """
    earlier = read_state(folder)
    start = _start(earlier, planned)
    _write(folder, start)
    clock, session = time.monotonic(), Session()

    def end(word: Word, why: str) -> None:
        seconds = start.seconds + time.monotonic() - clock
        _write(folder, replace(start, word=word, why=why, done=session.done, ended=_now(), seconds=seconds))

    try:
        yield session
    except BaseException as error:
        with suppress(Exception):  # the error at hand matters more than its record
            end(*_ending(error))
        raise
    if session.signal is None:
        end("finished", "")
    else:
        end("interrupted", f"{signal.Signals(session.signal).name} received")


def _start(earlier: State | None, planned: int) -> State:
    if earlier is None:
        return State("running", "", planned, None, _now(), None, 0.0, 1, 0)
    killed = int(earlier.word == "running")
    return replace(
        earlier,
        word="running",
        why="",
        planned=planned,
        done=None,
        ended=None,
        sessions=earlier.sessions + 1,
        untimed=earlier.untimed + killed,
    )


def _ending(error: BaseException) -> tuple[Word, str]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "stopped at once"
    if isinstance(error, LftError):
        return "failed", error.what
    return "failed", f"{type(error).__name__}: {error}".splitlines()[0]


def _write(folder: Path, state: State) -> None:
    write_text(folder / STATE, json.dumps(asdict(state), indent=2))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Only one process at a time works on a run; the system lets go when the process ends, however it ends.

    Raises:
        InputError: another process works on this run.
    """
    with disk_errors(folder):
        stream = (folder / LOG).open("a", encoding="utf-8")
    with stream:
        for patience in range(10, -1, -1):  # a reader that looks whether the run goes on holds the lock for a moment
            if _locked(stream, alone=True) is not False:
                break
            if not patience:
                raise InputError(
                    "another process is working on this run", where=str(folder), fix="wait until it has ended"
                )
            time.sleep(0.05)
        yield


def is_held(folder: Path) -> bool | None:
    """Whether a process works on a run; None where the file system cannot tell."""
    try:
        with (folder / LOG).open(encoding="utf-8") as stream:
            free = _locked(stream, alone=False)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return None if free is None else not free


def _locked(stream: TextIO, *, alone: bool) -> bool | None:
    """Lock an open file until it is closed: False where another process has it, None where locks do not exist."""
    import fcntl

    try:
        fcntl.flock(stream, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
