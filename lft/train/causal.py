"""Decoders: TRL's SFT trainer with its traps closed.

What is ours, and why:
  batches     pre-tokenised rows without padding (TRL cuts at 1,024 tokens and drops rows in silence)
  order       the same rows in the same optimizer step for any number of processes
  loss        supervised positions only, a sum over the global batch's supervised tokens (TRL scores prompts on CPU)
  evaluation  mean over tokens, not over batches
  checkpoint  written aside, fsynced, renamed, manifest last (Trainer writes in place)
The rest (optimizer, schedule, accumulation, DDP and DeepSpeed, resuming) is TRL's and transformers'.
"""

from __future__ import annotations

from typing import Any

from trl import SFTConfig, SFTTrainer

from lft.base.quantize import kept_precision
from lft.recipe.schema import Recipe
from lft.train.arguments import Setting, common_arguments
from lft.train.batches import PackedRows, StreamedRows, collate
from lft.train.ledger import (
    Ledger,
    attach,
    datasets_of,
    global_mean_loss,
    loaded_before,
    own_optimizer,
    row_order,
    validation_loss,
    write_checkpoint,
)


def sft_config(recipe: Recipe, setting: Setting) -> SFTConfig:
    """TRL's configuration. Cutting, packing and preparing are lft's own work and switched off here."""
    return SFTConfig(
        **common_arguments(recipe, setting),
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


class CausalTrainer(SFTTrainer):  # type: ignore[misc]
    """One causal model, rows in, an adapter or a model out."""

    compute_loss = global_mean_loss
    evaluate = validation_loss
    create_optimizer = own_optimizer
    _get_train_sampler = row_order
    _load_from_checkpoint = loaded_before
    _save_checkpoint = write_checkpoint

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: Any,
        arguments: SFTConfig,
        rows: PackedRows | StreamedRows,
        validation: PackedRows | None,
        ledger: Ledger,
    ) -> None:
        with kept_precision(model):
            super().__init__(
                model=model,
                args=arguments,
                processing_class=tokenizer,
                data_collator=collate,
                **datasets_of(arguments, ledger, rows, validation),
            )
        attach(self, ledger, rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand Trainer's numbers to the callbacks; TRL's token metrics are not computed here."""
        self._metrics["train"].clear()
        super().log(logs, start_time)
