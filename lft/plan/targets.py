"""Which linear layers `method.target_modules` means, from their names alone (as ``lft.train.methods`` does)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lft.errors import RecipeError
from lft.plan.shape import Linear, ModelShape
from lft.recipe.problems import nearest

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of linear layer and how many of its modules are meant."""

    linear: Linear
    count: int


def targets_of(shape: ModelShape, wanted: str | tuple[str, ...]) -> tuple[Target, ...]:
    """The linear layers that carry an update.

    Raises:
        RecipeError: a name or expression matches no linear layer.
    """
    if wanted == ALL_LINEAR:
        return tuple(Target(linear, linear.count) for linear in shape.linears)
    names = wanted if isinstance(wanted, tuple) else (wanted,)
    for name in names:
        if not any(_matches(name, path) for linear in shape.linears for path in linear.paths()):
            known = sorted({linear.name for linear in shape.linears})
            close = nearest(name, known)
            hint = f"nearest: {close}; " if close else ""
            raise RecipeError(
                f"method.target_modules {name!r} matches nothing in a {shape.family} model",
                fix=f"{hint}linear layers here: {', '.join(known)}",
            )
    counted = ((linear, sum(any(_matches(n, p) for n in names) for p in linear.paths())) for linear in shape.linears)
    return tuple(Target(linear, count) for linear, count in counted if count)


def _matches(pattern: str, path: str) -> bool:
    if path == pattern or path.endswith(f".{pattern}"):
        return True
    if re.fullmatch(r"[A-Za-z0-9_.]+", pattern):
        return False
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error as error:
        raise RecipeError(f"method.target_modules {pattern!r} is not a regular expression: {error}") from None
