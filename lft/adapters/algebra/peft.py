"""PEFT's arithmetic of ``add_weighted_adapter``, on factors as PEFT holds them; ``compat`` has the methods.

Written after peft 0.21 (tuners/lora/model.py, utils/merge_utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch

from lft.adapters.deltas import Delta, Factors
from lft.errors import InputError

if TYPE_CHECKING:
    from lft.adapters.adapter import Adapter

Sign = Literal["total", "frequency"]
_FACTORED = frozenset({"linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"})


@dataclass(frozen=True, slots=True, eq=False)
class PeftModule:
    """One module's factors as PEFT holds them: A [r x n], B [m x r] (embedding: A [r x V], B [d x r]), float32."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    embedding: bool = False
    transposed: bool = False

    @property
    def delta(self) -> torch.Tensor:
        """``get_delta_weight``: (B A) * scaling, transposed where the base's weight is."""
        product = self.b @ self.a
        return (product.T if self.embedding or self.transposed else product) * self.scaling


@dataclass(frozen=True, slots=True, eq=False)
class PeftAdapter:
    """An adapter as PEFT sees it: its modules, the largest rank of its settings, rsLoRA.

    ``order`` are all modules of the model in its own order, which is that in which random numbers are drawn; without
    it the order is that of the names, with numbers by value.
    """

    modules: Mapping[str, PeftModule]
    rank: int
    rslora: bool = False
    order: tuple[str, ...] = ()


Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done to a stack of tensors: prune each, then sum by weight or join by sign."""

    prune: Callable[[torch.Tensor], torch.Tensor] = field(default=lambda tensor: tensor)
    sign: Sign | None = None

    def __call__(self, tensors: Tensors, weights: torch.Tensor) -> torch.Tensor:
        """Tensors of one shape into one, by weight."""
        stacked = torch.stack([self.prune(tensor) for tensor in tensors])
        weighted = stacked * weights.view(-1, 1, 1)
        if self.sign is None:
            return weighted.sum(dim=0)
        agrees = _agreeing(stacked, self.sign)
        return (weighted * agrees).sum(dim=0) / torch.clamp(agrees.sum(dim=0), min=1.0)


def _agreeing(stacked: torch.Tensor, by: Sign) -> torch.Tensor:
    """The sign is elected before the weights, and 0 agrees with nobody."""
    sign = stacked.sign()
    total = (stacked if by == "total" else sign).sum(dim=0)
    return sign == torch.where(total >= 0, 1, -1)


def by_magnitude(density: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Zeros for all but the largest numbers; which of equal ones stay is torch's choice."""

    def prune(tensor: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(tensor).reshape(-1)
        mask[torch.topk(tensor.abs().reshape(-1), k=int(density * tensor.numel()), largest=True)[1]] = 1
        return tensor * mask.reshape(tensor.shape)

    return prune if density < 1 else lambda tensor: tensor


def at_random(density: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Zeros by torch's generator, the rest scaled."""

    def prune(tensor: torch.Tensor) -> torch.Tensor:
        return tensor * torch.bernoulli(torch.full_like(tensor, density)) / density

    return prune if density < 1 else lambda tensor: tensor


def peft_merge(
    combination: str,
    adapters: Sequence[PeftAdapter],
    weights: Sequence[float],
    rule: Rule,
    svd_rank: int | None = None,
) -> PeftAdapter:
    """``add_weighted_adapter(adapters, weights, name, combination, svd_rank)``.

    Returns:
        The new adapter: its modules are those of any of the adapters.

    Raises:
        InputError: ranks differ where PEFT asks for equal ones.
    """
    combination = "linear" if len(adapters) == 1 else combination
    rule = Rule() if len(adapters) == 1 else rule
    ranks = [adapter.rank for adapter in adapters]
    if combination in _FACTORED and len(set(ranks)) != 1:
        raise _one_rank(combination, ranks, "the adapters")
    rank = sum(ranks) if combination == "cat" else (svd_rank or max(ranks)) if combination.endswith("svd") else ranks[0]
    scaling = rank / math.sqrt(rank) if adapters[0].rslora else rank / rank
    modules = {}
    place = {name: number for number, name in enumerate(adapters[0].order)}
    everywhere = {name for adapter in adapters for name in adapter.modules}
    for name in sorted(everywhere, key=lambda name: (place.get(name, len(place)), natural(name))):
        taking_part = [
            (one.modules[name], weight) for one, weight in zip(adapters, weights, strict=True) if name in one.modules
        ]
        own = {one.a.shape[0] for one, _ in taking_part}
        if combination in _FACTORED and len(own) > 1:
            raise _one_rank(combination, sorted(own), name)
        a, b = _module(combination, taking_part, rule, rank)
        modules[name] = replace(taking_part[0][0], a=a, b=b, scaling=scaling)
    return PeftAdapter(modules, rank, adapters[0].rslora, adapters[0].order)


def _one_rank(combination: str, ranks: Sequence[int], where: str) -> InputError:
    return InputError(
        f"PEFT's {combination} wants one rank, {where} have {', '.join(map(str, ranks))}",
        fix="take the method cat, which is exact for any ranks, or compat:peft-cat",
    )


Shares = Sequence[tuple[PeftModule, float]]


def _module(combination: str, parts: Shares, rule: Rule, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    if combination == "cat":
        return _cat(parts, rank)
    if combination.endswith("svd"):
        return _svd(parts, rule, rank)
    return _on_factors(parts, rule)


def _cat(parts: Shares, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.cat([one.a * weight * one.scaling for one, weight in parts], dim=0)
    b = torch.cat([one.b for one, _ in parts], dim=1)
    wide_a, wide_b = torch.zeros(rank, a.shape[1]), torch.zeros(b.shape[0], rank)
    wide_a[: a.shape[0]] = a
    wide_b[:, : b.shape[1]] = b
    return wide_a, wide_b


def _on_factors(parts: Shares, rule: Rule) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights are shared out as square roots between A and B; the sign goes to A."""
    signed = [weight * one.scaling for one, weight in parts]
    of_a = torch.tensor([math.sqrt(abs(weight)) * (1 if weight >= 0 else -1) for weight in signed])
    of_b = torch.tensor([math.sqrt(abs(weight)) for weight in signed])
    return rule([one.a for one, _ in parts], of_a), rule([one.b for one, _ in parts], of_b)


def _svd(parts: Shares, rule: Rule, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """SVD of the dense delta; O(m n min(m, n)), which is what ``lft``'s own compression saves."""
    delta = rule([one.delta for one, _ in parts], torch.tensor([weight for _, weight in parts]))
    first = parts[0][0]
    if first.transposed or first.embedding:
        delta = delta.T
    u, s, vh = torch.linalg.svd(delta, full_matrices=True)
    return vh[:rank, :], u[:, :rank] @ torch.diag(s[:rank])


def seeded(seed: int, run: Callable[[], PeftAdapter]) -> PeftAdapter:
    """Run with torch's generator set, and put its state back."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        return run()
    finally:
        torch.random.set_rng_state(state)


def as_delta(adapter: PeftAdapter) -> Delta:
    """A PEFT adapter as what it adds to its base."""
    factors = {}
    for name, one in adapter.modules.items():
        b, a = (one.a.T, one.b.T) if one.embedding or one.transposed else (one.b, one.a)
        factors[f"{name}.weight"] = Factors((b * one.scaling).contiguous(), a.contiguous())
    return Delta(factors)


def read_peft(adapter: Adapter, order: Sequence[str] = ()) -> PeftAdapter:
    """An opened adapter as PEFT would hold it on a CPU (in float32).

    Args:
        adapter: a plain LoRA or rsLoRA.
        order: the model's modules in its own order; only the ``dare`` methods need it, as they draw module by module.

    Raises:
        InputError: it is more than low-rank factors, or of a kind whose merge by PEFT is not reproduced.
    """
    from lft.adapters.tensors import read_tensor

    odd = [low.module for low in adapter.low_rank if low.magnitude is not None or low.bias is not None]
    if odd or adapter.whole or adapter.rows:
        raise InputError(
            "compat:peft-* takes plain LoRA and rsLoRA alone",
            where=str(adapter.folder),
            fix="take a method without compat, for example cat",
        )
    modules = {
        low.module: PeftModule(read_tensor(low.a), read_tensor(low.b), low.scale, low.embedding, low.transposed)
        for low in adapter.low_rank
    }
    settings = adapter.configuration
    return PeftAdapter(
        modules, max(settings.r, *(rank for _, rank in settings.rank_pattern), 1), settings.use_rslora, tuple(order)
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which layers.2 comes before layers.10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split("."))
