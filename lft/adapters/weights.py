"""How much of an adapter goes into a merge: one number, a number by pattern of tensor names, or one a layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from lft.base.shares import layer_of
from lft.errors import RecipeError
from lft.recipe.problems import shown


@dataclass(frozen=True, slots=True)
class ByPattern:
    """Weights by pattern (``*`` and ``?`` as in file names) of a tensor's name; the first that matches holds."""

    rules: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class ByLayer:
    """One weight a layer, by the first number in a tensor's name."""

    values: tuple[float, ...]


Weight = float | ByPattern | ByLayer


def weight_at(weight: Weight, name: str, who: str) -> float:
    """The weight of an adapter in one tensor.

    Raises:
        RecipeError: no pattern matches the tensor, or it belongs to no layer that has a weight.
    """
    if isinstance(weight, ByPattern):
        for pattern, value in weight.rules:
            if fnmatchcase(name, pattern):
                return value
        raise RecipeError(f"no pattern gives a weight for {name}", where=f"weights of {who}", fix='end with "*"')
    if isinstance(weight, ByLayer):
        layer = layer_of(name)
        if layer is None or layer >= len(weight.values):
            why = "it belongs to no layer" if layer is None else f"there are {len(weight.values)} weights"
            raise RecipeError(f"no weight for {name}: {why}", where=f"weights of {who}", fix="give patterns instead")
        return weight.values[layer]
    return weight


def require_used(weight: Weight, names: Iterable[str], who: str) -> None:
    """Raise RecipeError when a pattern or a layer's weight decides nothing: it is misspelt, or hidden by another."""
    if isinstance(weight, ByPattern):
        used = {next((p for p, _ in weight.rules if fnmatchcase(name, p)), None) for name in names}
        idle = [pattern for pattern, _ in weight.rules if pattern not in used]
        if idle:
            raise RecipeError(
                f"the pattern {shown(idle[0])} decides no tensor",
                where=f"weights of {who}",
                fix="the first pattern that matches holds: put special ones before general ones",
            )
    if isinstance(weight, ByLayer):
        top = max((layer for name in names if (layer := layer_of(name)) is not None), default=-1)
        if len(weight.values) != top + 1:
            raise RecipeError(f"{len(weight.values)} weights for {top + 1} layers", where=f"weights of {who}")


def total(one: Weight, other: Weight) -> Weight | None:
    """The sum of two weights of one adapter; None where it takes both to say it (by pattern or by layer)."""
    return plus(one, other) if isinstance(one, float) and isinstance(other, float) else None


def plus(one: float, other: float) -> float:
    """A sum as it is written: 0.1 and 0.2 make 0.3."""
    return float(Decimal(repr(one)) + Decimal(repr(other)))


def written_weight(weight: Weight) -> str | tuple[str, ...] | tuple[tuple[str, str], ...]:
    """A weight for a file: numbers as decimal strings, patterns in their order."""
    if isinstance(weight, ByPattern):
        return tuple((pattern, repr(value)) for pattern, value in weight.rules)
    if isinstance(weight, ByLayer):
        return tuple(repr(value) for value in weight.values)
    return repr(weight)
