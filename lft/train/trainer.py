"""TRL's SFT trainer with its traps closed.

What is ours, and why:
  batches     pre-tokenised rows without padding (TRL cuts at 1,024 tokens and drops rows in silence)
  loss        supervised positions only, a sum over the global batch's supervised tokens (TRL scores prompts on CPU)
  evaluation  mean over tokens, not over batches
  checkpoint  written aside, fsynced, renamed, manifest last (Trainer writes in place)
The rest (optimizer, schedule, accumulation, order of rows, resuming) is TRL's and transformers'.
"""

from __future__ import annotations

import math
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from lft.data.tokens import IGNORE
from lft.errors import TrainingError
from lft.files import new_folder
from lft.plan import BatchPlan
from lft.recipe.schema import Recipe, Train
from lft.train.batches import PackedRows, StreamedRows, collate
from lft.train.events import Evaluated, Note, Report, Saved, Step
from lft.train.folder import RunFolder, checkpoint_steps
from lft.train.loss import attach_loss

SaveModel = Callable[[Path], None]


class LftTrainer(SFTTrainer):  # type: ignore[misc]
    """One causal model, one adapter, rows in, an adapter out."""

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: Any,
        arguments: SFTConfig,
        rows: PackedRows | StreamedRows,
        validation: PackedRows | None,
        folder: RunFolder,
        keep_last: int,
        save_model_to: SaveModel,
        report: Report,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=_as_dataset(rows),
            eval_dataset=None if validation is None else _as_dataset(validation),
            data_collator=collate,
        )
        attach_loss(model.get_base_model())
        # The loss below is already a sum over the global batch; Trainer must not divide it again.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.folder, self.keep_last, self.save_model_to, self.report = folder, keep_last, save_model_to, report
        self.supervised_seen = 0
        self.evaluated: dict[int, float] = {}  # validation loss by step
        self.remove_callback(PrinterCallback)
        self.add_callback(_Progress(self))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sum of the batch's cross-entropies over the supervised tokens of the *global* batch."""
        examples = inputs.pop("examples")
        total: torch.Tensor = model(**inputs, supervised=True).loss
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss is {total.item()} at step {self.state.global_step + 1}, in examples {_listed(examples)}",
                where=str(self.folder.path),
                fix="look at these examples with `lft data preview`; lower train.learning_rate, or use dtype float32",
            )
        tokens = (inputs["labels"][:, 1:] != IGNORE).sum()
        if self.model.training:
            self.supervised_seen += int(tokens)
        devices = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return total * devices / (tokens if num_items_in_batch is None else num_items_in_batch).clamp(min=1)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validation loss in nats per supervised token, over the whole split."""
        training, total, count = self.model.training, 0.0, 0
        self.model.eval()
        for batch in self.get_eval_dataloader():
            inputs = self._prepare_inputs(batch)
            inputs.pop("examples")
            with torch.no_grad(), self.compute_loss_context_manager():
                total += float(self.model(**inputs, supervised=True).loss)
            count += int((inputs["labels"][:, 1:] != IGNORE).sum())
        self.model.train(training)
        loss = total / max(count, 1)
        self.folder.append("metrics.jsonl", {"step": self.state.global_step, "eval_loss": loss, "eval_tokens": count})
        self.evaluated[self.state.global_step] = loss
        self.report(Evaluated(self.state.global_step, loss))
        return {"eval_loss": loss}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002
        final = self.folder.checkpoints / f"step-{self.state.global_step}"
        with new_folder(final) as draft:
            self.save_model_to(draft)
            self._save_optimizer_and_scheduler(str(draft))
            self._save_scaler(str(draft))
            self._save_rng_state(str(draft))
            self.state.stateful_callbacks["TrainerControl"] = self.control.state()
            self.state.save_to_json(str(draft / "trainer_state.json"))
        self.report(Saved("checkpoint", final))
        for _, old in checkpoint_steps(self.folder.checkpoints)[self.keep_last :]:
            shutil.rmtree(old, ignore_errors=True)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand Trainer's numbers to the callbacks; TRL's token metrics are not computed here."""
        self._metrics["train"].clear()
        super().log(logs, start_time)


