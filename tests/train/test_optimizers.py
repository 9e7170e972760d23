"""Every optimizer of the schema is one of transformers', and LoRA+ learns B faster."""

from __future__ import annotations

import importlib.util
import typing
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments

from lft.errors import MachineError
from lft.recipe.schema import Method, Optimizer
from lft.train.methods import tune
from lft.train.optimizers import loraplus_groups, make_loraplus, optimizer_name
from tests.tiny import tiny_model

EVERY: tuple[Optimizer, ...] = typing.get_args(Optimizer)


def arguments(folder: Path, name: str = "adamw_torch") -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder), optim=name, use_cpu=True, report_to="none", learning_rate=1e-2, weight_decay=0.1
    )


@pytest.mark.parametrize("optimizer", EVERY)
def test_every_optimizer_steps_on_a_cpu_and_lowers_the_loss(optimizer: Optimizer, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    notes: list[str] = []
    name = optimizer_name(optimizer, "cpu", notes.append)
    assert bool(notes) == optimizer.startswith("paged")
    tuned = tune(tiny_model("llama"), Method(r=4), {})
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments(tmp_path, name), tuned.model)
    made = kind([p for p in tuned.model.parameters() if p.requires_grad], **options)
    assert ("lion" in type(made).__name__.lower()) == ("lion" in optimizer)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    losses = []
    for _ in range(3):
        loss = tuned.model(input_ids=ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        made.step()
        made.zero_grad()
    assert losses[-1] < losses[0]


def test_a_missing_bitsandbytes_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(MachineError, match=r"train\.optimizer lion needs bitsandbytes\n  fix: pip install"):
        optimizer_name("lion", "cuda", lambda _: None)
    assert optimizer_name("adafactor", "cuda", lambda _: None) == "adafactor"


def test_loraplus_gives_b_its_own_learning_rate_and_forgets_nothing(tmp_path: Path) -> None:
    tuned = tune(tiny_model("llama"), Method(kind="lora+", r=4), {"model.embed_tokens": [5], "lm_head": [5]})
    groups = loraplus_groups(tuned.model, 1e-3, 16.0, 0.1)
    assert [group["lr"] for group in groups] == [1e-3, pytest.approx(16e-3)]
    names = {id(p): name for name, p in tuned.model.named_parameters()}
    slow, fast = ({names[id(p)] for p in group["params"]} for group in groups)
    assert {name.split(".")[-3] for name in fast} == {"lora_B"}
    assert {part for name in slow for part in ("lora_A", "trainable_tokens") if part in name} == {
        "lora_A", "trainable_tokens",
    }  # fmt: skip
    assert slow | fast == {name for name, p in tuned.model.named_parameters() if p.requires_grad}
    chosen = Trainer.get_optimizer_cls_and_kwargs(arguments(tmp_path), tuned.model)
    made = make_loraplus(tuned.model, arguments(tmp_path), chosen, ratio=8.0)
    assert [group["lr"] for group in made.param_groups] == [1e-2, 8e-2]
    assert {group["weight_decay"] for group in made.param_groups} == {0.1}
