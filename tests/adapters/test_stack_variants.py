"""What is active together at run time is what export adds up, for every kind of layer that a plain LoRA sits on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lft.adapters import cover
from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import read_delta
from lft.adapters.stack import stacked
from lft.base.attach import WEIGHTS, Lower, put_alone, put_below
from lft.base.binding import Below, Binding
from lft.files import sha256
from tests.peft_made import VARIANTS, logits, made, save
from tests.tiny import save_tiny, tiny_model

KINDS = (
    "plain", "rslora", "rslora with both patterns", "regular expression", "one layer", "embedding", "head", "conv1d",
    "mica", "gpt-neox", "opt",
)  # fmt: skip
SHARES = (Below("", "", 0.7), Below("", "", -1.25, "1"), Below("", "", 0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_runs_as_the_sum_that_is_exported(tmp_path: Path, kind: str) -> None:
    family = VARIANTS[kind][0]
    save_tiny(tmp_path / "base", family)
    bound = Binding("base", None, "a" * 64, "b" * 64, 384, "", {}, "0")
    lowers = []
    for seed, share in enumerate(SHARES):
        folder = save(made(kind, seed), tmp_path / f"adapter-{seed}")
        lowers.append(Lower(folder, bound, sha256(folder / WEIGHTS), share))
    running = put_alone(put_below(tiny_model(family), lowers, None))
    tensors = cover.base_tensors(tmp_path / "base")
    deltas = [read_delta(cover.oriented(open_adapter(lower.folder), tensors)) for lower in lowers]
    total = stacked(deltas, shares=SHARES)
    model = tiny_model(family)
    plain = logits(model)
    for name, pair in total.factors.items():
        model.get_parameter(name).data += pair.b @ pair.a
    assert torch.allclose(logits(running), logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(plain, logits(model), atol=1e-3)
