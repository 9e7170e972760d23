"""What a run says about itself while it goes on, and how it is interrupted."""

from __future__ import annotations

import resource
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from transformers import TrainerCallback

from lft.train.events import Note, Report, Step
from lft.train.world import World


class Progress(TrainerCallback):  # type: ignore[misc]
    """Steps to metrics.jsonl and to whoever listens."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.began: float | None = None  # when the first step did
        self.last_time = self.last_tokens = 0.0
        self.first_step, self.paused = 0, True

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Time counts from the first step on: the evaluation and the answers before it come once."""
        if self.paused:
            self.last_time, self.last_tokens, self.paused = time.monotonic(), self._seen(), False
        if self.began is None:
            self.began, self.first_step = self.last_time, state.global_step

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Evaluating and saving are not training: the speed leaves out all that comes before the next step."""
        self.paused = True

    on_save = on_evaluate

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
        """One optimizer step."""
        if "loss" not in logs or self.began is None:
            return
        now, seen = time.monotonic(), self._seen()
        done = state.global_step - self.first_step
        step = Step(
            step=state.global_step,
            steps=state.max_steps,
            epoch=float(state.epoch or 0.0),
            loss=logs["loss"],
            grad_norm=logs.get("grad_norm", 0.0),
            learning_rate=logs["learning_rate"],
            tokens_per_second=(seen - self.last_tokens) / max(now - self.last_time, 1e-9),
            memory=peak_memory(),
            remaining=(now - self.began) / max(done, 1) * (state.max_steps - state.global_step),
        )
        self.last_time, self.last_tokens = now, seen
        self.trainer.ledger.record(_record(step))
        self.trainer.ledger.report(step)

    def _seen(self) -> float:
        """Supervised tokens of this run, over all processes (the ranks' shares of a batch are about equal)."""
        return float(self.trainer.ledger.supervised_seen * self.trainer.ledger.world.size)


class Interruption(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C and SIGTERM end the run after the step at hand, with a checkpoint. A second one ends it at once."""

    def __init__(self, report: Report, world: World) -> None:
        self.report, self.world = report, world
        self.signal: int | None = None

    def receive(self, signal: int, _: Any) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.note(signal)

    def note(self, signal: int) -> None:
        """Stop after the step at hand."""
        self.signal = signal
        self.report(Note("interrupted: finishing this step and saving a checkpoint (once more to stop at once)"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Ask Trainer for a checkpoint and the end, in all processes at the same step."""
        if self.world.size > 1:  # the highest signal number anybody got
            self.signal = max((s for s in self.world.everyone(self.signal) if s is not None), default=None)
        if self.signal is not None:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False  # a scheduler that waits for the end waits for seconds
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """The checkpoint of the last step is there already."""
        if self.signal is not None:
            control.should_save = control.should_evaluate = False
        return control


def handled_signals(interruption: Interruption) -> AbstractContextManager[None]:
    """While the block runs, SIGINT and SIGTERM go to ``interruption``. Only the main thread may handle signals."""
    import signal
    import threading
    from contextlib import contextmanager

    @contextmanager
    def block() -> Any:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(kind, interruption.receive) for kind in kinds]
        try:
            yield
        finally:
            for kind, handler in zip(kinds, before, strict=True):
                signal.signal(kind, handler)

    return block()


def peak_memory() -> int:
    """Peak bytes so far: allocated on the CUDA device, else resident in this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _record(step: Step) -> dict[str, float]:
    """A line of metrics.jsonl: what is true of this step, without what is only a guess about the rest."""
    told = asdict(step)
    return {key: told[key] for key in told if key not in ("steps", "remaining")}
