"""Every method.kind trains and comes back the same from disk, or is refused by name."""

from __future__ import annotations

import copy
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from lft.base.attach import put_on
from lft.errors import RecipeError
from lft.recipe.kinds import KINDS
from lft.recipe.schema import Method, MethodKind
from lft.train.attention import isolate, packed_inputs
from lft.train.loss import attach_loss
from lft.train.methods import Tuned, tune
from lft.train.weights import save_weights
from tests.tiny import tiny_model

VOCABULARY = 384
# Options with which each kind fits a model 32 wide.
OPTIONS: dict[str, dict[str, Any]] = {
    "adalora": {"target_r": 2},
    "adamss": {"num_subspaces": 2},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2},
    "boft": {"boft_block_size": 4},
    "c3a": {"block_size": 16},
    "cartridge": {"num_virtual_tokens": 3},
    "eva": {"eva_config": {"rho": 1.0}},
    "fourierft": {"n_frequency": 50},
    "oft": {"oft_block_size": 4},
    "p_tuning": {"num_virtual_tokens": 3},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "road": {"group_size": 8},
    "trainable_tokens": {"token_indices": (5, 6, 7)},
    "vblora": {"vector_length": 16, "num_vectors": 8},
    "waveft": {"n_frequency": 50},
}
NEED_A_PACKAGE = {"adamss": "sklearn"}
TRAINABLE = [kind for kind, made in KINDS.items() if not made.refused and kind != "loftq"]


def sequences(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(8, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    for row in rows:
        row[1:4] = [5, 6, 7]
    return rows


def method(kind: str, **also: Any) -> Method:
    return Method.model_validate({"kind": kind, "r": 4, "alpha": 8.0, "options": OPTIONS.get(kind, {}), **also})


def batch(kind: str) -> dict[str, Any]:
    inputs = packed_inputs(sequences(9, 14) if KINDS[kind].packs else sequences(14), "cpu")
    return {**inputs, "labels": inputs["input_ids"].clone()}


def tuned(kind: str, seed: int = 0, **also: Any) -> Tuned:
    if kind in NEED_A_PACKAGE:
        pytest.importorskip(NEED_A_PACKAGE[kind])
    model = tiny_model("llama", VOCABULARY)
    if KINDS[kind].packs:
        isolate(model, VOCABULARY)
    torch.manual_seed(seed)
    made = tune(model, method(kind), {}, steps=10, rows=sequences(*range(10, 30)), **also)
    attach_loss(made.model.get_base_model())
    return made


def train(made: Tuned, inputs: dict[str, Any], steps: int, optimizer: Any = None, first: int = 1) -> list[float]:
    made.model.train()
    torch.manual_seed(100 + first)
    optimizer = optimizer or torch.optim.AdamW([p for p in made.model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(first, first + steps):
        loss = made.model(**inputs, supervised=True).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        if made.after_step:
            made.after_step(step)
        optimizer.zero_grad()
    made.model.eval()
    return losses


def evaluated(made: Tuned, kind: str) -> float:
    made.model.eval()
    with torch.no_grad():
        return float(made.model(**batch(kind), supervised=True).loss)


def logits(model: Any, row: list[int] | None = None) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([row or sequences(9)[0]]), use_cache=False).logits


def test_the_table_has_every_kind_and_no_other() -> None:
    assert {*KINDS, "full"} == set(typing.get_args(MethodKind))


@pytest.mark.parametrize("kind", TRAINABLE)
def test_a_kind_trains_and_comes_back_the_same(kind: str, tmp_path: Path) -> None:
    made = tuned(kind)
    before = evaluated(made, kind)
    train(made, batch(kind), 20 if kind == "pvera" else 4)  # PVeRA draws its vectors: a noisy loss
    assert evaluated(made, kind) < before
    save_weights(made.model, tmp_path, made.initial, checkpoint=False)
    torch.manual_seed(99)
    loaded = put_on(tiny_model("llama", VOCABULARY), tmp_path)
    # PiSSA and its like are saved for the untouched base, AdaLoRA without masked ranks: equal to float32's rounding.
    exact = not made.initial and kind != "adalora"
    assert torch.allclose(logits(loaded), logits(made.model), rtol=0, atol=0 if exact else 1e-5)
    assert not torch.allclose(logits(loaded)[:, -9:], logits(tiny_model("llama", VOCABULARY)), atol=1e-4)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_a_checkpoint_gives_back_the_very_training_state(kind: str, tmp_path: Path) -> None:
    one, inputs = tuned(kind), batch(kind)
    optimizer = torch.optim.AdamW([p for p in one.model.parameters() if p.requires_grad], lr=1e-2)
    train(one, inputs, 2, optimizer)
    save_weights(one.model, tmp_path, one.initial, checkpoint=True)
    two = tuned(kind, seed=5, resume=tmp_path)
    again = torch.optim.AdamW([p for p in two.model.parameters() if p.requires_grad], lr=1e-2)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(logits(two.model), logits(one.model))
    assert train(two, inputs, 3, again, first=3) == train(one, inputs, 3, optimizer, first=3)
    assert torch.equal(logits(two.model), logits(one.model))


@pytest.mark.parametrize("kind", [kind for kind in TRAINABLE if KINDS[kind].packs and kind != "pvera"])
def test_packed_sequences_stay_apart_under_every_kind(kind: str) -> None:
    made = tuned(kind)
    train(made, batch(kind), 2)
    rows = sequences(9, 14)
    inputs = packed_inputs(rows, "cpu")
    with torch.no_grad():
        packed = made.model(**inputs, use_cache=False).logits[0]
    made.model.set_attn_implementation("sdpa")
    apart = torch.cat([logits(made.model, row)[0] for row in rows])
    assert torch.allclose(packed, apart, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind, made in KINDS.items() if made.refused])
def test_a_kind_that_cannot_be_trained_is_refused_with_the_reason(kind: str) -> None:
    with pytest.raises(RecipeError, match=f"method.kind {kind} cannot be trained: "):
        tune(tiny_model("llama", VOCABULARY), Method(kind=kind), {})
