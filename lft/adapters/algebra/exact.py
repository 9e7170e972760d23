"""Sums of deltas, exactly: factors side by side. Any ranks, any scales, any signs, any targets.

    sum_i w_i D_i = [w_1 b_1 | w_2 b_2 | ...] [a_1; a_2; ...]      b [m x R], a [R x n], R = r_1 + r_2 + ...

A tensor that an adapter leaves alone is an absent block, that is, a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from lft.adapters.algebra.method import Weighted, method, number, scaled
from lft.adapters.deltas import Factors


@dataclass(frozen=True, slots=True)
class Sum:
    """Parameters of the weighted sum."""

    lambda_: float = number(1.0, "factor of the whole sum")


@dataclass(frozen=True, slots=True)
class Stock:
    """Model Stock has no parameters: its one number comes from the angles."""


@method(
    "cat", form="factors", exactness="exact", parameters=Sum, linear=True,
    paper="https://arxiv.org/abs/2212.04089",
)  # fmt: skip
def cat(inputs: Sequence[Weighted], p: Sum) -> Factors:
    """Weighted sum (task arithmetic): lambda * sum of w D, exact.

    Args:
        inputs: shares in one tensor, each b [m x r], a [r x n].
        p: factor of the whole sum.

    Returns:
        Factors of rank R = sum of the ranks; their product is the sum. One rounding: that of w * b to float32.

    Source: task arithmetic, https://arxiv.org/abs/2212.04089; negative weights subtract. Stacked factors of weights
    learnt per layer are LoRA Soups' CAT, https://arxiv.org/abs/2410.13025.
    """
    parts = [(scaled(one.factors.b, one.weight * p.lambda_), one.factors.a) for one in inputs]
    if len(parts) == 1:
        return Factors(parts[0][0], parts[0][1])
    return Factors(torch.cat([b for b, _ in parts], dim=1), torch.cat([a for _, a in parts]))


@method(
    "model-stock", form="factors", exactness="exact", parameters=Stock,
    paper="https://arxiv.org/abs/2403.19522",
)  # fmt: skip
def model_stock(inputs: Sequence[Weighted], _: Stock) -> Factors:
    """Model Stock: the mean, drawn towards the base by t = N cos / (1 + (N - 1) cos), per tensor, exact.

    Args:
        inputs: shares in one tensor; weights of 1/N are the paper's mean. A weight of 0 takes no part.

    Variant: cos is the mean over all pairs of the cosines of whole tensors (as mergekit; the paper's formula has one
    angle and does not say which), from factors alone. Differences: opposed deltas give t < 0 or, near
    cos = -1/(N-1), no bound at all, so t is kept within [0, 1] (mergekit lets it run); N = 1 gives t = 1 (mergekit
    refuses).

    Source: https://arxiv.org/abs/2403.19522
    """
    taking_part = [one for one in inputs if one.weight] or list(inputs)[:1]
    drawn = stock_ratio([one.factors for one in taking_part])
    return cat([Weighted(one.weight * drawn, one.factors) for one in taking_part], Sum())


def stock_ratio(factors: Sequence[Factors]) -> float:
    """t of Model Stock, within [0, 1]; 1 for a single delta. A zero has no angle and takes no part."""
    factors = [one for one in factors if inner(one, one) > 0]
    count = len(factors)
    if count <= 1:
        return 1.0
    cosines = [cosine(one, other) for one, other in combinations(factors, 2)]
    mean = sum(cosines) / len(cosines)
    below = 1 + (count - 1) * mean
    return min(max(count * mean / below, 0.0), 1.0) if below > 0 else 0.0


def inner(one: Factors, other: Factors) -> float:
    """<D, D'> = tr((b^T b') (a' a^T)) in float64, without either matrix; O((m + n) r^2)."""
    left = one.b.double().T @ other.b.double()
    right = one.a.double() @ other.a.double().T
    return float((left * right).sum())


def cosine(one: Factors, other: Factors) -> float:
    """Cosine between two deltas of one tensor; 0 where either is zero."""
    norms = (max(inner(one, one), 0.0) * max(inner(other, other), 0.0)) ** 0.5
    return min(max(inner(one, other) / norms, -1.0), 1.0) if norms else 0.0
