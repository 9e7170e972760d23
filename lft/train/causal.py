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

import torch
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from lft.base.quantize import kept_precision
from lft.recipe.schema import Recipe
from lft.train.arguments import Setting, common_arguments
from lft.train.batches import PackedRows, StreamedRows, collate
from lft.train.ledger import Ledger, global_mean_loss, validation_loss, write_checkpoint
from lft.train.order import RowOrder, as_dataset
from lft.train.progress import Progress


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

    optimizer: Any

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
        share = arguments.per_device_train_batch_size * ledger.world.size
        with kept_precision(model):
            super().__init__(
                model=model,
                args=arguments,
                processing_class=tokenizer,
                train_dataset=as_dataset(rows, share),
                eval_dataset=None if validation is None else as_dataset(validation, share),
                data_collator=collate,
            )
        # The loss is already a mean over the global batch; Trainer must not divide it again.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.ledger = ledger
        self.order = None if isinstance(rows, StreamedRows) else RowOrder(len(rows), share, arguments.seed)
        self.remove_callback(PrinterCallback)
        self.add_callback(Progress(self))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See ``global_mean_loss``."""
        return global_mean_loss(self, model, inputs, num_items_in_batch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """See ``validation_loss``."""
        return validation_loss(self)

    def create_optimizer(self, *arguments: Any) -> Any:
        """Trainer's, unless the method has its own; DeepSpeed asks here too."""
        if self.optimizer is None and self.ledger.optimizer is not None:
            self.optimizer = self.ledger.optimizer(self)
        return super().create_optimizer(*arguments)

    def _get_train_sampler(self, *_: Any) -> RowOrder | None:
        return self.order

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        """The weights are in the model already (``lft.train.model``), to the bit."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002
        write_checkpoint(self)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand Trainer's numbers to the callbacks; TRL's token metrics are not computed here."""
        self._metrics["train"].clear()
        super().log(logs, start_time)
