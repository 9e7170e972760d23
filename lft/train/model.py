"""The model of a run: base, added tokens, isolation proven, and the method put on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lft
from lft.base.binding import Binding
from lft.base.load import load_model
from lft.base.quantize import quantization
from lft.base.tokens import add_tokens, token_training
from lft.recipe.kinds import CALIBRATED
from lft.train.adapter import save_adapter
from lft.train.attention import isolate
from lft.train.calibrate import calibration_rows
from lft.train.events import Note, Report, noter
from lft.train.full import load_full, save_full
from lft.train.inputs import Inputs
from lft.train.loss import attach_loss
from lft.train.methods import Tuned, tune
from lft.train.world import World
from lft.train.zero import STAGES


@dataclass(frozen=True, slots=True)
class Subject:
    """What is trained, and what its saved form says about itself."""

    inputs: Inputs
    tuned: Tuned
    binding: Binding

    @property
    def full(self) -> bool:
        """Whether every weight is trained."""
        return self.inputs.recipe.method.kind == "full"

    @property
    def sharded(self) -> bool:
        """Whether ZeRO-3 keeps each weight in parts once the training has begun."""
        return STAGES.get(self.inputs.recipe.launch.engine) == 3

    def save(self, trainer: Any, folder: Path, *, checkpoint: bool) -> None:
        """Write weights, tokenizer, binding and prompt format, read back. All processes call it; the first writes.

        Args:
            trainer: whose engine gathers what is in parts.
            folder: a draft.
            checkpoint: with what going on needs. Where DeepSpeed saves the weights itself they are left to it.
        """
        main, inputs = trainer.ledger.world.is_main, self.inputs
        if not self.full:
            with _whole([p for p in self.tuned.model.parameters() if p.requires_grad], self.sharded):
                if main:
                    save_adapter(self.tuned, inputs.tokenizer, self.binding, inputs.form, folder, checkpoint=checkpoint)
            return
        if checkpoint and inputs.recipe.launch.engine in STAGES:
            return
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if self.sharded else None
        if main:
            model = self.tuned.model
            save_full(model, state or model.state_dict(), inputs.tokenizer, self.binding, inputs.form, folder)


@contextmanager
def _whole(parameters: list[Any], sharded: bool) -> Iterator[None]:
    """Within the block the parameters are whole in every process."""
    if not (sharded and hasattr(parameters[0], "ds_id")):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters):
        yield


def subject(inputs: Inputs, world: World, checkpoint: Path | None, report: Report) -> Subject:
    """Load the base and put the recipe's method on it; with a checkpoint, in the very state that was saved there.

    Every process loads the whole base (ZeRO-3 into host memory, until DeepSpeed shards it): isolation, head and added
    tokens are then checked on the very weights, in the same way for every engine.

    Raises:
        RecipeError, InputError, MachineError: it cannot be; nothing was written.
    """
    recipe, placement, note = inputs.recipe, inputs.placement, noter(report)
    stored = quantization(recipe.base, placement)
    note(f"loading {inputs.base.written} ({placement.reason})" + (f", {stored}" if stored else ""))
    model = load_model(inputs.base, _dtype(inputs), _device(inputs, world), notify=note, quantization=stored)
    added = add_tokens(inputs.tokenizer, model, inputs.form.added_tokens)
    if inputs.shares_rows:
        isolate(model, len(inputs.tokenizer))
    if recipe.method.kind == "full":
        tuned = _all_of(model, checkpoint if recipe.launch.engine not in STAGES else None)
    else:
        looked_at = recipe.method.calibration_rows if recipe.method.kind in CALIBRATED else 0
        tuned = tune(
            model,
            recipe.method,
            token_training(model, added) if added.ids else {},
            steps=inputs.steps,
            rows=calibration_rows(inputs.rows, looked_at),
            below=inputs.below,
            tokenizer=inputs.tokenizer,
            resume=checkpoint,
            notify=note,
        )
    attach_loss(model)
    report(Note(f"{recipe.method.kind} on {tuned}"))
    binding = _binding(inputs, tuned.model, tuple(one.record() for one in inputs.below))
    return Subject(inputs, tuned, binding)


def _all_of(model: Any, checkpoint: Path | None) -> Tuned:
    """Every weight trained."""
    if checkpoint is not None:
        load_full(model, checkpoint)
    model.requires_grad_(True)
    total = sum(parameter.numel() for parameter in model.parameters())
    return Tuned(model, (), total, total)


def _dtype(inputs: Inputs) -> torch.dtype:
    """Of the weights in memory. AdamW's steps are lost in bfloat16 weights, so where nobody keeps a float32 copy
    (DeepSpeed does) full fine-tuning under ``auto`` keeps the weights in float32 and only computes in bfloat16.
    """
    recipe = inputs.recipe
    if recipe.method.kind == "full" and recipe.base.dtype == "auto" and recipe.launch.engine not in STAGES:
        return torch.float32
    return inputs.placement.dtype


def _device(inputs: Inputs, world: World) -> str:
    if inputs.placement.device == "cpu" or STAGES.get(inputs.recipe.launch.engine) == 3:
        return "cpu"
    return f"cuda:{world.local_rank}"


def _binding(inputs: Inputs, model: Any, below: tuple[Any, ...]) -> Binding:
    recipe = inputs.recipe
    if recipe.method.kind != "full":
        # What plain `peft` loads the base from, where it can: a folder of this machine is nobody else's business.
        config = model.peft_config["default"]
        config.base_model_name_or_path = inputs.base.written if inputs.base.kind == "hub" else None
        config.revision = inputs.base.revision
    return Binding(
        base=inputs.base.public,
        revision=inputs.base.revision,
        weights=inputs.identity.weights,
        tokenizer=inputs.identity.tokenizer,
        config=inputs.identity.config,
        name=recipe.output.adapter or recipe.name,
        rows=model.get_input_embeddings().weight.shape[0],
        recipe=recipe.name,
        tags=dict(recipe.output.tags),
        lft=lft.__version__,
        below=below,
        quantize=recipe.base.quantize,
        double_quant=recipe.base.double_quant,
        compute_dtype=recipe.base.compute_dtype,
    )
