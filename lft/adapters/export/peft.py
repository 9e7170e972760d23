"""An adapter, or several as one, as a PEFT folder in canonical form: the form that PEFT and the servers scale alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lft.adapters.deltas import Delta
from lft.adapters.peft_folder import Named, carried, write_delta
from lft.adapters.stack import Stacked
from lft.base.diff_files import require_new
from lft.files import new_folder


def export_peft(stacked: Stacked, out: Path) -> Path:
    """Write a stack as one adapter.

    Args:
        stacked: from ``with_below``; its low-rank part may have been compressed since.
        out: a new folder.

    Raises:
        InputError: a part of it is no plain LoRA (a dense addition), or what was read back differs.
        RecipeError: ``out`` exists.
    """
    require_new(out)
    parents = [Named(str(one.folder), one) for one in stacked.adapters if one.tensors]
    with new_folder(out) as draft:
        write_delta(stacked.delta, parents, draft)
        for name, path in carried(stacked.adapters[-1]).items():
            shutil.copyfile(path, draft / name)
    return out


def compressed(delta: Delta, rank: int) -> tuple[Delta, Mapping[str, float]]:
    """Every low-rank part cut to a rank, optimally, and the share of its norm that this left out, by tensor."""
    from lft.adapters.algebra.compress import compress

    made = {name: compress(pair, rank) for name, pair in delta.factors.items() if pair.rank > rank}
    factors = {name: made[name].factors if name in made else pair for name, pair in delta.factors.items()}
    return Delta(factors, delta.added, delta.whole, delta.rows), {name: one.error for name, one in made.items()}
