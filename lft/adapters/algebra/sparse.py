"""Rules on every number of dW: trim, drop, elect, join. They work on rows of the dense deltas.

What each implementation does differently is pinned here:

| | here | paper or its code | PEFT | mergekit |
|---|---|---|---|---|
| k is counted in | each tensor (``scope: model``: all) | TIES' code: all | factor or tensor | tensor |
| k | floor(density * size) | same | same, in float | same |
| of equal magnitudes stay | the first in row-major order | torch's | torch's topk | torch's sort |
| sign is elected by | sum of w t, 0 as + | sum of t, 0 as the majority | sum of t, 0 as + | sum of w t, 0 as + |
| divided by | abs(w) of those that agree, times that of all | their count | count | their w |
| lacks the tensor | a zero: counts among all weights | same | no part | same |
| DARE's survivors | times 1 / density | same | same | to the same L1 norm |
| DELLA's survivors | times 1 / own chance | same | none | to the same L1 norm |
| DELLA's epsilon | half of the range of chances | the whole range | none | half |

Weights of 1/T make TIES the paper's (a mean, times lambda), and mergekit's with ``normalize: true``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from lft.adapters.algebra.method import Identity, method, number, whole_number
from lft.adapters.algebra.rowwise import Draws, Part

Rule = Callable[[int], torch.Tensor]
"""From the first row of a tile to the merged tile."""
Scope = Literal["tensor", "model"]

_DROPS: dict[Identity, str] = {
    "one": "numbers are dropped, so one adapter alone comes out changed",
    "equals": "numbers are dropped, so two equal adapters come out changed",
}
_SCOPE_HELP = "count the kept numbers in each tensor, or over the whole adapter"


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Parameters of magnitude pruning."""

    density: float = number(0.2, "share of the numbers that is kept", 0, 1, above=True)
    lambda_: float = number(1.0, "factor of the result")
    scope: Scope = field(default="tensor", metadata={"help": _SCOPE_HELP})


@dataclass(frozen=True, slots=True)
class Ties:
    """Parameters of TIES."""

    density: float = number(0.2, "share of the numbers that is kept", 0, 1, above=True)
    lambda_: float = number(1.0, "factor of the result")
    scope: Scope = field(default="tensor", metadata={"help": _SCOPE_HELP})


@dataclass(frozen=True, slots=True)
class Breadcrumbs:
    """Parameters of Model Breadcrumbs."""

    density: float = number(0.9, "share of the numbers that is kept", 0, 1, above=True)
    gamma: float = number(0.01, "share of the largest numbers that is dropped as outliers", 0, 1)
    lambda_: float = number(1.0, "factor of the result")


@dataclass(frozen=True, slots=True)
class Dare:
    """Parameters of DARE."""

    density: float = number(0.5, "chance of a number to be kept", 0, 1, above=True)
    lambda_: float = number(1.0, "factor of the result")
    seed: int = whole_number(0, "seed of the random numbers", 0)


@dataclass(frozen=True, slots=True)
class Della:
    """Parameters of DELLA."""

    density: float = number(0.5, "mean chance of a number to be kept", 0, 1, above=True)
    epsilon: float = number(0.1, "chances run from density - epsilon to density + epsilon", 0, 0.5)
    lambda_: float = number(1.0, "factor of the result")
    seed: int = whole_number(0, "seed of the random numbers", 0)


@method(
    "magnitude", form="dense", exactness="dense", parameters=Magnitude, paper="https://arxiv.org/abs/1506.02626",
    breaks=_DROPS, neutral=Magnitude(density=1.0),
)  # fmt: skip
def magnitude(parts: Sequence[Part], p: Magnitude) -> Rule:
    """Magnitude pruning: each delta keeps its largest numbers, then the weighted sum.

    Source: https://arxiv.org/abs/1506.02626 (pruning), as PEFT's ``magnitude_prune_svd`` before its SVD.
    """
    tops = [part.top(p.density, of_model=p.scope == "model") for part in parts]

    def rule(row: int) -> torch.Tensor:
        kept = [_masked(part.surface.tile(row), top, row) for part, top in zip(parts, tops, strict=True)]
        return _sum(kept, parts, p.lambda_)

    return rule


@method(
    "ties", form="dense", exactness="dense", parameters=Ties, paper="https://arxiv.org/abs/2306.01708",
    breaks=_DROPS, neutral=Ties(density=1.0),
)  # fmt: skip
def ties(parts: Sequence[Part], p: Ties) -> Rule:
    """TIES: trim each delta, elect a sign for each number, mean of those that agree.

    Source: https://arxiv.org/abs/2306.01708; differences in the table above.
    """
    tops = [part.top(p.density, of_model=p.scope == "model") for part in parts]

    def rule(row: int) -> torch.Tensor:
        kept = [_masked(part.surface.tile(row), top, row) for part, top in zip(parts, tops, strict=True)]
        return _elected(kept, parts, p.lambda_)

    return rule


@method(
    "breadcrumbs", form="dense", exactness="dense", parameters=Breadcrumbs, paper="https://arxiv.org/abs/2312.06795",
    breaks=_DROPS, neutral=Breadcrumbs(density=1.0, gamma=0.0),
)  # fmt: skip
def breadcrumbs(parts: Sequence[Part], p: Breadcrumbs) -> Rule:
    """Model Breadcrumbs: each delta loses its largest and its smallest numbers, then the weighted sum.

    Per tensor. Where density + gamma exceed 1, fewer of the largest are dropped (as mergekit).

    Source: https://arxiv.org/abs/2312.06795
    """
    outliers = min(p.gamma, 1 - p.density)
    wide = [part.top(p.density + outliers) for part in parts]
    tips = [part.top(outliers) for part in parts]

    def rule(row: int) -> torch.Tensor:
        kept = []
        for part, within, tip in zip(parts, wide, tips, strict=True):
            values = part.surface.tile(row)
            kept.append(values * (within(values, row) & ~tip(values, row)))
        return _sum(kept, parts, p.lambda_)

    return rule


