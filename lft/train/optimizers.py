"""The recipe's optimizer in transformers' words, and the two learning rates of LoRA+."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lft.base.quantize import require_bitsandbytes
from lft.recipe.schema import Optimizer

# transformers' name, and whether it is bitsandbytes'. lion exists only there.
_NAMES: Final[dict[Optimizer, tuple[str, bool]]] = {
    "adamw": ("adamw_torch", False),
    "adamw_8bit": ("adamw_8bit", True),
    "paged_adamw": ("paged_adamw_32bit", True),
    "paged_adamw_8bit": ("paged_adamw_8bit", True),
    "lion": ("lion_32bit", True),
    "lion_8bit": ("lion_8bit", True),
    "paged_lion_8bit": ("paged_lion_8bit", True),
    "adafactor": ("adafactor", False),
}


def optimizer_name(optimizer: Optimizer, device: str, notify: Callable[[str], None]) -> str:
    """What ``TrainingArguments.optim`` calls an optimizer.

    Raises:
        MachineError: it is bitsandbytes' and that is not installed.
    """
    name, bitsandbytes = _NAMES[optimizer]
    if bitsandbytes:
        require_bitsandbytes(f"train.optimizer {optimizer}")
    if optimizer.startswith("paged") and device == "cpu":
        notify(f"train.optimizer {optimizer}: there is nothing to page on a CPU; it works as without")
    return name


def loraplus_groups(model: Any, learning_rate: float, ratio: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of LoRA+ (arXiv 2402.12354): B learns ``ratio`` times as fast as everything else.

    PEFT's own would train rows of added tokens without weight decay and embeddings at 1e-6 whatever the recipe says.
    """
    slow = [p for name, p in model.named_parameters() if p.requires_grad and not _is_b(name)]
    fast = [p for name, p in model.named_parameters() if p.requires_grad and _is_b(name)]
    rates = ((slow, learning_rate), (fast, learning_rate * ratio))
    return [{"params": some, "lr": rate, "weight_decay": weight_decay} for some, rate in rates if some]


def _is_b(name: str) -> bool:
    return ".lora_B." in name


def make_loraplus(model: Any, arguments: Any, kind_and_options: tuple[type, dict[str, Any]], ratio: float) -> Any:
    """The optimizer of a LoRA+ run.

    Args:
        model: the PEFT model.
        arguments: the trainer's ``TrainingArguments``.
        kind_and_options: from ``Trainer.get_optimizer_cls_and_kwargs(arguments, model)``.
        ratio: the recipe's ``method.loraplus_lr_ratio``.
    """
    kind, options = kind_and_options
    return kind(loraplus_groups(model, arguments.learning_rate, ratio, arguments.weight_decay), **options)
