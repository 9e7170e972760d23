"""The bytes that the plan says are kept are the bytes that autograd keeps: counted on real models, tensor by tensor."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest

from lft.plan.activations import CHUNK, kept_by_layer, logits_at_once, recomputed, unreused
from lft.plan.families import shape_of
from lft.plan.hardware import parse_hardware
from lft.plan.setup import Setup, setup_of
from lft.recipe.schema import Recipe
from tests.tiny import tiny_model

TOKENS, VOCABULARY = 128, 384
ALL = "all-linear"
SIZES = {"hidden": 64, "num_attention_heads": 4}


def recipe(**changes: Any) -> Recipe:
    method = {"kind": "lora", "r": 4, **changes.pop("method", {})}
    base = {"model": "m", "dtype": changes.pop("dtype", "float32")}
    return Recipe.model_validate(
        {
            "name": "x",
            "base": base,
            "data": {"train": "d", "max_length": TOKENS, "eoi": "text"},
            "method": method,
            "train": {"global_batch_size": 1, **changes},
        }
    )


def sizes(family: str, layers: int) -> dict[str, Any]:
    inner = {} if family == "gpt2" else {"ffn_dim": 96} if family == "opt" else {"intermediate_size": 96}
    return {**SIZES, **inner, "layers": layers, **({"word_embed_proj_dim": 64} if family == "opt" else {})}


def tuned(family: str, layers: int, method: dict[str, Any], dtype: str) -> tuple[Any, dict[str, Any]]:
    import torch
    from peft import LoraConfig, get_peft_model

    from lft.train.attention import isolate
    from lft.train.loss import attach_loss

    model = tiny_model(family, VOCABULARY, **sizes(family, layers)).to(getattr(torch, dtype))
    config = model.config.to_dict()
    isolate(model, VOCABULARY)
    attach_loss(model)
    if method.get("kind") == "full":
        return model.train(), config
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules=method.get("target_modules", ALL),
        lora_dropout=method.get("dropout", 0.0),
    )
    return get_peft_model(model, lora).train(), config


def saved_bytes(model: Any, dtype: str) -> int:
    """Bytes that one forward pass of a causal model under lft's loss keeps."""
    import torch

    ids = torch.randint(VOCABULARY, (1, TOKENS))
    autocast = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    with autocast:
        return kept_in(
            model, input_ids=ids, position_ids=torch.arange(TOKENS)[None], labels=ids, segment_lengths=(TOKENS,),
            supervised=True,
        )  # fmt: skip


def kept_in(model: Any, **inputs: Any) -> int:
    """Bytes of the storages that autograd saves in one forward pass, weights left out, each storage once."""
    import torch

    weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    held, storages = [], {}

    def pack(tensor: Any) -> Any:
        held.append(tensor)  # else its address would be used again
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(**inputs)
    return sum(storages.values())


