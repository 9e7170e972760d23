"""What is trained: a recipe's method as a PEFT configuration put on a base, with the modules it matched."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from lft.errors import RecipeError
from lft.recipe.schema import Method

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model with its adapter: which modules it sits on, and how much of it is trained."""

    model: Any
    modules: tuple[str, ...]
    trainable: int
    total: int

    def __str__(self) -> str:
        kinds = Counter(name.rsplit(".", 1)[-1] for name in self.modules)
        listed = ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
        share = 100 * self.trainable / self.total
        return (
            f"{len(self.modules)} modules ({listed}); {self.trainable:,} of {self.total:,} parameters ({share:.2f} %)"
        )


def add_lora(model: Any, method: Method, token_rows: dict[str, list[int]]) -> Tuned:
    """Put a LoRA (arXiv 2106.09685) on the modules that the recipe names.

    Args:
        model: a causal model.
        method: rank, scale, dropout and targets.
        token_rows: rows of embedding layers that are trained and travel in the adapter (``base.tokens``).

    Raises:
        RecipeError: a target matches nothing, or something that is no linear layer.
    """
    from peft import LoraConfig, get_peft_model

    modules = matched_modules(model, method.target_modules)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=list(modules),
        trainable_token_indices=token_rows or None,
        bias="none",
    )
    tuned = get_peft_model(model, config)
    trainable, total = tuned.get_nb_trainable_parameters()
    return Tuned(tuned, modules, trainable, total)


def matched_modules(model: Any, wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    """Full names of the modules that a recipe's ``target_modules`` means.

    ``all-linear`` is every linear layer but the head; a list holds names (``q_proj``) or ends of paths
    (``self_attn.q_proj``), each of which must match; any other text is a regular expression on the full path.

    Raises:
        RecipeError: nothing matches, or a match is not a linear layer.
    """
    linear = _linear_names(model)
    if wanted == ALL_LINEAR:
        head = model.get_output_embeddings()
        return tuple(name for name, module in linear.items() if module is not head)
    every = [name for name, _ in model.named_modules() if name]
    if isinstance(wanted, tuple):
        groups = {name: [path for path in every if path == name or path.endswith(f".{name}")] for name in wanted}
    else:
        groups = {wanted: _regex_matches(wanted, every)}
    for pattern, found in groups.items():
        _require_linear(pattern, found, linear)
    return tuple(sorted({path for found in groups.values() for path in found}, key=every.index))


def _linear_names(model: Any) -> dict[str, Any]:
    from transformers.pytorch_utils import Conv1D

    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)}


def _regex_matches(pattern: str, every: list[str]) -> list[str]:
    if re.fullmatch(r"[A-Za-z0-9_.]+", pattern):
        return [path for path in every if path == pattern or path.endswith(f".{pattern}")]
    try:
        return [path for path in every if re.fullmatch(pattern, path)]
    except re.error as error:
        raise RecipeError(f"method.target_modules {pattern!r} is not a regular expression: {error}") from None


def _require_linear(pattern: str, found: list[str], linear: dict[str, Any]) -> None:
    names = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
    if not found:
        raise RecipeError(f"method.target_modules {pattern!r} matches nothing", fix=f"linear layers here: {names}")
    if odd := [path for path in found if path not in linear]:
        raise RecipeError(
            f"method.target_modules {pattern!r} matches {odd[0]}, which is not a linear layer",
            fix=f"linear layers here: {names}",
        )
