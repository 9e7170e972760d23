"""What a run knows beside Trainer's own state, and what its trainers share: loss, evaluation, checkpoints.

The trainers are subclasses of the libraries' (they must be); all that both override are functions of this
file, assigned by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer

from lft.data.tokens import IGNORE
from lft.errors import TrainingError
from lft.train.batches import PackedRows, StreamedRows
from lft.train.events import Evaluated, Report, Saved
from lft.train.folder import RunFolder, checkpoint_steps
from lft.train.order import RowOrder, as_dataset
from lft.train.progress import Progress
from lft.train.world import World, shared_folder

SaveModel = Callable[[Path], None]


@dataclass(slots=True)
class Ledger:
    """One run as its trainer sees it.

    ``save_model_to`` is called in every process (gathering shards is the work of all); only the first one writes.
    ``shifted`` says that a label is predicted at the position before it (decoders; not encoder-decoders).
    ``optimizer`` makes the optimizer of a trainer, None leaves it to Trainer. ``evaluated`` holds the validation loss
    by step.
    """

    folder: RunFolder
    world: World
    report: Report
    save_model_to: SaveModel
    keep_last: int
    keep_best: bool
    shifted: bool = True
    optimizer: Callable[[Any], Any] | None = None
    supervised_seen: int = 0
    evaluated: dict[int, float] = field(default_factory=dict)

    def record(self, record: dict[str, Any]) -> None:
        """A line of metrics.jsonl, from the first process."""
        if self.world.is_main:
            self.folder.append("metrics.jsonl", record)

    def supervised(self, labels: torch.Tensor) -> int:
        """Labels that are trained on."""
        return int(((labels[:, 1:] if self.shifted else labels) != IGNORE).sum())


def datasets_of(
    arguments: Any, ledger: Ledger, rows: PackedRows | StreamedRows, validation: PackedRows | None
) -> dict[str, Any]:
    """A trainer's data as the keyword arguments of its constructor."""
    share = _rows_at_once(arguments, ledger)
    held = None if validation is None else as_dataset(validation, share)
    return {"train_dataset": as_dataset(rows, share), "eval_dataset": held}


def attach(trainer: Any, ledger: Ledger, rows: PackedRows | StreamedRows) -> None:
    """Give a trainer that was just made its ledger, the order of its rows, and an ear for its steps."""
    # The loss is already a mean over the global batch; Trainer must not divide it again.
    trainer.loss_is_scaled_for_ga = True
    trainer.model_accepts_loss_kwargs = True
    trainer.ledger = ledger
    share = _rows_at_once(trainer.args, ledger)
    trainer.order = None if isinstance(rows, StreamedRows) else RowOrder(len(rows), share, trainer.args.seed)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(trainer))


def _rows_at_once(arguments: Any, ledger: Ledger) -> int:
    """Rows that all processes take together in one pass."""
    return int(arguments.per_device_train_batch_size * ledger.world.size)


# What follows takes the place of methods of Trainer, and has their signatures.


def row_order(trainer: Any, *_: Any) -> RowOrder | None:
    """Trainer's ``_get_train_sampler``."""
    order: RowOrder | None = trainer.order
    return order


def own_optimizer(trainer: Any, *arguments: Any) -> Any:
    """Trainer's ``create_optimizer``, unless the method has its own; DeepSpeed asks here too."""
    if trainer.optimizer is None and trainer.ledger.optimizer is not None:
        trainer.optimizer = trainer.ledger.optimizer(trainer)
    return Trainer.create_optimizer(trainer, *arguments)


def loaded_before(trainer: Any, *_: Any, **__: Any) -> None:
    """Trainer's ``_load_from_checkpoint``: the weights are in the model already (``lft.train.model``), to the bit."""


def global_mean_loss(
    trainer: Any,
    model: Any,
    inputs: dict[str, Any],
    return_outputs: bool = False,  # noqa: ARG001
    num_items_in_batch: torch.Tensor | None = None,
) -> torch.Tensor:
    """This batch's share of the mean loss over the supervised tokens of the *global* batch.

    Gradients are averaged over the processes, so the share is multiplied by their number.

    Raises:
        TrainingError: the loss is not finite; the examples are named.
    """
    ledger: Ledger = trainer.ledger
    examples = inputs.pop("examples")
    total: torch.Tensor = model(**inputs, supervised=True).loss
    if not torch.isfinite(total):
        raise TrainingError(
            f"the loss is {total.item()} at step {trainer.state.global_step + 1}, in examples {_listed(examples)}",
            where=str(ledger.folder.path),
            fix="look at these examples with `lft data preview`; lower train.learning_rate, or use dtype float32",
        )
    tokens = ledger.supervised(inputs["labels"])
    if trainer.model.training:
        ledger.supervised_seen += tokens
    items = num_items_in_batch
    devices = ledger.world.size if items is not None else 1
    return total * devices / max(float(tokens if items is None else items), 1.0)


def validation_loss(trainer: Any, *_: Any, **__: Any) -> dict[str, float]:
    """Validation loss in nats per supervised token, over the whole split and all processes.

    The run's random numbers are left where they were: whether and how often a run is evaluated changes nothing in it.
    """
    ledger: Ledger = trainer.ledger
    model = trainer.model_wrapped
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        total, count = _summed_loss(trainer, model)
    model.train(training)
    total, tokens = ledger.world.total((total, float(count)))
    step, loss = trainer.state.global_step, total / max(tokens, 1)
    ledger.record({"step": step, "eval_loss": loss, "eval_tokens": int(tokens)})
    ledger.evaluated[step] = loss
    ledger.report(Evaluated(step, loss))
    metrics = {"eval_loss": loss}
    trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
    return metrics


def _summed_loss(trainer: Any, model: Any) -> tuple[float, int]:
    total, count = 0.0, 0
    for batch in trainer.get_eval_dataloader():
        inputs = trainer._prepare_inputs(batch)
        inputs.pop("examples")
        with torch.no_grad(), trainer.compute_loss_context_manager():
            total += float(model(**inputs, supervised=True).loss)
        count += trainer.ledger.supervised(inputs["labels"])
    return total, count


def write_checkpoint(trainer: Any, *_: Any) -> None:
    """Everything that going on needs, in a folder that is either whole or not there."""
    ledger: Ledger = trainer.ledger
    final = ledger.folder.checkpoints / f"step-{trainer.state.global_step}"
    with shared_folder(final, ledger.world) as draft:
        ledger.save_model_to(draft)
        trainer._save_optimizer_and_scheduler(str(draft))
        trainer._save_scaler(str(draft))
        trainer._save_rng_state(str(draft))
        if ledger.world.is_main:
            trainer.state.stateful_callbacks["TrainerControl"] = trainer.control.state()
            trainer.state.save_to_json(str(draft / "trainer_state.json"))
    ledger.report(Saved("checkpoint", final))
    if ledger.world.is_main:
        for path in _superseded(ledger):
            shutil.rmtree(path, ignore_errors=True)


def _superseded(ledger: Ledger) -> list[Path]:
    """Checkpoints beyond the newest ``keep_last``, but for the best one where it is kept."""
    steps = checkpoint_steps(ledger.folder.checkpoints)
    scored = [step for step, _ in steps if step in ledger.evaluated]
    best = min(scored, key=ledger.evaluated.__getitem__) if ledger.keep_best and scored else None
    return [path for step, path in steps[ledger.keep_last :] if step != best]


def _listed(examples: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in examples[:12])
    return shown if len(examples) <= 12 else f"{shown} and {len(examples) - 12} more"