@pytest.mark.parametrize(
    ("family", "method", "dtype"),
    [
        ("llama", {}, "float32"),
        ("llama", {"target_modules": ["q_proj", "v_proj"]}, "float32"),
        ("llama", {"dropout": 0.05}, "float32"),
        ("llama", {}, "bfloat16"),
        ("llama", {"dropout": 0.05}, "bfloat16"),
        ("llama", {"kind": "full"}, "float32"),
        ("llama", {"kind": "full"}, "bfloat16"),
        ("mistral", {}, "float32"),
        ("qwen2", {}, "float32"),
        ("qwen3", {}, "float32"),
        ("gemma", {"kind": "full"}, "float32"),
        ("opt", {}, "float32"),
        ("opt", {}, "bfloat16"),
        ("opt", {"kind": "full"}, "float32"),
        ("gpt2", {}, "float32"),
        ("gpt_neox", {}, "float32"),
        ("gpt_neox", {"kind": "full"}, "float32"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) or "lora" if isinstance(value, dict) else value,
)
def test_a_layer_keeps_the_bytes_that_autograd_keeps(family: str, method: dict[str, Any], dtype: str) -> None:
    shallow, config = tuned(family, 1, method, dtype)
    deep, _ = tuned(family, 3, method, dtype)
    measured = (saved_bytes(deep, dtype) - saved_bytes(shallow, dtype)) / 2
    setup = setup_of(recipe(method=method, dtype=dtype), shape_of(config), parse_hardware("cpu"), 1)
    assert kept_by_layer(setup, setup.shape.decoder) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("plan", ["gated-gelu", "relu"])
def test_both_sides_of_t5_keep_the_bytes_that_autograd_keeps(kind: str, plan: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import T5Config, T5ForConditionalGeneration

    def measured(encoders: int, decoders: int) -> tuple[int, Any]:
        config = T5Config(
            vocab_size=VOCABULARY, d_model=64, d_ff=96, d_kv=16, num_heads=4, num_layers=encoders,
            num_decoder_layers=decoders, feed_forward_proj=plan,
        )  # fmt: skip
        model: Any = T5ForConditionalGeneration(config)
        if kind == "lora":
            model = get_peft_model(model, LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=ALL))
        ids = torch.randint(VOCABULARY, (1, TOKENS))
        return kept_in(model.train(), input_ids=ids, decoder_input_ids=ids, use_cache=False), config

    (base, config), (encoder, _), (decoder, _) = measured(1, 1), measured(3, 1), measured(1, 3)
    setup = setup_of(recipe(method={"kind": kind}), shape_of(config.to_dict()), parse_hardware("cpu"), 1)
    for stack, more in zip(setup.shape.stacks, (encoder, decoder), strict=True):
        assert kept_by_layer(setup, stack) == pytest.approx((more - base) / 2, rel=0.03)


def llama(layers: int = 4, **changes: Any) -> Setup:
    config = {
        "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": layers,
        "num_attention_heads": 4, "intermediate_size": 128,
    }  # fmt: skip
    hardware = changes.pop("hardware", "A100-80GB")
    return setup_of(recipe(**changes), shape_of(config), parse_hardware(hardware), 1)


def test_recomputing_holds_one_layer_and_keeping_holds_all() -> None:
    from lft.plan.activations import kept_by_all

    kept, again = llama(gradient_checkpointing=False), llama(gradient_checkpointing=True)
    layer = kept_by_layer(kept, kept.shape.decoder)
    assert recomputed(kept) == 0
    assert recomputed(again) == layer
    assert kept_by_all(kept) > 4 * layer
    assert kept_by_all(again) + recomputed(again) < kept_by_all(kept)


def test_only_a_cpu_loses_freed_blocks() -> None:
    assert unreused(llama()) == 0
    assert unreused(llama(hardware="cpu", gradient_checkpointing=False)) > 0


def test_the_chunk_is_the_one_of_the_loss() -> None:
    from lft.train import loss

    assert loss.CHUNK == CHUNK


def test_the_head_of_an_encoder_decoder_sees_a_chunk_at_once_and_that_is_what_is_planned() -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from lft.train.loss import attach_loss

    length = 3 * CHUNK
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=VOCABULARY, **sizes)
    model: Any = T5ForConditionalGeneration(config)
    attach_loss(model)
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(out.numel()))
    ids = torch.randint(VOCABULARY, (1, length))
    model(input_ids=ids, decoder_input_ids=ids, labels=ids, supervised=True).loss.backward()
    assert seen == [CHUNK * VOCABULARY] * 3
    setup = setup_of(
        recipe(method={"kind": "full"}), shape_of(config.to_dict()), parse_hardware("cpu"), length // TOKENS
    )
    assert setup.tokens == length
    assert logits_at_once(setup) == 3 * 4 * CHUNK * VOCABULARY  # logits, log-probabilities and their gradient


def test_longer_rows_of_t5_never_lose_less_to_the_allocator() -> None:
    """Attention weights are kept, so they were allocated: leaving them out of that made long rows look cheap."""
    from lft.plan.configs import known_config

    shape, cpu = shape_of(known_config("google/t5-v1_1-xl") or {}), parse_hardware("cpu")
    one_row, two_rows = (setup_of(recipe(), shape, cpu, rows) for rows in (1, 2))
    longer = dataclasses.replace(one_row, row_tokens=2 * TOKENS)
    assert longer.tokens == two_rows.tokens
    assert unreused(longer) >= unreused(two_rows)
