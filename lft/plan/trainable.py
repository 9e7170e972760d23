"""How many parameters a method trains, where a formula says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lft.plan.shape import ModelShape
from lft.plan.targets import Target, targets_of
from lft.recipe.schema import Method, Recipe

# Kinds whose update is B A of rank r: they differ in how it begins or is scaled, not in size.
LORA_LIKE: Final = ("lora", "rslora", "pissa", "olora", "eva", "corda", "loftq", "lora+")
# Kinds that put something on the linear layers; the others train tokens, norms or prompts.
_ON_LINEARS: Final = (*LORA_LIKE, "dora", "ia3", "vera", "loha", "hra", "fourierft")


@dataclass(frozen=True, slots=True)
class Trainable:
    """What is trained. ``method`` is None where no formula for the kind is known here; ``tokens`` are added rows."""

    kind: str
    method: int | None
    tokens: int
    targets: tuple[Target, ...]

    @property
    def total(self) -> int:
        """All that is trained, as far as it is known."""
        return (self.method or 0) + self.tokens

    @property
    def full(self) -> bool:
        """Whether the base itself is trained."""
        return self.kind == "full"


def trainable_of(recipe: Recipe, shape: ModelShape) -> Trainable:
    """What a recipe trains on a model of this shape.

    Raises:
        RecipeError: target modules that match nothing.
    """
    method = recipe.method
    if method.kind == "full":
        return Trainable("full", shape.total, 0, ())
    targets = targets_of(shape, method.target_modules) if method.kind in _ON_LINEARS else ()
    formula = _FORMULAS.get(method.kind)
    return Trainable(
        method.kind, formula(method, shape, targets) if formula else None, _token_rows(recipe, shape), targets
    )


def added_tokens(recipe: Recipe, shape: ModelShape) -> int:
    """Tokens that the prompt format adds to the vocabulary: [EOI], and a line break where T5 has none."""
    data = recipe.data
    marker = int(data.prompt == "longform-eoi" and data.eoi == "token")
    return marker + int(shape.family == "t5" and data.newlines in ("auto", "token"))


def _token_rows(recipe: Recipe, shape: ModelShape) -> int:
    """Added tokens' rows in the embedding, and in the head where that is another matrix."""
    return added_tokens(recipe, shape) * shape.embedding_width * (1 if shape.tied else 2)


def _lora(method: Method, _: ModelShape, targets: Sequence[Target]) -> int:
    return sum(method.r * (t.linear.inputs + t.linear.outputs) * t.count for t in targets)


def _dora(method: Method, shape: ModelShape, targets: Sequence[Target]) -> int:
    """LoRA and a magnitude for each output."""
    return _lora(method, shape, targets) + sum(t.linear.outputs * t.count for t in targets)


def _ia3(method: Method, _: ModelShape, targets: Sequence[Target]) -> int:
    """A factor for each output, or for each input where ``options.feedforward_modules`` names the layer."""
    forward = method.options.get("feedforward_modules") or ()
    names = forward if isinstance(forward, tuple) else (forward,)
    sizes = ((t.linear.inputs if t.linear.name in names else t.linear.outputs) * t.count for t in targets)
    return sum(sizes)


def _vera(method: Method, _: ModelShape, targets: Sequence[Target]) -> int:
    return sum((method.r + t.linear.outputs) * t.count for t in targets)


def _loha(method: Method, shape: ModelShape, targets: Sequence[Target]) -> int:
    return 2 * _lora(method, shape, targets)


def _hra(method: Method, _: ModelShape, targets: Sequence[Target]) -> int:
    return sum(method.r * t.linear.inputs * t.count for t in targets)


def _fourierft(method: Method, _: ModelShape, targets: Sequence[Target]) -> int:
    return _option(method, "n_frequency", 1000) * sum(t.count for t in targets)


def _prompt_tuning(method: Method, shape: ModelShape, _: Sequence[Target]) -> int:
    return _option(method, "num_virtual_tokens", 20) * shape.hidden * (2 if shape.encoder_decoder else 1)


def _prefix_tuning(method: Method, shape: ModelShape, _: Sequence[Target]) -> int:
    """Keys and values of each decoder layer for each virtual token."""
    stack = shape.decoder
    keys = shape.hidden * stack.kv_heads // stack.heads
    depth = stack.layers * (2 if shape.encoder_decoder else 1)
    return _option(method, "num_virtual_tokens", 20) * depth * 2 * keys


def _ln_tuning(_: Method, shape: ModelShape, __: Sequence[Target]) -> int:
    return shape.parts.norms


def _option(method: Method, key: str, default: int) -> int:
    value = method.options.get(key, default)
    return value if isinstance(value, int) else default


_FORMULAS: Final[dict[str, Callable[[Method, ModelShape, Sequence[Target]], int]]] = {
    **dict.fromkeys(LORA_LIKE, _lora),
    "dora": _dora,
    "ia3": _ia3,
    "vera": _vera,
    "loha": _loha,
    "hra": _hra,
    "fourierft": _fourierft,
    "prompt_tuning": _prompt_tuning,
    "prefix_tuning": _prefix_tuning,
    "ln_tuning": _ln_tuning,
}
