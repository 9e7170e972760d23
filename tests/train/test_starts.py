"""Starts that change the base, look at data, or cannot be what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from lft.base.tokens import add_tokens, token_training
from lft.errors import InputError, RecipeError, TrainingError
from lft.recipe.schema import Method
from lft.train import starts
from lft.train.attention import isolate, packed_inputs
from lft.train.calibrate import eva_batches
from lft.train.loss import attach_loss
from lft.train.methods import Tuned, tune
from lft.train.weights import restore, save_weights
from tests.tiny import tiny_model, tiny_tokenizer

ROWS = [torch.randint(5, 380, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(9, 25)]
CHANGING = [
    Method(kind="pissa", r=4, alpha=8.0),
    Method(kind="pissa", r=4, alpha=8.0, options={"init_lora_weights": "pissa_niter_4", "use_rslora": True}),
    Method(kind="olora", r=4, alpha=8.0, options={"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 4.0}}),
    Method(kind="corda", r=4, alpha=8.0, options={"corda_config": {"corda_method": "kpm"}}),
    Method(kind="corda", r=4, alpha=16.0, options={"use_rslora": True, "alpha_pattern": {"v_proj": 4}}),
]


def base(dtype: torch.dtype = torch.float32) -> tuple[Any, Any, dict[str, list[int]]]:
    tokenizer = tiny_tokenizer()
    model = tiny_model("llama", len(tokenizer)).to(dtype)
    added = add_tokens(tokenizer, model, ["[EOI]"])
    return model, tokenizer, token_training(model, added)


def trained(method: Method, dtype: torch.dtype = torch.float32, **also: Any) -> Tuned:
    model, tokenizer, rows = base(dtype)
    isolate(model, len(tokenizer))
    torch.manual_seed(0)
    tuned = tune(model, method, rows, rows=ROWS, **also)
    attach_loss(tuned.model.get_base_model())
    if "resume" not in also:
        steps(tuned, 3)
    return tuned


def steps(tuned: Tuned, count: int) -> None:
    inputs = packed_inputs(ROWS[:3], "cpu")
    inputs["input_ids"][0, 4] = tuned.model.get_input_embeddings().weight.shape[0] - 1  # [EOI]
    inputs["labels"] = inputs["input_ids"].clone()
    optimizer = torch.optim.AdamW([p for p in tuned.model.parameters() if p.requires_grad], lr=1e-2)
    tuned.model.train()
    for _ in range(count):
        tuned.model(**inputs, supervised=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.model.eval()


def logits(model: Any) -> torch.Tensor:
    rows = model.get_input_embeddings().weight.shape[0]
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[*ROWS[0], rows - 1]]), use_cache=False).logits.float()


@pytest.mark.parametrize("method", CHANGING, ids=lambda method: f"{method.kind}-{sorted(method.options)}")
def test_plain_peft_on_the_untouched_base_gives_the_trained_model(method: Method, tmp_path: Path) -> None:
    tuned = trained(method)
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    untouched, _, _ = base()
    plain = PeftModel.from_pretrained(untouched, str(tmp_path))
    assert torch.allclose(logits(plain), logits(tuned.model), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(plain), logits(base()[0]), atol=1e-2)


def test_the_row_of_an_added_token_survives_the_conversion(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tuned = trained(CHANGING[0])
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    saved = [name for name in load_file(tmp_path / "adapter_model.safetensors") if "trainable_tokens" in name]
    assert len(saved) == 2  # the input embedding's and the untied head's; PEFT's own conversion drops both


@pytest.mark.parametrize("method", CHANGING, ids=lambda method: f"{method.kind}-{sorted(method.options)}")
def test_the_changed_base_is_made_again_bit_for_bit(method: Method, tmp_path: Path) -> None:
    one = trained(method)
    save_weights(one.model, tmp_path, one.initial, checkpoint=True)
    two = trained(method, resume=tmp_path)
    weights = dict(one.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in two.model.named_parameters())
    assert all(torch.equal(two.initial[name], tensor) for name, tensor in one.initial.items())
    steps(one, 2)
    steps(two, 2)
    assert torch.equal(logits(one.model), logits(two.model))


def test_with_16_bit_weights_the_conversion_is_right_up_to_their_rounding(tmp_path: Path) -> None:
    tuned = trained(Method(kind="pissa", r=4, alpha=8.0), torch.bfloat16)
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    plain = PeftModel.from_pretrained(base(torch.bfloat16)[0], str(tmp_path))
    wanted = logits(tuned.model)
    assert float((logits(plain) - wanted).abs().max() / wanted.abs().max()) < 3e-2  # measured 1e-2
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=True)
    again = trained(Method(kind="pissa", r=4, alpha=8.0), torch.bfloat16, resume=tmp_path)
    assert torch.equal(logits(again.model), wanted)


def test_a_start_that_would_not_begin_as_the_base_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "_subtract", lambda *_: None)
    with pytest.raises(RecipeError, match="does not begin as the base on this model"):
        tune(tiny_model("llama"), Method(kind="pissa", r=4), {})


def test_olora_is_refused_on_transposed_layers() -> None:
    square = r".*attn\.c_proj"  # where PEFT's mistake does not even show in the shapes
    with pytest.raises(RecipeError, match="the wrong way round"):
        tune(tiny_model("gpt2"), Method(kind="olora", r=4, target_modules=square), {})


def test_pissa_knows_the_transposed_layers_of_gpt2(tmp_path: Path) -> None:
    tuned = tune(tiny_model("gpt2"), Method(kind="pissa", r=4), {})
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=True)
    again = tune(tiny_model("gpt2"), Method(kind="pissa", r=4), {}, resume=tmp_path)
    assert torch.equal(logits(again.model), logits(tuned.model))
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    plain = PeftModel.from_pretrained(tiny_model("gpt2"), str(tmp_path))
    assert torch.allclose(logits(plain), logits(tiny_model("gpt2")), atol=1e-5)  # nothing was trained


def test_eva_with_too_few_tokens_says_so_and_does_not_hang() -> None:
    with pytest.raises(RecipeError, match="eva needs 32 tokens for its 32 directions, 1 rows have 4"):
        tune(tiny_model("llama"), Method(kind="eva", r=16), {}, rows=[[5, 6, 7, 8]])
    with pytest.raises(RecipeError, match="corda needs training rows"):
        tune(tiny_model("llama"), Method(kind="corda", r=4), {})


def test_padding_is_never_seen_by_eva_and_batches_are_large_enough() -> None:
    with eva_batches(tiny_model("llama"), ROWS, 30) as batches:
        seen = [
            row[mask.bool()].tolist()
            for b in batches
            for row, mask in zip(b["input_ids"], b["attention_mask"], strict=True)
        ]
        assert seen == ROWS
        assert all(int(b["attention_mask"].sum()) >= 30 for b in batches)


def test_eva_that_never_settles_ends() -> None:
    with eva_batches(tiny_model("llama"), ROWS, 30) as batches:
        for _ in range(200):
            iter(batches)
        with pytest.raises(RecipeError, match="no stable directions"):
            iter(batches)


def test_eva_gives_ranks_to_the_layers_that_need_them_and_they_are_saved(tmp_path: Path) -> None:
    tuned = trained(Method(kind="eva", r=4, alpha=8.0))
    assert tuned.model.peft_config["default"].rank_pattern
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    plain = PeftModel.from_pretrained(base()[0], str(tmp_path))
    assert torch.equal(logits(plain), logits(tuned.model))


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path: Path) -> None:
    tuned = trained(Method(r=4))
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=True)
    other = tune(tiny_model("llama"), Method(r=8), {})
    with pytest.raises(InputError, match="the checkpoint is of another adapter, first at base_model"):
        restore(other.model, tmp_path)


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    tuned = tune(tiny_model("llama"), Method(r=4), {})
    with torch.no_grad():
        next(p for p in tuned.model.parameters() if p.requires_grad)[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="non-finite numbers in base_model"):
        save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
