"""What a run tells while it goes on. The command line decides how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Note:
    """A fact worth a line, such as the modules matched or the examples dropped."""

    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step.

    ``tokens_per_second`` counts supervised tokens; ``memory`` is the peak in bytes (device memory on CUDA, resident
    memory on CPU); ``remaining`` is in seconds.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float
    tokens_per_second: float
    memory: int
    remaining: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Validation loss in nats per supervised token."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Saved:
    """Something was written and read back."""

    what: str
    path: Path


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to one of the recipe's sample prompts."""

    when: str
    prompt: str
    text: str


Event = Note | Step | Evaluated | Saved | Sample
Report = Callable[[Event], None]


def noter(report: Report) -> Callable[[str], None]:
    """The same listener for plain text, as the other rooms speak."""
    return lambda text: report(Note(text))
