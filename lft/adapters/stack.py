"""Several adapters on one base at once, as one change of it.

    additive   y = W x + sum of w s B A x       any order, any weights
    chain      a task adapter trained on a language adapter: their sum with weight 1, and what replaces rows or whole
               tensors is the upper one's, which started from the lower one's

Only what replaces tells the two apart: low-rank changes of plain LoRAs add up in either case (registry research §3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from lft.adapters import cover
from lft.adapters.adapter import Adapter, open_adapter, require_additive
from lft.adapters.algebra.exact import Sum, cat
from lft.adapters.algebra.method import Weighted
from lft.adapters.base_tensors import base_tensors
from lft.adapters.deltas import Delta, Factors, OnDemand, Rows, read_delta
from lft.adapters.folder import KNOWN, Files
from lft.adapters.replaced import Owner, RowsOwner, merge_rows, merge_whole
from lft.base.attach import Find, recorded_adapters, recorded_folder
from lft.base.binding import Below, Binding
from lft.base.binding import is_stack as is_stack
from lft.base.fingerprint import Fingerprint
from lft.errors import InputError
from lft.files import require_whole


def stacked(
    deltas: Sequence[Delta], weights: Sequence[float] | None = None, shares: Sequence[Below] | None = None
) -> Delta:
    """Adapters that are active at once, as one change.

    Args:
        deltas: lowest first. Of tensors and rows that replace the base's the highest one's stay, but for those of a
            weighted sum, which are summed.
        weights: of each, 1 by default.
        shares: of each, where weights alone do not say it: in which layers, and in which sum.

    Raises:
        InputError: a weight other than 1 for an adapter that replaces something: half of a replacement is none.
    """
    given = [1.0] * len(deltas) if weights is None else list(weights)
    said = [Below("", "", weight) for weight in given] if shares is None else list(shares)
    parts = list(zip(deltas, said, strict=True))
    active: dict[str, list[tuple[Delta, float]]] = {}
    for delta, one in parts:
        for name in delta.factors:
            if (weight := one.at(name)) != 0:
                active.setdefault(name, []).append((delta, weight))
    factors = OnDemand({name: partial(_summed, name, active[name]) for name in sorted(active)})
    added: dict[str, torch.Tensor] = {}
    for delta, one in parts:
        for name, tensor in delta.added.items():
            added[name] = added.get(name, torch.zeros(())) + one.at(name) * tensor
    whole: dict[str, torch.Tensor] = {}
    rows: dict[str, Rows] = {}
    for members in _sums(parts):
        found_whole, found_rows = _replacing(members)
        whole |= found_whole
        rows = _over(rows, found_rows)
    return Delta(factors, added, whole, rows)


def _summed(name: str, having: Sequence[tuple[Delta, float]]) -> Factors:
    """Read when it is asked for: the memory of a stack is that of one tensor's factors."""
    return cat([Weighted(weight, delta.factors[name]) for delta, weight in having], Sum())


_Part = tuple[Delta, Below]


