"""One attempt at a run, in a process of its own that is killed at a chosen moment.

Moments are counted by kind: ``step`` is the loss of a micro batch, ``evaluate`` a batch of an evaluation; of the work
of saving, ``tensors`` is a file of tensors, ``fsync`` and ``replace`` are what they are called, and ``remove`` is the
removal of a superseded checkpoint, of which one file is gone by then. ``seconds`` is any moment at all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.files import MANIFEST
from lft.recipe.schema import Recipe
from lft.train.folder import RunFolder
from lft.train.inputs import prepare_inputs
from lft.train.run import finetune

SAVING = ("tensors", "fsync", "replace", "remove")


@dataclass(frozen=True)
class Moment:
    """The ``number``-th event of a kind since the attempt began, from 1; or a number of seconds."""

    kind: str
    number: float


@dataclass(frozen=True)
class Place:
    """Where the attempts at one run leave what outlives them."""

    folder: Path

    @property
    def run(self) -> Path | None:
        """The run folder, once there is one."""
        note = self.folder / "run"
        return Path(note.read_text(encoding="utf-8")) if note.exists() else None

    @property
    def seen(self) -> list[dict[str, Any]]:
        """The micro batches that were trained on (attempt, step, examples), in the order of time."""
        return [json.loads(line) for line in (self.folder / "seen").read_text(encoding="utf-8").splitlines()]


def attempt(chosen: Recipe, cache: Path, place: Place, number: int, fatal: Moment | None) -> dict[str, float]:
    """Begin the run or go on with it; returns how often each kind of event came, if it lives to do so."""
    inputs = prepare_inputs(chosen, cache, lambda _: None)
    run = place.run
    counts: Counter[str] = Counter()
    if fatal is not None and fatal.kind == "seconds":
        clock = threading.Timer(fatal.number, _die)
        clock.daemon = True
        clock.start()

    def happened(kind: str) -> None:
        counts[kind] += 1
        if fatal == Moment(kind, counts[kind]):
            _die()

    def made(path: Path) -> None:
        (place.folder / "run").write_text(str(path), encoding="utf-8")

    _listen(happened, place, number)
    began = time.monotonic()
    finetune(inputs, lambda _: None, RunFolder.open(run) if run else None, made=made)
    return {**counts, "seconds": time.monotonic() - began}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _listen(happened: Callable[[str], None], place: Place, number: int) -> None:
    """An ear on everything that is counted. The process ends with the attempt, so nothing is put back."""
    import safetensors.torch
    import torch

    _after(os, "fsync", lambda *_: happened("fsync"))
    _after(os, "replace", lambda *_: happened("replace"))
    _after(safetensors.torch, "save_file", lambda *_: happened("tensors"))
    _after(torch, "save", lambda *_: happened("tensors"))
    _listen_to_batches(happened, place, number)
    remove = shutil.rmtree

    def removed(path: Any, *args: Any, **kwargs: Any) -> None:
        if Path(path).name.startswith("step-"):
            (Path(path) / MANIFEST).unlink(missing_ok=True)
            happened("remove")
        remove(path, *args, **kwargs)

    shutil.rmtree = removed  # type: ignore[assignment]


def _listen_to_batches(happened: Callable[[str], None], place: Place, number: int) -> None:
    from lft.train.causal import CausalTrainer
    from lft.train.ledger import Ledger

    loss, supervised = CausalTrainer.compute_loss, Ledger.supervised
    training = False

    def recorded(trainer: Any, model: Any, inputs: dict[str, Any], **items: Any) -> Any:
        nonlocal training
        line = {"attempt": number, "step": trainer.state.global_step + 1, "examples": inputs["examples"]}
        with (place.folder / "seen").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        training = True
        result = loss(trainer, model, inputs, **items)
        training = False
        happened("step")
        return result

    def counted(self: Any, labels: Any) -> int:
        if not training:
            happened("evaluate")
        return supervised(self, labels)

    CausalTrainer.compute_loss = recorded  # type: ignore[method-assign]
    Ledger.supervised = counted  # type: ignore[method-assign]


def _after(owner: Any, name: str, then: Callable[..., None]) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        then(*args)
        return result

    setattr(owner, name, wrapped)