@method(
    "dare", form="dense", exactness="stochastic", parameters=Dare, paper="https://arxiv.org/abs/2311.03099",
    breaks=_DROPS, neutral=Dare(density=1.0),
)  # fmt: skip
def dare(parts: Sequence[Part], p: Dare) -> Rule:
    """DARE: drop numbers at random, scale the rest by 1 / density, then the weighted sum.

    The expected value is the weighted sum. The random numbers of a row depend on seed, adapter, tensor and row alone.

    Source: https://arxiv.org/abs/2311.03099 (with task arithmetic)
    """
    draws = _draws(parts, p.seed)
    return lambda row: _sum(_dropped(parts, draws, row, p.density), parts, p.lambda_)


@method(
    "dare-ties", form="dense", exactness="stochastic", parameters=Dare, paper="https://arxiv.org/abs/2311.03099",
    breaks=_DROPS, neutral=Dare(density=1.0),
)  # fmt: skip
def dare_ties(parts: Sequence[Part], p: Dare) -> Rule:
    """DARE, then TIES' election and mean instead of the sum; nothing is trimmed by magnitude.

    Source: https://arxiv.org/abs/2311.03099 with https://arxiv.org/abs/2306.01708
    """
    draws = _draws(parts, p.seed)
    return lambda row: _elected(_dropped(parts, draws, row, p.density), parts, p.lambda_)


@method(
    "della", form="dense", exactness="stochastic", parameters=Della, paper="https://arxiv.org/abs/2406.11617",
    breaks=_DROPS, neutral=Della(density=1.0, epsilon=0.0),
)  # fmt: skip
def della(parts: Sequence[Part], p: Della) -> Rule:
    """DELLA: drop at random, small numbers of a row rather than large ones; scale by 1 / chance; elect, mean.

    The chance to stay grows linearly with the rank of a magnitude in its row, from density - epsilon to
    density + epsilon, and is kept within [0, 1]; equal magnitudes rank by column.

    Source: https://arxiv.org/abs/2406.11617
    """
    draws = _draws(parts, p.seed)

    def rule(row: int) -> torch.Tensor:
        kept = []
        for part, draw in zip(parts, draws, strict=True):
            values = part.surface.tile(row)
            chance = _chances(values, p.density, p.epsilon)
            stays = draw.rows(row, row + len(values)) < chance
            kept.append(torch.where(stays, values / chance, 0.0).float())
        return _elected(kept, parts, p.lambda_)

    return rule


def elected(values: Sequence[torch.Tensor], weights: Sequence[float], all_weights: float | None = None) -> torch.Tensor:
    """TIES' election and mean, by weight.

        sign = sgn(sum_i w_i t_i), 0 as +        agreeing: sgn(w_i t_i) = sign
        result = sum_all |w| * (sum_agreeing w_i t_i) / (sum_agreeing |w_i|), 0 where nobody agrees

    So one adapter alone comes out times its weight, equal ones times the sum of theirs, and weights of 1/T give the
    mean of those that agree. ``all_weights`` is sum_all |w| where zeros take part that are not among the values.
    """
    whole = sum(map(abs, weights)) if all_weights is None else all_weights
    if len(values) == 1:
        return values[0] * (math.copysign(whole, weights[0]) if weights[0] else 0.0)
    weighted = [value * weight for value, weight in zip(values, weights, strict=True)]
    total, shares = torch.zeros_like(weighted[0]), torch.zeros_like(weighted[0])
    sign = torch.where(sum(weighted[1:], weighted[0]) >= 0, 1.0, -1.0).to(total.dtype)
    for value, weight in zip(weighted, weights, strict=True):
        agrees = value.sign() == sign
        total += value * agrees
        shares += abs(weight) * agrees
    return total.mul_(whole).div_(torch.where(shares > 0, shares, 1.0))


def _elected(values: Sequence[torch.Tensor], parts: Sequence[Part], by: float) -> torch.Tensor:
    return elected(values, [part.weight for part in parts], parts[0].all_weights).mul_(by)


def _masked(values: torch.Tensor, top: Callable[[torch.Tensor, int], torch.Tensor], row: int) -> torch.Tensor:
    return values * top(values, row)


def _sum(values: Sequence[torch.Tensor], parts: Sequence[Part], by: float) -> torch.Tensor:
    total = torch.zeros_like(values[0])
    for value, part in zip(values, parts, strict=True):
        total += value * (part.weight * by)
    return total


def _draws(parts: Sequence[Part], seed: int) -> list[Draws]:
    return [Draws(seed, part.model.key, part.surface.name, part.surface.shape[1]) for part in parts]


def _dropped(parts: Sequence[Part], draws: Sequence[Draws], row: int, density: float) -> list[torch.Tensor]:
    found = []
    for part, draw in zip(parts, draws, strict=True):
        values = part.surface.tile(row)
        stays = draw.rows(row, row + len(values)) < density
        found.append(torch.where(stays, values / density, 0.0))
    return found


def _chances(values: torch.Tensor, density: float, epsilon: float) -> torch.Tensor:
    """The chance of each number of a row to stay, float64."""
    columns = values.shape[1]
    if columns == 1:
        return torch.full(values.shape, density, dtype=torch.float64)
    order = values.abs().argsort(dim=1, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(columns).expand_as(order))
    return (density - epsilon + ranks.double() * (2 * epsilon / (columns - 1))).clamp(0.0, 1.0)
