"""The number of trained parameters is PEFT's own."""

from __future__ import annotations

from typing import Any

import pytest

from lft.errors import RecipeError
from lft.plan.families import shape_of
from lft.plan.trainable import trainable_of
from lft.recipe.schema import Recipe
from tests.tiny import tiny_model

ALL = "all-linear"


def recipe(kind: str = "lora", eoi: str = "text", r: int = 4, targets: Any = ALL, **options: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "base": {"model": "m"},
            "data": {"train": "d", "eoi": eoi},
            "method": {"kind": kind, "r": r, "target_modules": targets, "options": options},
        }
    )


def trained(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("family", ["llama", "qwen3", "opt", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_lora_and_dora_are_counted_as_peft_counts_them(family: str, kind: str) -> None:
    from peft import LoraConfig, get_peft_model

    from lft.train.methods import matched_modules

    model = tiny_model(family)
    shape = shape_of(model.config.to_dict())
    names = list(matched_modules(model, ALL))
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=names, use_dora=kind == "dora"))
    assert trainable_of(recipe(kind), shape).total == trained(tuned)


@pytest.mark.parametrize(
    "targets",
    [("q_proj", "v_proj"), ("self_attn.q_proj",), "down_proj", r".*layers\.1\..*_proj", r".*\.(q|k)_proj"],
    ids=str,
)
def test_target_modules_mean_what_training_takes_them_for(targets: Any) -> None:
    from peft import LoraConfig, get_peft_model

    from lft.train.methods import matched_modules

    model = tiny_model("llama")
    shape = shape_of(model.config.to_dict())
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=list(matched_modules(model, targets))))
    assert trainable_of(recipe(targets=targets), shape).total == trained(tuned)


def test_lora_on_an_encoder_decoder_is_counted_as_peft_counts_it() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(vocab_size=96, d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2, num_decoder_layers=3)
    model = MT5ForConditionalGeneration(config)
    shape = shape_of(config.to_dict())
    tuned = get_peft_model(model, LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=ALL))
    assert trainable_of(recipe(), shape).total == trained(tuned)


def peft_config(kind: str) -> Any:
    import peft

    linear = ["q_proj", "v_proj"]
    return {
        "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        "vera": lambda: peft.VeraConfig(r=4, target_modules=["q_proj", "o_proj"]),
        "loha": lambda: peft.LoHaConfig(r=4, target_modules=linear),
        "hra": lambda: peft.HRAConfig(r=4, target_modules=linear),
        "fourierft": lambda: peft.FourierFTConfig(n_frequency=10, target_modules=linear),
        "prompt_tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7),
        "prefix_tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7),
        "ln_tuning": lambda: peft.LNTuningConfig(
            target_modules=["input_layernorm", "post_attention_layernorm", "norm"]
        ),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "targets", "options"),
    [
        ("ia3", ("k_proj", "down_proj"), {"feedforward_modules": ["down_proj"]}),
        ("vera", ("q_proj", "o_proj"), {}),
        ("loha", ("q_proj", "v_proj"), {}),
        ("hra", ("q_proj", "v_proj"), {}),
        ("fourierft", ("q_proj", "v_proj"), {"n_frequency": 10}),
        ("prompt_tuning", ALL, {"num_virtual_tokens": 7}),
        ("prefix_tuning", ALL, {"num_virtual_tokens": 7}),
        ("ln_tuning", ALL, {}),
    ],
)
def test_other_methods_are_counted_as_peft_counts_them(kind: str, targets: Any, options: dict[str, Any]) -> None:
    from peft import get_peft_model

    model = tiny_model("llama")
    shape = shape_of(model.config.to_dict())
    tuned = get_peft_model(model, peft_config(kind))
    assert trainable_of(recipe(kind, targets=targets, **options), shape).total == trained(tuned)


def test_added_tokens_train_one_row_where_tied_and_two_where_not() -> None:
    tied, untied = (shape_of(tiny_model("llama", tie_word_embeddings=tie).config.to_dict()) for tie in (True, False))
    assert trainable_of(recipe(eoi="token"), tied).tokens == 32
    assert trainable_of(recipe(eoi="token"), untied).tokens == 64
    assert trainable_of(recipe(eoi="text"), untied).tokens == 0


def test_full_trains_everything() -> None:
    shape = shape_of(tiny_model("opt").config.to_dict())
    found = trainable_of(recipe("full"), shape)
    assert (found.total, found.full) == (shape.total, True)


def test_a_method_without_a_formula_is_said_not_to_be_estimated() -> None:
    shape = shape_of(tiny_model("llama").config.to_dict())
    assert trainable_of(recipe("boft"), shape).method is None


def test_a_target_that_matches_nothing_names_the_nearest() -> None:
    shape = shape_of(tiny_model("llama").config.to_dict())
    with pytest.raises(RecipeError, match="nearest: q_proj"):
        trainable_of(recipe(targets=("q_porj",)), shape)
    with pytest.raises(RecipeError, match="not a regular expression"):
        trainable_of(recipe(targets="(q"), shape)