def _sums(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Those of a weighted sum together, at the place of the last; every other adapter by itself."""
    last = {one.sum: place for place, (_, one) in enumerate(parts)}
    for place, part in enumerate(parts):
        number = part[1].sum
        if not number:
            yield [part]
        elif last[number] == place:
            yield [other for other in parts if other[1].sum == number]


def _replacing(members: Sequence[_Part]) -> tuple[dict[str, torch.Tensor], dict[str, Rows]]:
    """Whole tensors and rows of an adapter, or of all in one sum."""
    how = members[0][1].rows
    if not members[0][1].sum:
        delta, share = members[0]
        if share.weight != 1 and (delta.whole or delta.rows):
            raise InputError(
                f"an adapter that replaces {next(iter([*delta.whole, *delta.rows]))} cannot have the weight "
                f"{share.weight:g}",
                fix="merge them with `lft adapters merge`, which knows what to do where the weights sum to 1",
            )
        return dict(delta.whole), dict(delta.rows)
    whole = {}
    for name in sorted({name for delta, _ in members for name in delta.whole}):
        owners = [
            Owner(one.weights[:12], one.weight, delta.whole[name]) for delta, one in members if name in delta.whole
        ]
        if (tensor := merge_whole(name, owners, None, how)) is not None:
            whole[name] = tensor
    rows = {}
    for name in sorted({name for delta, _ in members for name in delta.rows}):
        holders = [
            RowsOwner(one.weights[:12], one.weight, delta.rows[name]) for delta, one in members if name in delta.rows
        ]
        if (merged := merge_rows(name, holders, None, how)) is not None:
            rows[name] = merged
    return whole, rows


def _over(lower: Mapping[str, Rows], upper: Mapping[str, Rows]) -> dict[str, Rows]:
    """The rows of both, each token's the upper one's where it has one."""
    found: dict[str, dict[int, tuple[str | None, torch.Tensor]]] = {}
    for layer in (lower, upper):
        for name, rows in layer.items():
            texts: Sequence[str | None] = rows.texts or (None,) * len(rows.tokens)
            found.setdefault(name, {}).update(
                {token: (text, value) for token, text, value in zip(rows.tokens, texts, rows.values, strict=True)}
            )
    return {name: _joined(by_token) for name, by_token in found.items()}


def _joined(by_token: Mapping[int, tuple[str | None, torch.Tensor]]) -> Rows:
    tokens = tuple(sorted(by_token))
    texts = tuple(by_token[token][0] for token in tokens)
    known = tuple(text for text in texts if text is not None)
    return Rows(tokens, known if len(known) == len(texts) else None, torch.stack([by_token[t][1] for t in tokens]))


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """An adapter with those that it was trained on, lowest first, and what all of them add to the base."""

    adapters: tuple[Adapter, ...]
    delta: Delta


def with_below(adapter: Adapter, base: Path, identity: Fingerprint, find: Find) -> Stacked:
    """What an adapter adds to its base together with those that it was trained on; or what a stack adds.

    Args:
        adapter: the highest one, or a stack (``open_stack``), which adds nothing of its own.
        base: the base's folder.
        identity: the base's fingerprint.
        find: the folder of an adapter by its identity, for one below that is not where it was.

    Raises:
        InputError: one below is gone or changed, or one of them is no sum.
    """
    lowers = recorded_adapters(adapter.binding, identity, adapter.folder, find) if adapter.binding else ()
    every = (*(open_adapter(lower.folder) for lower in lowers), adapter)
    for one in every:
        require_additive(one)
    shapes, weights = cover.base_tensors(base), base_tensors(base)
    every = tuple(cover.oriented(one, shapes) for one in every)
    shares = [*(replace(lower.share, weights=lower.digest) for lower in lowers), Below("", "")]
    return Stacked(every, stacked([read_delta(one, weights) for one in every], shares=shares))


def open_stack(folder: Path, find: Find) -> Adapter:
    """A stack's folder as an adapter without tensors: the configuration of its highest part, its own binding and files.

    Raises:
        InputError: it is no stack, not whole, or its highest part is gone.
    """
    binding = Binding.load(folder)
    if not binding.stack:
        raise InputError("this is no stack", where=str(folder), fix="lft adapters stack makes one")
    require_whole(folder, "the stack")
    top = open_adapter(recorded_folder(binding.below[-1], folder, find))
    used = {path.name: path for path in sorted(folder.iterdir()) if path.name in KNOWN}
    return Adapter(folder, top.configuration, binding, (), (), (), (), Files(folder, used, ()))


def parts_in(stack: Adapter, find: Find) -> tuple[Adapter, ...]:
    """The adapters that were named in a stack; any other adapter itself."""
    if stack.binding is None or not stack.binding.stack:
        return (stack,)
    return tuple(open_adapter(recorded_folder(one, stack.folder, find)) for one in stack.binding.below)
