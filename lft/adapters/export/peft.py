"""An adapter, or several as one, as a PEFT folder in canonical form: the form that PEFT and the servers scale alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lft.adapters.adapter import LowRank, open_adapter
from lft.adapters.canonical import Entry, Pair, heading_of, save_peft, whole_name
from lft.adapters.deltas import Delta, Factors, read_delta
from lft.adapters.folder import KNOWN, Role
from lft.adapters.names import Part, name_of
from lft.adapters.stack import Stacked
from lft.base.diff_files import require_new
from lft.errors import InputError
from lft.files import new_folder

_CARRIED: tuple[Role, ...] = ("prompt", "tokenizer", "template")


def export_peft(stacked: Stacked, out: Path) -> Path:
    """Write a stack as one adapter.

    Args:
        stacked: from ``with_below``; its low-rank part may have been compressed since.
        out: a new folder.

    Raises:
        InputError: a part of it is no plain LoRA (a dense addition).
        RecipeError: ``out`` exists.
    """
    require_new(out)
    delta, top = stacked.delta, stacked.adapters[-1]
    if delta.added:
        raise InputError(
            f"what it adds to {next(iter(delta.added))} is no low-rank change, which is all that such a folder can say",
            where=str(top.folder),
            fix="export the merged model instead: --to merged",
        )
    layouts = {f"{low.module}.weight": low for one in stacked.adapters for low in one.low_rank}
    wrapped = {one.tensor: one.wrapped for adapter in stacked.adapters for one in adapter.whole}
    with new_folder(out) as draft:
        save_peft(
            draft,
            [lambda n=n, f=f: _pair(f, layouts[n]) for n, f in delta.factors.items()],  # type: ignore[misc]
            [_entry(whole_name(tensor, wrapped.get(tensor, "")), values) for tensor, values in delta.whole.items()],
            {_module(weight): rows.tokens for weight, rows in delta.rows.items()},
            [_entry(name_of(Part(_module(weight), "rows")), rows.values) for weight, rows in delta.rows.items()],
            heading_of(top),
        )
        for name, path in (top.files.used if top.files else {}).items():
            if KNOWN[name][0] in _CARRIED:
                shutil.copyfile(path, draft / name)
        _read_back(draft, delta, layouts)
    return out


def _read_back(folder: Path, delta: Delta, layouts: Mapping[str, LowRank]) -> None:
    """Every part from the disk, strictly, and equal to what it should be.

    Raises:
        InputError: it is not.
    """
    opened = open_adapter(folder)
    turned = {name for name, low in layouts.items() if low.transposed}
    lows = tuple(replace(low, transposed=f"{low.module}.weight" in turned) for low in opened.low_rank)
    found = read_delta(replace(opened, low_rank=lows))
    same = found.factors.keys() == delta.factors.keys() and found.whole.keys() == delta.whole.keys()
    same = same and all(_equal(found.factors[name], pair) for name, pair in delta.factors.items())
    same = same and all(bool((found.whole[name] == values.float()).all()) for name, values in delta.whole.items())
    same = same and all(
        name in found.rows
        and found.rows[name].tokens == rows.tokens
        and bool((found.rows[name].values == rows.values).all())
        for name, rows in delta.rows.items()
    )
    if not same:
        raise InputError("it was read back and is not the adapter", where=str(folder), fix="check the disk")


def _equal(found: Factors, wanted: Factors) -> bool:
    """Equal up to the zeros that fill every pair to one rank."""
    rank = min(found.rank, wanted.rank)
    rest = [found.b[:, rank:], wanted.b[:, rank:]]
    return (
        bool((found.b[:, :rank] == wanted.b[:, :rank]).all())
        and bool((found.a[:rank] == wanted.a[:rank]).all())
        and not any(bool(part.any()) for part in rest)
    )


def _module(weight: str) -> str:
    return weight.removesuffix(".weight")


def _pair(factors: Factors, low: LowRank) -> Pair:
    """The factors as they lie in a PEFT file, see ``lft.adapters.deltas``."""
    a, b = (factors.b.T, factors.a.T) if low.embedding or low.transposed else (factors.a, factors.b)
    return Pair(low.module, a.numpy(), b.numpy(), low.embedding, None, None)


def _entry(name: str, values: object) -> Entry:
    import torch

    assert isinstance(values, torch.Tensor)
    numbers = values.float().contiguous().numpy()
    return Entry(name, "F32", tuple(values.shape), lambda: [numbers.tobytes()])


def compressed(delta: Delta, rank: int) -> tuple[Delta, Mapping[str, float]]:
    """Every low-rank part cut to a rank, optimally, and the share of its norm that this left out, by tensor."""
    from lft.adapters.algebra.compress import compress

    made = {name: compress(pair, rank) for name, pair in delta.factors.items() if pair.rank > rank}
    factors = {name: made[name].factors if name in made else pair for name, pair in delta.factors.items()}
    return Delta(factors, delta.added, delta.whole, delta.rows), {name: one.error for name, one in made.items()}
