"""Keys whose behaviour is not built yet: refused by name, never ignored. Building one removes its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lft.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A key, what a recipe asks of it that is not there (None when it asks for nothing), and a note."""

    key: str
    asked: Callable[[Recipe], str | None]
    note: str


def _when(asked: object, text: str) -> str | None:
    return text if asked else None


def _unless_default(key: str, note: str) -> Unsupported:
    section, name = key.split(".")

    def asked(recipe: Recipe) -> str | None:
        part = getattr(recipe, section)
        default = type(part).model_fields[name].get_default(call_default_factory=True)
        value = getattr(part, name)
        return None if value == default else str(value)

    return Unsupported(key, asked, note)


NOT_YET: Final = (
    Unsupported("base.quantize", lambda recipe: recipe.base.quantize, "comes with QLoRA"),
    Unsupported(
        "base.trust_remote_code", lambda recipe: _when(recipe.base.trust_remote_code, "true"), "comes with remote code"
    ),
    Unsupported(
        "base.dtype",
        lambda recipe: _when(recipe.base.dtype == "float16", "float16"),
        "needs loss scaling; bfloat16 and float32 do not",
    ),
    Unsupported(
        "method.kind",
        lambda recipe: _when(recipe.method.kind != "lora", recipe.method.kind),
        "comes with the other PEFT methods; lora is there",
    ),
    Unsupported(
        "method.on_top_of", lambda recipe: _when(recipe.method.on_top_of, "a stack"), "comes with adapter stacks"
    ),
    Unsupported(
        "launch.engine",
        lambda recipe: _when(recipe.launch.engine != "none", recipe.launch.engine),
        "comes with distributed training",
    ),
    Unsupported(
        "launch.gpus",
        lambda recipe: _when(recipe.launch.gpus > 1, str(recipe.launch.gpus)),
        "comes with distributed training",
    ),
    *(
        _unless_default(key, note)
        for key, note in (
            ("base.double_quant", "comes with QLoRA"),
            ("base.compute_dtype", "comes with QLoRA"),
            ("data.newlines", "comes with T5"),
            ("method.loraplus_lr_ratio", "comes with lora+"),
            ("method.calibration_rows", "comes with eva and corda"),
            ("method.options", "comes with the other PEFT methods"),
            ("train.optimizer", "comes with 8-bit optimizers"),
            ("train.keep_best", "comes with the next checkpoint rules"),
            ("launch.max_restarts", "comes with distributed training"),
            ("launch.timeout_minutes", "comes with distributed training"),
        )
    ),
    Unsupported(
        "launch.nodes",
        lambda recipe: _when(recipe.launch.nodes > 1, str(recipe.launch.nodes)),
        "comes with distributed training",
    ),
)