def _as_dataset(rows: PackedRows | StreamedRows) -> Any:
    """TRL takes only the classes of ``datasets``: row numbers that turn into rows when they are asked for."""
    import datasets

    if isinstance(rows, StreamedRows):
        return datasets.IterableDataset.from_generator(lambda: ({"row": row} for row in rows))
    numbers = datasets.Dataset.from_dict({"row": list(range(len(rows)))})
    return numbers.with_transform(lambda batch: {"row": [rows[number] for number in batch["row"]]})


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Steps to metrics.jsonl and to whoever listens."""

    def __init__(self, trainer: LftTrainer) -> None:
        self.trainer = trainer
        self.began = self.last_time = time.monotonic()
        self.first_step = self.last_tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.began = self.last_time = time.monotonic()
        self.first_step, self.last_tokens = state.global_step, self.trainer.supervised_seen

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.last_time, self.last_tokens = time.monotonic(), self.trainer.supervised_seen

    on_save = on_evaluate

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
        if "loss" not in logs:
            return
        now, seen = time.monotonic(), self.trainer.supervised_seen
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
        _write_step(self.trainer.folder, step)
        self.trainer.report(step)


class Interruption(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C and SIGTERM end the run after the step at hand, with a checkpoint. A second one ends it at once."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.signal: int | None = None

    def receive(self, signal: int, _: Any) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal
        self.report(Note("interrupted: finishing this step and saving a checkpoint (once more to stop at once)"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Ask Trainer for a checkpoint and the end."""
        if self.signal is not None:
            control.should_save = control.should_training_stop = True
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


def sft_config(
    recipe: Recipe, plan: BatchPlan, folder: RunFolder, device: str, dtype: torch.dtype, validated: bool
) -> SFTConfig:
    """TRL's configuration, with no default of its own left to chance where it changes a result."""
    train, cpu = recipe.train, device == "cpu"
    checkpointing = not cpu if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
    return SFTConfig(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=plan.micro_rows,
        per_device_eval_batch_size=plan.micro_rows,
        gradient_accumulation_steps=plan.accumulation,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup_ratio,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        optim="adamw_torch",
        logging_steps=train.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        **_rhythm("eval", train.eval_every if validated else "end"),
        **_rhythm("save", train.save_every),
        seed=train.seed,
        data_seed=train.seed,
        use_cpu=cpu,
        bf16=not cpu and dtype == torch.bfloat16,
        fp16=False,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        accelerator_config={"dispatch_batches": False} if recipe.data.streaming else None,
        dataloader_pin_memory=not cpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def _rhythm(what: str, every: int | str) -> dict[str, Any]:
    """Trainer's words for "every n steps", "each epoch" and "at the end" (which the run does itself)."""
    if isinstance(every, int):
        return {f"{what}_strategy": "steps", f"{what}_steps": every}
    return {f"{what}_strategy": "epoch" if every == "epoch" else "no"}


def peak_memory() -> int:
    """Peak bytes so far: allocated on the CUDA device, else resident in this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _write_step(folder: RunFolder, step: Step) -> None:
    folder.append(
        "metrics.jsonl",
        {
            "step": step.step,
            "epoch": step.epoch,
            "loss": step.loss,
            "grad_norm": step.grad_norm,
            "learning_rate": step.learning_rate,
            "tokens_per_second": step.tokens_per_second,
            "memory": step.memory,
        },
    )


def _listed(examples: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in examples[:12])
    return shown if len(examples) <= 12 else f"{shown} and {len(examples) - 12} more"


def total_steps(train: Train, rows: int, plan: BatchPlan) -> int:
    """Optimizer steps of a run over ``rows`` rows an epoch, as Trainer counts them."""
    if train.max_steps is not None:
        return train.max_steps
    batches = -(-rows // (plan.micro_rows * plan.devices))
    per_epoch = max(batches // plan.accumulation + (batches % plan.accumulation > 0), 1)
    return math.ceil(train.epochs * per_epoch)
