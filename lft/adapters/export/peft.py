"""An adapter, or several as one, as a PEFT folder in canonical form: the form that PEFT and the servers scale alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lft.adapters.adapter import LowRank
from lft.adapters.canonical import Entry, Pair, heading_of, save_peft, whole_name
from lft.adapters.deltas import Delta, Factors
from lft.adapters.folder import KNOWN, Role
from lft.adapters.names import Part, name_of
from lft.adapters.stack import Stacked
from lft.base.diff_files import require_new
from lft.errors import InputError
from lft.files import new_folder

_CARRIED: tuple[Role, ...] = ("prompt", "tokenizer", "template")


def export_peft(stacked: Stacked, out: Path, card: str | None = None) -> Path:
    """Write a stack as one adapter.

    Args:
        stacked: from ``with_below``; its low-rank part may have been compressed since.
        out: a new folder.
        card: text of README.md.

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
    with new_folder(out) as draft:
        save_peft(
            draft,
            [lambda n=n, f=f: _pair(f, layouts[n]) for n, f in delta.factors.items()],  # type: ignore[misc]
            [_entry(whole_name(tensor), values) for tensor, values in delta.whole.items()],
            {_module(weight): rows.tokens for weight, rows in delta.rows.items()},
            [_entry(name_of(Part(_module(weight), "rows")), rows.values) for weight, rows in delta.rows.items()],
            heading_of(top),
        )
        for name, path in (top.files.used if top.files else {}).items():
            if KNOWN[name][0] in _CARRIED:
                shutil.copyfile(path, draft / name)
        if card is not None:
            (draft / "README.md").write_text(card, encoding="utf-8")
    return out


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
