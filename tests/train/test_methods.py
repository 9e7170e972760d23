"""The adapter sits exactly where the recipe says, or the run does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lft.base.attach import put_on
from lft.errors import RecipeError
from lft.recipe.schema import Method
from lft.train.loss import attach_loss
from lft.train.methods import matched_modules, require_saved, tune
from lft.train.weights import save_weights
from tests.tiny import save_tiny, tiny_model, tiny_pair_model


def test_all_linear_is_every_linear_layer_but_the_head() -> None:
    names = matched_modules(tiny_model("llama"), "all-linear")
    assert len(names) == 2 * 7
    assert {name.rsplit(".", 1)[-1] for name in names} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


def test_all_linear_knows_the_convolutions_of_gpt2() -> None:
    names = matched_modules(tiny_model("gpt2"), "all-linear")
    assert {name.rsplit(".", 1)[-1] for name in names} == {"c_attn", "c_proj", "c_fc"}


@pytest.mark.parametrize(
    "wanted", ["q_proj", ("q_proj",), ("self_attn.q_proj",), r"model\.layers\.\d+\.self_attn\.q_proj"]
)
def test_a_name_an_end_of_a_path_and_a_pattern_find_the_same(wanted: str | tuple[str, ...]) -> None:
    assert matched_modules(tiny_model("llama"), wanted) == (
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
    )


def test_a_pattern_can_name_one_layer() -> None:
    assert matched_modules(tiny_model("llama"), r".*\.1\..*proj") == matched_modules(
        tiny_model("llama"), r"model\.layers\.1\..*proj"
    )


@pytest.mark.parametrize("wanted", ["q_prj", ("q_proj", "vproj"), r".*\.9\..*proj"])
def test_a_target_that_matches_nothing_is_an_error_that_lists_what_there_is(wanted: str | tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match="matches nothing") as caught:
        matched_modules(tiny_model("llama"), wanted)
    assert "q_proj" in str(caught.value)


@pytest.mark.parametrize("wanted", ["lm_head", ("q_proj", "lm_head"), r".*(q_proj|lm_head)"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_on_the_head_is_refused_by_name(wanted: str | tuple[str, ...], tied: bool) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied)
    with pytest.raises(RecipeError, match="the output head lm_head"):
        matched_modules(model, wanted)


def test_a_target_that_is_no_linear_layer_is_an_error() -> None:
    with pytest.raises(RecipeError, match="not a linear layer"):
        matched_modules(tiny_model("llama"), "input_layernorm")


def test_a_broken_pattern_is_an_error() -> None:
    with pytest.raises(RecipeError, match="not a regular expression"):
        matched_modules(tiny_model("llama"), "(q_proj")


def test_peft_puts_the_adapter_on_exactly_the_matched_modules() -> None:
    method = Method(target_modules=r"model\.layers\.0\..*(q|v)_proj", r=4, alpha=8)
    tuned = tune(tiny_model("llama"), method, {})
    there = {name.split("base_model.model.")[1].removesuffix(".lora_A.default.weight")
             for name, _ in tuned.model.named_parameters() if "lora_A" in name}  # fmt: skip
    assert there == set(tuned.modules) == {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"}
    assert (
        tuned.trainable
        == sum(p.numel() for p in tuned.model.parameters() if p.requires_grad)
        == 4 * (32 + 32 + 32 + 16)
    )


def test_matched_modules_are_counted_in_words() -> None:
    assert "q_proj x2" in str(tune(tiny_model("llama"), Method(target_modules="q_proj"), {}))


@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {"init_lora_weights": False},
        {"lora_bias": True},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"modules_to_save": ("lm_head",)},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3.0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_every_option_of_lora_that_may_be_set_trains_and_is_saved(family: str, options: Any, tmp_path: Path) -> None:
    if "modules_to_save" in options and family == "opt":
        pytest.skip("OPT's head is its embedding")
    tuned = tune(tiny_model(family), Method(r=4, alpha=8.0, options=options), {})
    attach_loss(tuned.model.get_base_model())
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    optimizer = torch.optim.AdamW([p for p in tuned.model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = tuned.model(input_ids=ids, labels=ids, supervised=True).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    loaded = put_on(tiny_model(family), tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, tuned.model.eval()(input_ids=ids).logits)


def test_what_would_be_trained_and_not_saved_is_refused() -> None:
    tuned = tune(tiny_model("llama"), Method(r=4), {})
    tuned.model.get_base_model().model.norm.weight.requires_grad_(True)
    with pytest.raises(RecipeError, match=r"would train base_model\.model\.model\.norm\.weight and 0 more"):
        require_saved(tuned.model, Method(r=4))


def test_a_pattern_for_no_module_is_refused() -> None:
    with pytest.raises(RecipeError, match="rank_pattern: 'qproj' matches no module"):
        tune(tiny_model("llama"), Method(options={"rank_pattern": {"qproj": 4}}), {})


@pytest.mark.parametrize("option", ["rank_pattern", "alpha_pattern"])
def test_patterns_that_give_a_module_two_values_are_refused_with_both_and_the_module(option: str) -> None:
    """PEFT trains with the first of them and sorts them when it saves: the adapter would mean something else."""
    method = Method(options={option: {"v_proj": 3, r"layers\.1\..*": 40}})
    with pytest.raises(RecipeError) as caught:
        tune(tiny_model("llama"), method, {})
    for word in (f"method.options.{option}", "'v_proj'", r"layers", "model.layers.1.self_attn.v_proj", "3", "40"):
        assert word in str(caught.value)


def test_patterns_that_agree_about_a_module_are_trained() -> None:
    method = Method(r=4, options={"rank_pattern": {"v_proj": 2, r"layers\.1\.self_attn\.v_proj": 2}})
    assert tune(tiny_model("llama"), method, {}).modules


def test_a_pattern_that_is_no_regular_expression_is_one_message() -> None:
    with pytest.raises(RecipeError, match=r"alpha_pattern.*is not a regular expression"):
        tune(tiny_model("llama"), Method(options={"alpha_pattern": {"(v_proj": 4}}), {})


def test_what_peft_says_about_a_value_is_one_message() -> None:
    with pytest.raises(RecipeError, match=r"method\.kind c3a does not work with this model and these options: "):
        tune(tiny_model("llama"), Method(kind="c3a", options={"block_size": 7}), {})


def test_norms_are_what_ln_tuning_is_put_on() -> None:
    assert len(tune(tiny_model("llama"), Method(kind="ln_tuning"), {}).modules) == 5
    named = Method(kind="ln_tuning", target_modules=("input_layernorm",))
    assert len(tune(tiny_model("llama"), named, {}).modules) == 2
    with pytest.raises(RecipeError, match="is not a normalisation layer"):
        tune(tiny_model("llama"), Method(kind="ln_tuning", target_modules="q_proj"), {})


def test_what_a_kind_has_no_use_for_is_said() -> None:
    notes: list[str] = []
    written = Method(kind="ln_tuning", r=8, dropout=0.1, loraplus_lr_ratio=4.0)
    tune(tiny_model("llama"), written, {"model.embed_tokens": [5]}, notify=notes.append)
    assert notes == [
        "ln_tuning has no use for method.r, method.dropout, method.loraplus_lr_ratio",
        "ln_tuning cannot train the rows of added tokens: they stay the mean of all rows",
    ]
    notes.clear()
    tune(tiny_model("llama"), Method(r=8, alpha=8.0, dropout=0.1, target_modules="q_proj"), {}, notify=notes.append)
    tune(tiny_model("llama"), Method(kind="ln_tuning"), {}, notify=notes.append)
    assert notes == []


def test_only_the_rows_of_tokens_can_be_trained() -> None:
    tuned = tune(tiny_model("llama"), Method(kind="trainable_tokens"), {"model.embed_tokens": [5, 9]})
    assert tuned.trainable == 2 * 32
    with pytest.raises(RecipeError, match="no token to train"):
        tune(tiny_model("llama"), Method(kind="trainable_tokens"), {})


def test_a_prompt_can_begin_as_a_text_of_the_bases_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(save_tiny(tmp_path / "base", "llama"))
    options = {"num_virtual_tokens": 4, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "the red cat sings"}
    tuned = tune(model, Method(kind="prompt_tuning", options=options), {})
    assert str(tuned).startswith("128 of ")
    rows = tuned.model.get_input_embeddings().weight
    prompt = tuned.model.prompt_encoder["default"].embedding.weight
    assert all(any(torch.equal(row, other) for other in rows) for row in prompt)


def test_adalora_gives_up_ranks_and_its_regulariser_is_weighed_by_tokens() -> None:
    method = Method(kind="adalora", r=6, alpha=8.0, options={"target_r": 2, "orth_reg_weight": 0.5})
    tuned = tune(tiny_model("llama"), method, {}, steps=6)
    attach_loss(tuned.model.get_base_model())
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    plain = tuned.model.eval()(input_ids=ids, labels=ids, supervised=True).loss
    pushed = tuned.model.train()(input_ids=ids, labels=ids, supervised=True).loss
    matrices = [(n, m) for n, m in tuned.model.named_parameters() if "lora_A" in n or "lora_B" in n]
    squares = [m @ m.T if "lora_A" in n else m.T @ m for n, m in matrices]
    regulariser = sum(float((s - torch.eye(len(s))).norm()) for s in squares) / len(squares)
    assert float(pushed - plain) == pytest.approx(0.5 * 5 * regulariser, rel=1e-4)
    optimizer = torch.optim.AdamW([p for p in tuned.model.parameters() if p.requires_grad], lr=1e-2)
    assert tuned.after_step is not None
    for step in range(1, 7):
        tuned.model(input_ids=ids, labels=ids, supervised=True).loss.backward()
        optimizer.step()
        tuned.after_step(step)
        optimizer.zero_grad()
    kept = [int((p != 0).sum()) for name, p in tuned.model.named_parameters() if "lora_E" in name]
    assert sum(kept) == 2 * len(kept)


def test_generation_works_with_virtual_tokens() -> None:
    for kind in ("prompt_tuning", "prefix_tuning", "p_tuning"):
        tuned = tune(tiny_model("llama"), Method(kind=kind, options={"num_virtual_tokens": 3}), {})
        with torch.no_grad():
            out = tuned.model.eval().generate(input_ids=torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
        assert out.shape[1] <= 7


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lora", {}),
        ("dora", {}),
        ("pissa", {}),
        ("ia3", {}),
        ("adalora", {"target_r": 2}),
        ("prefix_tuning", {"num_virtual_tokens": 3}),
    ],
)
def test_an_encoder_decoder_is_tuned_and_saved_too(kind: str, options: Any, tmp_path: Path) -> None:
    tuned = tune(tiny_pair_model("t5"), Method(kind=kind, r=4, alpha=8.0, options=options), {}, steps=9)
    ids, labels = torch.tensor([[5, 6, 7, 8, 9, 10]]), torch.tensor([[11, 12, 1]])
    optimizer = torch.optim.AdamW([p for p in tuned.model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = tuned.model(input_ids=ids, labels=labels).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    loaded = put_on(tiny_pair_model("t5"), tmp_path)
    with torch.no_grad():
        wanted = tuned.model.eval()(input_ids=ids, labels=labels).logits
        assert torch.allclose(loaded(input_ids=ids, labels=labels).logits, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["eva", "corda"])
def test_a_start_that_looks_at_rows_needs_a_decoder(kind: str) -> None:
    with pytest.raises(RecipeError, match="looks at rows of a decoder"):
        tune(tiny_pair_model("t5"), Method(kind=kind), {}, rows=[[5, 6]])
