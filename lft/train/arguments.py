"""A recipe as the arguments of TRL's and transformers' trainers, with no default left to chance where it matters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lft.base.device import Placement
from lft.plan import BatchPlan
from lft.recipe.schema import Recipe, Train


@dataclass(frozen=True, slots=True)
class Setting:
    """What the arguments depend on beside the recipe."""

    plan: BatchPlan
    placement: Placement
    checkpoints: Path
    validated: bool
    optimizer: str  # transformers' name for it
    deepspeed: dict[str, Any] | None = None


def common_arguments(recipe: Recipe, setting: Setting) -> dict[str, Any]:
    """Keyword arguments that TRL's ``SFTConfig`` and transformers' ``Seq2SeqTrainingArguments`` share."""
    train, cpu = recipe.train, setting.placement.device == "cpu"
    checkpointing = recomputes(recipe, setting.placement)
    return {
        "output_dir": str(setting.checkpoints),
        "per_device_train_batch_size": setting.plan.micro_rows,
        "per_device_eval_batch_size": setting.plan.micro_rows,
        "gradient_accumulation_steps": setting.plan.accumulation,
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "learning_rate": train.learning_rate,
        # transformers' "constant" takes no notice of the warm-up
        "lr_scheduler_type": "constant_with_warmup" if train.schedule == "constant" else train.schedule,
        "warmup_steps": train.warmup_ratio,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "optim": setting.optimizer,
        "logging_steps": train.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        **_rhythm("eval", train.eval_every if setting.validated else "end"),
        **_rhythm("save", train.save_every),
        "seed": train.seed,
        "data_seed": train.seed,
        "use_cpu": cpu,
        "bf16": not cpu and setting.placement.dtype == torch.bfloat16,
        "fp16": False,
        "gradient_checkpointing": checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if checkpointing else None,
        "accelerator_config": {"dispatch_batches": False} if recipe.data.streaming else None,
        "dataloader_pin_memory": not cpu,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
        "ddp_backend": "gloo" if cpu and setting.plan.devices > 1 else None,
        "ddp_timeout": round(recipe.launch.timeout_minutes * 60),
        "ddp_find_unused_parameters": False,
        "deepspeed": setting.deepspeed,
    }


def recomputes(recipe: Recipe, placement: Placement) -> bool:
    """Whether activations are recomputed in the backward pass."""
    wanted = recipe.train.gradient_checkpointing
    return placement.device != "cpu" if wanted == "auto" else wanted


def _rhythm(what: str, every: int | str) -> dict[str, Any]:
    """Trainer's words for "every n steps", "each epoch" and "at the end" (which the run does itself)."""
    if isinstance(every, int):
        return {f"{what}_strategy": "steps", f"{what}_steps": every}
    return {f"{what}_strategy": "epoch" if every == "epoch" else "no"}


def total_steps(train: Train, rows: int, plan: BatchPlan) -> int:
    """Optimizer steps of a run over ``rows`` rows an epoch, as Trainer counts them."""
    if train.max_steps is not None:
        return train.max_steps
    batches = -(-rows // (plan.micro_rows * plan.devices))
    per_epoch = max(batches // plan.accumulation + (batches % plan.accumulation > 0), 1)
    return math.ceil(train.epochs * per_epoch)
