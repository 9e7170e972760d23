"""Sizes from config.json alone are the sizes transformers builds, and those that publishers state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.errors import InputError
from lft.plan.configs import known_bases, known_config
from lft.plan.families import shape_of
from lft.plan.headers import with_files
from lft.plan.shape import ModelShape

COMMON = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2},
    "llama with biases": {**COMMON, "intermediate_size": 48, "attention_bias": True, "mlp_bias": True},
    "llama, wide heads, tied": {**COMMON, "intermediate_size": 48, "head_dim": 16, "tie_word_embeddings": True},
    "mistral": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 1},
    "qwen2": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2},
    "qwen3": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16},
    "gemma": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 16},
    "gemma2": {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16},
    "opt": {**COMMON, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 32},
    "opt as 350m": {
        **COMMON, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 16,
        "do_layer_norm_before": False,
    },
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neox": {**COMMON, "intermediate_size": 48},
    "t5": {"vocab_size": 96, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2},
    "t5 v1.1": {
        "vocab_size": 96, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2,
        "num_decoder_layers": 3, "feed_forward_proj": "gated-gelu",
    },
    "mt5": {"vocab_size": 96, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2},
}  # fmt: skip


def family(name: str) -> str:
    return name.replace(",", "").split()[0]


def on_meta(config: dict[str, Any]) -> Any:
    """The model itself, without memory for its weights."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    sizes = {key: value for key, value in config.items() if key != "model_type"}
    auto = AutoModelForSeq2SeqLM if "d_model" in config else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(CONFIG_MAPPING[config["model_type"]](**sizes))


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_that_transformers_builds(name: str) -> None:
    config = {"model_type": family(name), **CONFIGS[name]}
    model = on_meta(config)
    shape = shape_of(config)
    assert shape.total == model.num_parameters()
    assert shape.parts.norms == sum(p.numel() for n, p in model.named_parameters() if "norm" in n or ".ln_" in n)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configuration_that_transformers_writes_gives_the_same_shape(name: str) -> None:
    config = {"model_type": family(name), **CONFIGS[name]}
    assert shape_of(on_meta(config).config.to_dict()).total == shape_of(config).total


@pytest.mark.parametrize("name", CONFIGS)
def test_linear_layers_have_the_names_and_sizes_of_the_modules(name: str) -> None:
    import torch
    from transformers.pytorch_utils import Conv1D

    config = {"model_type": family(name), **CONFIGS[name]}
    model = on_meta(config)
    head = model.get_output_embeddings()
    modules = {
        path: sorted(module.weight.shape)
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    shape = shape_of(config)
    assert {path: sorted((one.inputs, one.outputs)) for one in shape.linears for path in one.paths()} == modules


@pytest.mark.parametrize("base", known_bases(), ids=lambda base: base.names[0])
def test_bundled_bases_have_their_published_number_of_parameters(base: Any) -> None:
    assert shape_of(base.config).total == base.parameters


@pytest.mark.parametrize("name", ["facebook/opt-350m", "google/gemma-2-2b", "Qwen/Qwen2.5-1.5B"])
def test_bundled_bases_are_what_transformers_builds(name: str) -> None:
    config = dict(known_config(name) or {})
    assert shape_of(config).total == on_meta(config).num_parameters()


def test_a_base_is_found_whatever_the_case_of_its_name() -> None:
    assert known_config("FACEBOOK/opt-125M") == known_config("facebook/opt-125m")
    assert known_config("facebook/opt-125m") is not None
    assert known_config("nobody/nothing") is None


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(InputError, match="nearest: qwen2"):
        shape_of({"model_type": "qwen22"})
    with pytest.raises(InputError, match="known: gemma"):
        shape_of({})


@pytest.mark.parametrize("value", [0, -1, "32", 1.5, True])
def test_a_size_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match="hidden_size is"):
        shape_of({"model_type": "llama", **CONFIGS["llama"], "hidden_size": value})


def test_a_missing_size_is_named() -> None:
    with pytest.raises(InputError, match="vocab_size is missing"):
        shape_of({"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "intermediate_size": 8})  # fmt: skip


@settings(max_examples=60)
@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 64), st.booleans(), st.sampled_from([4, 8])
)
def test_parameters_are_the_sum_of_the_parts(
    layers: int, groups: int, kv: int, inner: int, tied: bool, head_dim: int
) -> None:
    heads = groups * kv
    shape = shape_of(
        {
            "model_type": "llama", "vocab_size": 50, "hidden_size": heads * head_dim, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": inner,
            "tie_word_embeddings": tied,
        }
    )  # fmt: skip
    linear = sum(one.parameters for one in shape.linears)
    assert shape.total == linear + shape.parts.embedding + shape.parts.norms + shape.parts.head
    assert (shape.parts.head == 0) is tied


def tensors(shape: ModelShape, *extra: tuple[str, tuple[int, ...], int]) -> list[tuple[str, tuple[int, ...], int]]:
    body = shape.total - shape.parts.head
    head = [("lm_head.weight", (shape.parts.head,), 16)] if shape.parts.head else []
    return [("model.all.weight", (body,), 16), *head, *extra]


def test_files_that_hold_something_else_are_refused() -> None:
    shape = shape_of({"model_type": "llama", **CONFIGS["llama"]})
    assert with_files(shape, tensors(shape), "x").file_bits == 16
    with pytest.raises(InputError, match="the files hold"):
        with_files(shape, tensors(shape, ("model.more.weight", (7,), 16)), "x")


def test_buffers_and_copies_of_tied_matrices_are_not_counted() -> None:
    shape = shape_of({"model_type": "llama", **CONFIGS["llama"], "tie_word_embeddings": True})
    copy = ("lm_head.weight", (shape.parts.embedding,), 16)
    assert with_files(shape, tensors(shape, copy, ("x.inv_freq", (4,), 32)), "x").total == shape.total


def test_the_head_of_t5_is_its_own_where_the_files_hold_one() -> None:
    shape = shape_of({"model_type": "t5", **CONFIGS["t5"]})
    head = ("lm_head.weight", (96, 32), 32)
    found = with_files(shape, [("shared.weight", (shape.total,), 32), head], "x")
    assert (shape.tied, found.tied, found.total) == (True, False, shape.total + 96 * 32)
