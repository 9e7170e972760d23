"""A change of a base as PEFT's two files in canonical form, read back: what merging and exporting both end in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from lft.adapters.adapter import Adapter, LowRank, open_adapter
from lft.adapters.canonical import Entry, Float, Heading, Pair, heading_of, save_peft, whole_name
from lft.adapters.deltas import Delta, Factors, Rows, read_delta
from lft.adapters.folder import KNOWN, Role
from lft.adapters.names import Part, name_of
from lft.errors import InputError

T = TypeVar("T")
_CARRIED: tuple[Role, ...] = ("prompt", "tokenizer", "template")


@dataclass(frozen=True, slots=True)
class Named:
    """An adapter that a change was made from, and what it is called."""

    ref: str
    adapter: Adapter


def carried(adapter: Adapter) -> Mapping[str, Path]:
    """The files that go along with what is made of an adapter: tokenizer, chat template, prompt format."""
    used = adapter.files.used if adapter.files else {}
    return {name: path for name, path in used.items() if KNOWN[name][0] in _CARRIED}


def write_delta(delta: Delta, parents: Sequence[Named], draft: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, and compare what the disk holds with the change.

    Args:
        delta: of low rank; additions are biases of modules that have a low-rank change.
        parents: the adapters that it was made from; they say how PEFT stores each part.
        draft: an existing folder that the caller renames.

    Raises:
        InputError: PEFT has no form for a part of it, the parents store it differently, or what was read back differs.
    """
    layouts, wrapped = _layouts(parents), _wrapped(parents)
    save_peft(
        draft,
        [lambda n=n, f=f: _pair(n, f, layouts[n], delta) for n, f in delta.factors.items()],  # type: ignore[misc]
        [_entry(whole_name(tensor, wrapped.get(tensor, "")), values) for tensor, values in delta.whole.items()],
        {_module(weight): rows.tokens for weight, rows in delta.rows.items()},
        [_entry(name_of(Part(_module(weight), "rows")), rows.values) for weight, rows in delta.rows.items()],
        _heading(parents, delta),
    )
    _read_back(draft, delta, layouts)


def _module(weight: str) -> str:
    return weight.removesuffix(".weight")


def _layouts(parents: Sequence[Named]) -> dict[str, LowRank]:
    """How each weight's factors lie in the parents' files."""
    found: dict[str, tuple[str, LowRank]] = {}
    for one in parents:
        for low in one.adapter.low_rank:
            ref, other = found.setdefault(f"{low.module}.weight", (one.ref, low))
            if (other.embedding, other.transposed) != (low.embedding, low.transposed):
                raise InputError(f"{low.module} is stored transposed in {ref} and not in {one.ref}, or the reverse")
    return {name: low for name, (_, low) in found.items()}


def _wrapped(parents: Sequence[Named]) -> dict[str, str]:
    """What of PEFT's lies around the tensors that are saved whole; the first parent's word counts."""
    return {whole.tensor: whole.wrapped for one in reversed(parents) for whole in one.adapter.whole}


def _pair(weight: str, factors: Factors, layout: LowRank, delta: Delta) -> Pair:
    """Factors as PEFT stores them; see ``lft.adapters.deltas`` for the letters."""
    a, b = (factors.b.T, factors.a.T) if layout.embedding or layout.transposed else (factors.a, factors.b)
    biases = [name for name in delta.added if name.endswith(".bias")]
    zeros = torch.zeros(b.shape[0])
    bias = _array(delta.added.get(f"{layout.module}.bias", zeros)) if biases else None
    return Pair(_module(weight), _array(a), _array(b), layout.embedding, None, bias)


def _array(tensor: torch.Tensor) -> Float:
    values: Float = tensor.contiguous().numpy()
    return values


def _entry(name: str, tensor: torch.Tensor) -> Entry:
    values = _array(tensor.float())
    return Entry(name, "F32", values.shape, lambda: [values.astype("<f4").tobytes()])


def _heading(parents: Sequence[Named], delta: Delta) -> Heading:
    """The first parent's heading (by digest, so that the order does not count) with what any of them needs."""
    ordered = sorted(parents, key=lambda one: one.adapter.digest)
    headings = [heading_of(one.adapter) for one in ordered]
    saved = sorted({module for one in headings for module in one.modules_to_save})
    if delta.added:
        _require_biases(delta)
    return replace(
        headings[0],
        use_dora=False,
        lora_bias=bool(delta.added),
        bias=next((one.bias for one in headings if one.bias != "none"), "none"),
        modules_to_save=tuple(saved),
        ensure_weight_tying=any(one.ensure_weight_tying for one in headings),
    )


def _require_biases(delta: Delta) -> None:
    """PEFT's lora_bias is for all modules or none: those without one get zeros."""
    lone = [name for name in delta.added if f"{name.removesuffix('.bias')}.weight" not in delta.factors]
    if lone:
        raise InputError(
            f"what it adds to {lone[0]} is no low-rank change, which is all that such a folder can say",
            fix="export it merged into the base: --to merged",
        )


def _read_back(folder: Path, delta: Delta, layouts: Mapping[str, LowRank]) -> None:
    opened = open_adapter(folder)
    lows = tuple(replace(low, transposed=layouts[f"{low.module}.weight"].transposed) for low in opened.low_rank)
    found = read_delta(replace(opened, low_rank=lows))
    _require_same(found.factors, delta.factors, _equal_factors, folder)
    _require_same(found.whole, delta.whole, _equal, folder)
    _require_same(found.rows, delta.rows, _equal_rows, folder)
    _require_same(_not_zero(found.added), _not_zero(delta.added), _equal, folder)


def _require_same(found: Mapping[str, T], wanted: Mapping[str, T], equal: Callable[[T, T], bool], folder: Path) -> None:
    odd = sorted(found.keys() ^ wanted.keys()) or [name for name in wanted if not equal(found[name], wanted[name])]
    if odd:
        raise InputError(f"{odd[0]} was read back and is not what was written", where=str(folder), fix="check the disk")


def _not_zero(added: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the biases of modules that have none, which are written as zeros."""
    return {name: tensor for name, tensor in added.items() if tensor.any()}


def _equal(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(torch.equal(found, wanted.float()))


def _equal_rows(found: Rows, wanted: Rows) -> bool:
    return bool(found.tokens == wanted.tokens and torch.equal(found.values, wanted.values.float()))


def _equal_factors(found: Factors, wanted: Factors) -> bool:
    """Equal up to components of zeros behind them, which fill every pair to one rank."""
    rank = min(found.rank, wanted.rank)
    if not (torch.equal(found.b[:, :rank], wanted.b[:, :rank]) and torch.equal(found.a[:rank], wanted.a[:rank])):
        return False
    behind = (pair.b[:, rank:].any(dim=0) & pair.a[rank:].any(dim=1) for pair in (found, wanted))
    return not any(bool(part.any()) for part in behind)
