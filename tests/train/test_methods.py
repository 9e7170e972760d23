"""The adapter sits exactly where the recipe says, or the run does not start."""

from __future__ import annotations

import pytest

from lft.errors import RecipeError
from lft.recipe.schema import Method
from lft.train.methods import add_lora, matched_modules
from tests.tiny import tiny_model


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


def test_a_target_that_is_no_linear_layer_is_an_error() -> None:
    with pytest.raises(RecipeError, match="not a linear layer"):
        matched_modules(tiny_model("llama"), "input_layernorm")


def test_a_broken_pattern_is_an_error() -> None:
    with pytest.raises(RecipeError, match="not a regular expression"):
        matched_modules(tiny_model("llama"), "(q_proj")


def test_peft_puts_the_adapter_on_exactly_the_matched_modules() -> None:
    method = Method(target_modules=r"model\.layers\.0\..*(q|v)_proj", r=4, alpha=8)
    tuned = add_lora(tiny_model("llama"), method, {})
    there = {name.split("base_model.model.")[1].removesuffix(".lora_A.default.weight")
             for name, _ in tuned.model.named_parameters() if "lora_A" in name}  # fmt: skip
    assert there == set(tuned.modules) == {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"}
    assert (
        tuned.trainable
        == sum(p.numel() for p in tuned.model.parameters() if p.requires_grad)
        == 4 * (32 + 32 + 32 + 16)
    )


def test_matched_modules_are_counted_in_words() -> None:
    assert "q_proj x2" in str(add_lora(tiny_model("llama"), Method(target_modules="q_proj"), {}))
