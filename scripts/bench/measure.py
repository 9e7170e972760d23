"""What a run under measurement tells of itself, the same for lft and for the bare scripts: one JSON line."""

from __future__ import annotations

import json
import resource
import time
from statistics import median
from typing import Any


class Clock:
    """Beginning of the first step and ends of all, on the wall and in processor seconds of this process."""

    def __init__(self, began: float) -> None:
        """``began``: the monotonic clock when the process was started."""
        self.began = began
        self.first: list[tuple[float, float]] = []
        self.ended: list[tuple[float, float]] = []

    def watch(self) -> None:
        """Note when a trainer, whosever it is, begins its first step: the first batch is there, no forward is done."""
        from transformers import Trainer

        inner = Trainer.training_step

        def noted(*arguments: Any, **named: Any) -> Any:
            if not self.first:
                self.first.append((time.monotonic(), time.process_time()))
            return inner(*arguments, **named)

        Trainer.training_step = noted

    def step(self) -> None:
        """An optimizer step is done."""
        self.ended.append((time.monotonic(), time.process_time()))

    def told(self, supervised: float, seconds: float, losses: list[float]) -> dict[str, Any]:
        """The run in the words of ``contenders.Figures``; the final loss is that of the last fifth of the steps."""
        tail = losses[-max(len(losses) // 5, 1) :]
        (first, first_cpu), (last, last_cpu) = self.ended[0], self.ended[-1]
        pairs = list(zip(self.ended, self.ended[1:], strict=False))
        return {
            "supervised": supervised,
            "steps": len(self.ended),
            "seconds": seconds,
            "final_loss": sum(tail) / len(tail),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "start": self.first[0][0] - self.began,
            "start_cpu": self.first[0][1],
            "first_step": first - self.began,
            "first_step_cpu": first_cpu,
            "cpu": (last_cpu - first_cpu) / max(last - first, 1e-9),
            "step": median(after[0] - before[0] for before, after in pairs) if pairs else 0.0,
            "step_cpu": median(after[1] - before[1] for before, after in pairs) if pairs else 0.0,
        }


def train_measured(trainer: Any, clock: Clock, labels: str = "labels") -> None:
    """Train with a trainer of transformers' or TRL's, and print the line (the first process alone).

    Args:
        labels: the column of the trainer's rows with the labels.
    """
    from transformers import TrainerCallback

    began: list[float] = []

    class Ends(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: object, **__: object) -> None:
            began.append(time.monotonic())

        def on_step_end(self, *_: object, **__: object) -> None:
            clock.step()

    trainer.add_callback(Ends())
    clock.watch()
    trainer.train()
    seconds = time.monotonic() - began[0]
    supervised = sum(sum(label != -100 for label in row) for row in trainer.train_dataset[labels])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if trainer.is_world_process_zero():
        print(json.dumps(clock.told(supervised * trainer.state.num_train_epochs, seconds, losses)))
