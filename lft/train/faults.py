"""What goes wrong in the middle of a run, as one message: what happened, the last safe checkpoint, what to change."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Final

from lft.errors import InputError, LftError, MachineError, RecipeError, TrainingError
from lft.files import is_disk_full
from lft.train.folder import checkpoint_steps

_CLASSES: Final = {kind.exit_code: kind for kind in (RecipeError, InputError, MachineError, TrainingError)}
# What gloo, NCCL and torch say when another process is gone. Such an error is a consequence, never the cause.
_PEER_GONE: Final = re.compile(
    r"closed by peer|connection (reset|refused|closed|was)|broken pipe|socket|timed out|timeout|NCCL|gloo|TCPStore"
    r"|peer .*(gone|closed)|collective",
    re.IGNORECASE,
)
_SOURCE: Final = re.compile(r"^\[[^\]]*\.(cc|cpp|h):\d+\]\s*")  # gloo says first where in its own files it is
_NO_MEMORY: Final = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|not enough memory", re.I)


def explained(error: Exception, run: Path | None, several: bool = True) -> LftError:
    """An error of the libraries in the middle of a run, in words; errors of lft stay, with the way to go on added.

    ``several`` says that there are other processes which could be lost.
    """
    safe = last_safe(run)
    if isinstance(error, LftError):
        if run is None or safe in str(error) or not isinstance(error, MachineError | TrainingError):
            return error
        return type(error)(error.what, where=error.where, fix=". ".join(filter(None, (error.fix, safe))))
    where = None if run is None else str(run)
    text = str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text) or type(error).__name__ == "OutOfMemoryError":
        return MachineError(
            "out of memory",
            where=where,
            fix="lower train.micro_batch_size or data.max_length, set train.gradient_checkpointing: true, or "
            f"base.quantize: nf4 (`lft plan` says what fits). {safe}",
        )
    if is_disk_full(error):
        return MachineError("no space left on the disk", where=where, fix=f"free some space. {safe}")
    if several and _peer_gone(error):
        said = _SOURCE.sub("", text.strip()).splitlines()[0][:160]
        return MachineError(
            f"the connection to another process was lost ({said})",
            where=where,
            fix="look at the other machines and the network between them (launch.timeout_minutes is how long a process "
            f"waits for another). {safe}",
        )
    raise error


def _peer_gone(error: BaseException) -> bool:
    """Whether a library says that another process is gone, and nothing else."""
    text = str(error)
    return isinstance(error, RuntimeError) and bool(_PEER_GONE.search(text)) and not _NO_MEMORY.search(text)


def last_safe(run: Path | None) -> str:
    """Where a run can go on from, as a sentence."""
    steps = checkpoint_steps(run / "checkpoints") if run is not None else []
    if not steps:
        return "No checkpoint was saved yet: start the run again"
    return f"The last checkpoint is step {steps[0][0]}; go on with: lft finetune --resume {quote(str(run))}"


@dataclass(frozen=True, slots=True)
class Failure:
    """How one process ended. ``consequence`` says that it only noticed that another one was gone."""

    rank: int
    at: float  # seconds since the epoch
    code: int
    what: str
    where: str | None
    fix: str | None
    consequence: bool

    @classmethod
    def of(cls, rank: int, error: LftError, cause: BaseException) -> Failure:
        """The failure of this process, from its error and what stood behind it (``cause``, or what that came from)."""
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return cls(rank, time.time(), error.exit_code, error.what, error.where, error.fix, _peer_gone(cause))

    def save(self, job: Path) -> None:
        """Leave it for the launcher."""
        (job / f"failure-{self.rank}.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    def error(self) -> LftError:
        """As an error of the launcher. The recipe and its inputs are everybody's: which process saw it says nothing."""
        kind = _CLASSES.get(self.code, LftError)
        who = "" if kind in (RecipeError, InputError) else f" (process {self.rank})"
        return kind(self.what + who, where=self.where, fix=self.fix)


def failures(job: Path) -> list[Failure]:
    """The failures that processes left, causes before consequences, then in the order of time."""
    found = []
    for path in job.glob("failure-*.json"):
        try:
            found.append(Failure(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError):  # killed while it wrote
            continue
    return sorted(found, key=lambda failure: (failure.consequence, failure.at))
