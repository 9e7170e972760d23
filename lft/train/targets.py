"""Which layers a recipe's ``method.target_modules`` means on the model at hand: exactly those, or an error."""

from __future__ import annotations

import re
from typing import Any

import torch

from lft.errors import RecipeError

ALL_LINEAR = "all-linear"


def matched_modules(model: Any, wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    """Full names of the modules that a recipe's ``target_modules`` means.

    ``all-linear`` is every linear layer but the head; a list holds names (``q_proj``) or ends of paths
    (``self_attn.q_proj``), each of which must match; any other text is a regular expression on the full path.

    Raises:
        RecipeError: nothing matches, or a match is not a linear layer or is a decoder's output head.
    """
    linear, head = _linear_layers(model), model.get_output_embeddings()
    if wanted == ALL_LINEAR:
        return tuple(name for name, module in linear.items() if module is not head)
    found = _named(model, wanted, linear, "linear")
    _require_no_head(model, found, linear, head)
    return found


def _require_no_head(model: Any, found: tuple[str, ...], linear: dict[str, Any], head: Any) -> None:
    """TRL computes the loss from the head's own weight, so an adapter on it would never be seen by a decoder."""
    at = next((name for name in found if linear[name] is head), None)
    if at is not None and not model.config.is_encoder_decoder:
        raise RecipeError(
            f"method.target_modules matches the output head {at}, which cannot have an adapter",
            fix="leave the head out, or write all-linear (every linear layer but the head)",
        )


def matched_norms(model: Any, wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    """As ``matched_modules``, for normalisation layers.

    Raises:
        RecipeError: nothing matches, or a match is not a normalisation layer.
    """
    norms = {name: module for name, module in model.named_modules() if "norm" in type(module).__name__.lower()}
    return _named(model, wanted, norms, "normalisation")


def _named(model: Any, wanted: str | tuple[str, ...], layers: dict[str, Any], word: str) -> tuple[str, ...]:
    every = [name for name, _ in model.named_modules() if name]
    if isinstance(wanted, tuple):
        groups = {name: [path for path in every if path == name or path.endswith(f".{name}")] for name in wanted}
    else:
        groups = {wanted: _regex_matches(wanted, every)}
    for pattern, found in groups.items():
        _require_among(pattern, found, layers, word)
    return tuple(sorted({path for found in groups.values() for path in found}, key=every.index))


def _linear_layers(model: Any) -> dict[str, Any]:
    from transformers.pytorch_utils import Conv1D

    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)}


def _regex_matches(pattern: str, every: list[str]) -> list[str]:
    if re.fullmatch(r"[A-Za-z0-9_.]+", pattern):
        return [path for path in every if path == pattern or path.endswith(f".{pattern}")]
    try:
        return [path for path in every if re.fullmatch(pattern, path)]
    except re.error as error:
        raise RecipeError(f"method.target_modules {pattern!r} is not a regular expression: {error}") from None


def _require_among(pattern: str, found: list[str], layers: dict[str, Any], word: str) -> None:
    names = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers}))
    if not found:
        raise RecipeError(f"method.target_modules {pattern!r} matches nothing", fix=f"{word} layers here: {names}")
    if odd := [path for path in found if path not in layers]:
        raise RecipeError(
            f"method.target_modules {pattern!r} matches {odd[0]}, which is not a {word} layer",
            fix=f"{word} layers here: {names}",
        )
