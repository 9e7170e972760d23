"""Small random adapters for tests of merging, as deltas; dense references are computed from them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from lft.adapters.algebra.peft import PeftAdapter, PeftModule
from lft.adapters.deltas import Delta, Factors, content_digest
from lft.adapters.expression import MergePlan, Term
from lft.adapters.sources import Source

SHAPES = {
    "model.layers.0.self_attn.q_proj.weight": (12, 10),
    "model.layers.0.mlp.up_proj.weight": (16, 10),
    "model.layers.1.self_attn.q_proj.weight": (12, 10),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def factors(seed: int, shape: tuple[int, int], rank: int, scale: float = 1.0) -> Factors:
    random = generator(seed)
    return Factors(torch.randn(shape[0], rank, generator=random) * scale, torch.randn(rank, shape[1], generator=random))


def delta(seed: int, rank: int = 3, shapes: Mapping[str, tuple[int, int]] = SHAPES, scale: float = 1.0) -> Delta:
    """A random delta; other seeds give independent ones."""
    return Delta({name: factors(seed * 100 + n, shape, rank, scale) for n, (name, shape) in enumerate(shapes.items())})


def peft_of(low: Delta) -> PeftAdapter:
    """A delta as PEFT holds it, with a scale of 1."""
    modules = {name.removesuffix(".weight"): PeftModule(f.a, f.b, 1.0) for name, f in low.factors.items()}
    return PeftAdapter(modules, max(f.rank for f in low.factors.values()))


def source(ref: str, low: Delta) -> Source:
    return Source(ref, content_digest(low), low, None, functools.partial(peft_of, low))


def sources(**deltas: Delta) -> dict[str, Source]:
    return {ref: source(ref, low) for ref, low in deltas.items()}


def plan(method: str, weights: Mapping[str, Any], parameters: Any = None, **also: Any) -> MergePlan:
    from lft.adapters.algebra.table import METHODS

    terms = tuple(Term(ref, weight) for ref, weight in weights.items())
    return MergePlan(method, terms, METHODS[method].parameters() if parameters is None else parameters, **also)


def dense(low: Delta, name: str) -> torch.Tensor:
    """dW in float64."""
    product = low.factors[name].b.double() @ low.factors[name].a.double() if name in low.factors else 0.0
    return torch.as_tensor(product + (low.added[name].double() if name in low.added else 0.0))


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative Frobenius distance."""
    norm = float(wanted.double().norm())
    return float((found.double() - wanted.double()).norm()) / (norm or 1.0)
