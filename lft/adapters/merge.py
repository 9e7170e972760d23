"""Run a merge plan on deltas: the merged delta, or its rows where it is a full matrix, with a certificate.

plan + sources ──▶ same base? weights ──▶ the method, tensor by tensor ──▶ compression, if asked ──▶ Merged
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

import lft
from lft.adapters.algebra.compress import Compressed, compress, compress_dense
from lft.adapters.algebra.method import Method, Weighted, scaled, written
from lft.adapters.algebra.peft import as_delta
from lft.adapters.algebra.rowwise import Dense, Part, Surface, Surfaces, surface, surfaces
from lft.adapters.algebra.table import require_method
from lft.adapters.certificate import Certificate, Compression, Parent, TensorError
from lft.adapters.deltas import Base, Delta, Factors, Rows, content_digest
from lft.adapters.expression import MergePlan, Term
from lft.adapters.replaced import Owner, RowsOwner, merge_rows, merge_whole
from lft.adapters.sources import Source, require_same_base
from lft.adapters.weights import Weight, require_used, total, weight_at, written_weight
from lft.errors import InputError, RecipeError
from lft.recipe.problems import listed, nearest, shown


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The result of a merge.

    ``delta``: all that is held whole. ``dense``: full-rank changes of weights, computed by row block when they are
    asked for; empty where the result is an adapter.
    """

    delta: Delta
    dense: Mapping[str, Dense]
    certificate: Certificate

    @property
    def is_adapter(self) -> bool:
        """Whether the result can be saved as low-rank factors."""
        return not self.dense and not any(tensor.ndim == 2 for tensor in self.delta.added.values())

    def names(self) -> tuple[str, ...]:
        """Every tensor that is added to, sorted."""
        return tuple(sorted({*self.delta.names(), *self.dense}))

    def tensor(self, name: str) -> torch.Tensor:
        """What is added to a tensor, whole, float32."""
        if name in self.dense:
            return self.dense[name].tensor()
        own = self._surface(name)
        whole = torch.cat([tile for _, tile in own.tiles()])
        return whole[0] if len(self.delta.shape(name)) == 1 else whole

    def blocks(self, name: str, rows: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """What is added to a weight by blocks of rows, each with its first row; the same bits for any block size."""
        one = self.dense.get(name)
        if one is None:
            own = self._surface(name)
            one = Dense(name, own.shape, own.tile)
        yield from one.blocks(rows)

    def _surface(self, name: str) -> Surface:
        return surface(self.delta, name)


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """A source with its weight."""

    source: Source
    weight: Weight

    def at(self, name: str) -> float:
        return weight_at(self.weight, name, self.source.ref)

    def size_at(self, name: str) -> float:
        """|w| in a tensor that the adapter may leave alone; a pattern need not speak of those."""
        if name not in self.source.delta.factors and name not in self.source.delta.added:
            with suppress(RecipeError):
                return abs(self.at(name))
            return 0.0
        return abs(self.at(name))


def merge(plan: MergePlan, sources: Mapping[str, Source], base: Base | None = None) -> Merged:
    """Merge adapters as a plan says.

    Args:
        plan: from ``plan_of_expression`` or ``plan_of_file``.
        sources: adapters by the names that the plan has for them.
        base: the base's tensors, for tensors and token rows that replace the base's.

    Raises:
        RecipeError: an adapter is not among the sources, a weight decides nothing, or the plan asks for what the
            method does not give.
        InputError: the adapters belong to different bases, do not fit each other, or the base is needed.
    """
    method = require_method(plan.method)
    shares = _shares(plan.inputs, sources, method)
    common = require_same_base([sources[term.ref] for term in plan.inputs])
    _require_shapes(shares)
    for share in shares:
        require_used(share.weight, _names(share.source.delta), share.source.ref)
    delta, dense, errors = _run(method, plan, shares)
    whole, rows = _replaced(plan, shares, base)
    delta = Delta(delta.factors, delta.added, whole, rows)
    return Merged(delta, dense, _certificate(method, plan, shares, common, errors, None if dense else delta))


def _names(delta: Delta) -> list[str]:
    return [*delta.names(), *delta.whole, *delta.rows]


def _shares(terms: Sequence[Term], sources: Mapping[str, Source], method: Method) -> list[_Share]:
    """Sources with weights; in an order of their own, unless PEFT's is asked for, and each once in a sum."""
    if not terms:
        raise RecipeError("nothing to merge", fix="name at least one adapter")
    alone = 1.0 if method.share == "sum" else 1 / len(terms)
    shares = []
    for term in terms:
        if term.ref not in sources:
            close = nearest(term.ref, sources)
            fix = f"nearest: {close}" if close else f"there are: {listed(sources)}"
            raise RecipeError(f"unknown adapter {shown(term.ref)}", fix=fix)
        shares.append(_Share(sources[term.ref], alone if term.weight is None else term.weight))
    if method.form == "peft":
        return shares
    shares.sort(key=lambda share: (share.source.digest, str(written_weight(share.weight))))
    return _joined(shares) if method.linear else shares


def _joined(shares: Sequence[_Share]) -> list[_Share]:
    """The same adapter twice is one with the sum of the weights."""
    found: list[_Share] = []
    for share in shares:
        same = found[-1] if found and found[-1].source.digest == share.source.digest else None
        together = total(same.weight, share.weight) if same is not None else None
        if together is None:
            found.append(share)
        else:
            found[-1] = _Share(share.source, together)
    return found


def _require_shapes(shares: Sequence[_Share]) -> None:
    seen: dict[str, tuple[str, tuple[int, ...]]] = {}
    for share in shares:
        for name in share.source.delta.names():
            shape = share.source.delta.shape(name)
            ref, other = seen.setdefault(name, (share.source.ref, shape))
            if other != shape:
                raise InputError(
                    f"{name} is {list(other)} in {ref} and {list(shape)} in {share.source.ref}",
                    fix="merge adapters of one base",
                )


_Errors = list[tuple[str, Compressed]]


def _run(method: Method, plan: MergePlan, shares: Sequence[_Share]) -> tuple[Delta, dict[str, Dense], _Errors]:
    dense: dict[str, Dense] = {}
    if method.form == "peft":
        delta = _by_peft(method, plan, shares)
    elif method.form == "factors":
        delta = _by_factors(method, plan, shares)
    else:
        delta, dense = _by_rows(method, plan, shares)
    for name, one in delta.factors.items():
        if not bool(torch.isfinite(one.b).all() and torch.isfinite(one.a).all()):
            raise InputError(f"merged, {name} holds numbers beyond float32", fix="take smaller weights")
    if plan.rank is None and plan.tolerance is None:
        return delta, dense, []
    return _compressed(plan, delta, dense)


def _by_peft(method: Method, plan: MergePlan, shares: Sequence[_Share]) -> Delta:
    adapters, weights = [], []
    for share in shares:
        if share.source.peft is None or not isinstance(share.weight, float):
            why = "is no PEFT adapter" if share.source.peft is None else "has no single weight"
            raise RecipeError(f"{method.name} cannot take {share.source.ref}: it {why}")
        adapters.append(share.source.peft())
        weights.append(share.weight)
    return as_delta(method.run(adapters, weights, plan.parameters))


def _by_factors(method: Method, plan: MergePlan, shares: Sequence[_Share]) -> Delta:
    factors: dict[str, Factors] = {}
    for name in sorted({name for share in shares for name in share.source.delta.factors}):
        having = [share for share in shares if name in share.source.delta.factors]
        everyone = sum(share.size_at(name) for share in shares)
        inputs = [Weighted(share.at(name), share.source.delta.factors[name], everyone) for share in having]
        factors[name] = method.run(inputs, plan.parameters)
    return Delta(factors, _added(method, plan, shares))


def _added(method: Method, plan: MergePlan, shares: Sequence[_Share]) -> dict[str, torch.Tensor]:
    """Dense parts under methods of factors: biases by weighted sum; full matrices (DoRA) only under linear ones."""
    by = _lambda(plan)
    found: dict[str, torch.Tensor] = {}
    for share in shares:
        for name, tensor in share.source.delta.added.items():
            if tensor.ndim == 2 and not method.linear:
                raise InputError(
                    f"{share.source.ref} changes {name} by a full matrix, and {method.name} works on factors",
                    fix="take cat, or a method of full matrices (ties, dare, della, breadcrumbs, magnitude)",
                )
            part = scaled(tensor, share.at(name) * by)
            found[name] = found[name] + part if name in found else part
    return dict(sorted(found.items()))


def _lambda(plan: MergePlan) -> float:
    """The factor of the whole result, for methods that have one."""
    return float(getattr(plan.parameters, "lambda_", 1.0))


def _by_rows(method: Method, plan: MergePlan, shares: Sequence[_Share]) -> tuple[Delta, dict[str, Dense]]:
    models = [surfaces(share.source.delta, share.source.digest) for share in shares]
    dense, added = {}, {}
    for name in sorted({name for share in shares for name in share.source.delta.names()}):
        parts = _parts(shares, models, name)
        shape = parts[0].surface.shape
        vector = any(len(share.source.delta.shape(name)) == 1 for share in shares if name in share.source.delta.names())
        merged = Dense(name, shape, _once(method, parts, plan.parameters), vector)
        if vector:
            added[name] = merged.tensor()
        else:
            dense[name] = merged
    return Delta({}, added), dense


def _once(method: Method, parts: Sequence[Part], parameters: Any) -> Callable[[int], torch.Tensor]:
    """The rule, made when the first tile is asked for: thresholds take passes over the tensor."""
    made = functools.cache(lambda: method.run(parts, parameters))
    return lambda row: made()(row)


def _parts(shares: Sequence[_Share], models: Sequence[Surfaces], name: str) -> list[Part]:
    """The shares in one tensor; an adapter that leaves the tensor alone has none."""
    everyone = sum(share.size_at(name) for share in shares)
    pairs = [(share, model, model.find(name)) for share, model in zip(shares, models, strict=True)]
    return [Part(share.at(name), own, model, everyone) for share, model, own in pairs if own is not None]


def _compressed(plan: MergePlan, delta: Delta, dense: Mapping[str, Dense]) -> tuple[Delta, dict[str, Dense], _Errors]:
    """Everything of two dimensions cut to the rank or the tolerance."""
    full = {**dense}
    for name, tensor in delta.added.items():
        if tensor.ndim == 2:
            own = surface(delta, name)
            full[name] = Dense(name, own.shape, own.tile)
    if full and plan.rank is None:
        raise RecipeError(f"{next(iter(full))} is a full matrix: set rank, not tolerance alone")
    errors: _Errors = []
    for name in sorted({*delta.factors, *full}):
        if name in full and plan.rank is not None:
            errors.append((name, compress_dense(full[name], plan.rank)))
        else:
            errors.append((name, compress(delta.factors[name], plan.rank, plan.tolerance)))
    factors = {name: one.factors for name, one in errors}
    added = {name: tensor for name, tensor in delta.added.items() if tensor.ndim == 1}
    return Delta(factors, added), {}, errors


def _replaced(
    plan: MergePlan, shares: Sequence[_Share], base: Base | None
) -> tuple[dict[str, torch.Tensor], dict[str, Rows]]:
    """Tensors and rows that replace the base's: by weighted sum, whatever the method; its lambda scales them too."""
    by = _lambda(plan)
    whole: dict[str, torch.Tensor] = {}
    for name in sorted({name for share in shares for name in share.source.delta.whole}):
        having = [share for share in shares if name in share.source.delta.whole]
        owners = [Owner(share.source.ref, share.at(name) * by, share.source.delta.whole[name]) for share in having]
        found = merge_whole(name, owners, base, plan.replaced)
        if found is not None:
            whole[name] = found
    rows: dict[str, Rows] = {}
    for name in sorted({name for share in shares for name in share.source.delta.rows}):
        own = [share for share in shares if name in share.source.delta.rows]
        holders = [RowsOwner(share.source.ref, share.at(name) * by, share.source.delta.rows[name]) for share in own]
        merged = merge_rows(name, holders, base, plan.replaced)
        if merged is not None:
            rows[name] = merged
    return whole, rows


def _certificate(
    method: Method,
    plan: MergePlan,
    shares: Sequence[_Share],
    common: tuple[str, ...],
    errors: _Errors,
    delta: Delta | None,
) -> Certificate:
    compression = _compression(plan, errors)
    seed = getattr(plan.parameters, "seed", None)
    words = [method.exactness if seed is None else f"{method.exactness}{{seed={seed}}}"]
    if compression is not None:
        rank = max(one.rank for one in compression.tensors)
        words.append(f"rank-{rank}{{err={float(compression.error):.3g}}}")
    exactness = " ".join(words[1:] if method.exactness == "exact" and compression else words)
    parents = [_parent(share) for share in shares]
    if method.form != "peft":
        parents.sort(key=lambda parent: (parent.digest, str(parent.weight)))
    return Certificate(
        method.name, exactness, method.linear, method.paper, _parameters(plan.parameters), seed, plan.replaced,
        tuple(parents), common, compression, None if delta is None else content_digest(delta), lft.__version__,
    )  # fmt: skip


def _parent(share: _Share) -> Parent:
    binding = share.source.binding
    return Parent(share.source.digest, written_weight(share.weight), binding.over if binding else "")


def _parameters(parameters: Any) -> tuple[tuple[str, str], ...]:
    values = ((written(one.name), getattr(parameters, one.name)) for one in dataclasses.fields(parameters))
    return tuple(sorted((key, value if isinstance(value, str) else repr(value)) for key, value in values))


def _compression(plan: MergePlan, errors: _Errors) -> Compression | None:
    if not errors:
        return None
    tensors = tuple(TensorError(name, one.factors.rank, repr(one.error)) for name, one in errors)
    norm = sum(one.norm**2 for _, one in errors)
    lost = sum((one.error * one.norm) ** 2 for _, one in errors)
    worst = max(tensors, key=lambda one: (float(one.error), one.tensor))
    tolerance = None if plan.tolerance is None else repr(float(plan.tolerance))
    return Compression(plan.rank, tolerance, repr((lost / norm) ** 0.5 if norm else 0.0), worst, tensors)
