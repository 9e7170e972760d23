"""Memory by part: each engine, quantisation and optimizer takes what it should and from where it should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.plan.configs import known_config
from lft.plan.families import shape_of
from lft.plan.hardware import GIB, parse_hardware
from lft.plan.memory import Memory, adapter_bytes, base_bytes, memory_of, moments, optimizer_bytes
from lft.plan.setup import Setup, setup_of
from lft.plan.shape import ModelShape
from lft.recipe.schema import Recipe


def known(name: str) -> ModelShape:
    return shape_of(known_config(name) or {})


LLAMA = known("huggyllama/llama-7b")


def setup(hardware: str = "A100-80GB", nodes: int = 1, micro: int = 1, shape: ModelShape = LLAMA, **keys: Any) -> Setup:
    """A setup from dotted recipe keys, with __ for the dot."""
    sections: dict[str, dict[str, Any]] = {
        "base": {"model": "m"}, "data": {"train": "d", "eoi": "text"}, "method": {}, "launch": {},
        "train": {"global_batch_size": 128},
    }  # fmt: skip
    for key, value in keys.items():
        section, name = key.split("__")
        sections[section][name] = value
    return setup_of(Recipe.model_validate({"name": "x", **sections}), shape, parse_hardware(hardware, nodes), micro)


def memory(*given: Any, **keys: Any) -> Memory:
    return memory_of(setup(*given, **keys))


def test_lora_on_7b_fits_a_24_gb_card_and_full_takes_eight_bytes_a_parameter() -> None:
    assert 14 * GIB < memory().total < 18 * GIB
    full = memory(method__kind="full", base__dtype="bfloat16")
    assert full.weights + full.gradients == 4 * LLAMA.total
    assert full.optimizer == 6 * LLAMA.total  # two states and AdamW's scratch, all in bfloat16
    assert full.moment == "optimizer step"


def test_full_fine_tuning_keeps_float32_weights_where_nobody_else_does() -> None:
    auto = memory(method__kind="full")
    assert (auto.weights, auto.gradients, auto.optimizer) == tuple(n * LLAMA.total for n in (4, 4, 12))
    sharded = memory("8xA100-80GB", method__kind="full", launch__engine="zero2")
    assert sharded.weights == 2 * LLAMA.total


def test_autocast_copies_float32_weights() -> None:
    mixed, pure = setup(method__kind="full"), setup(method__kind="full", base__dtype="bfloat16")
    more = moments(mixed)[0].activations - moments(pure)[0].activations
    assert more == pytest.approx(2 * LLAMA.quantizable, rel=0.05)


def test_four_bits_are_four_bits_and_a_little() -> None:
    linear, rest = LLAMA.quantizable, LLAMA.total - LLAMA.quantizable
    double = base_bytes(setup(base__quantize="nf4")) - 2 * rest
    single = base_bytes(setup(base__quantize="nf4", base__double_quant=False)) - 2 * rest
    assert 8 * double / linear == pytest.approx(4.127, abs=1e-3)  # QLoRA, section 3
    assert 8 * single / linear == pytest.approx(4.5)
    assert 8 * (base_bytes(setup(base__quantize="int8")) - 2 * rest) / linear == pytest.approx(8.0, abs=0.01)


def test_quantised_weights_take_what_bitsandbytes_takes() -> None:
    """Counted on a real model: bytes of all weights and of the constants beside them."""
    import torch

    bitsandbytes = pytest.importorskip("bitsandbytes")
    weight = torch.randn(512, 1024)
    layer = bitsandbytes.nn.Linear4bit(1024, 512, bias=False, compress_statistics=True, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
    layer = layer.to("cpu")
    state = layer.weight.quant_state
    held = [layer.weight, state.absmax, state.state2.absmax]
    measured = sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert measured == pytest.approx(512 * 1024 * (0.5 + 1 / 64 + 4 / (64 * 256)), rel=0.01)


def test_an_adapter_is_float32_and_adam_holds_two_more_of_it() -> None:
    one = setup()
    assert adapter_bytes(one) == 4 * one.trainable.total
    assert optimizer_bytes(one) == 8 * one.trainable.total


def test_optimizers_differ_in_what_they_hold() -> None:
    held = {
        name: optimizer_bytes(setup(method__kind="full", train__optimizer=name, base__dtype="bfloat16")) / LLAMA.total
        for name in ("adamw", "paged_adamw", "adamw_8bit", "lion", "lion_8bit", "adafactor")
    }
    assert held["adamw"] == 4
    assert held["paged_adamw"] == 8  # bitsandbytes' 32 bit states are float32 whatever the weights are
    assert held["lion"] == 4
    assert 2 < held["adamw_8bit"] < 2.1
    assert 1 < held["lion_8bit"] < 1.1
    assert held["adafactor"] < 0.1


def test_zero_spreads_what_its_stage_says() -> None:
    engines = ("ddp", "zero1", "zero2", "zero3", "zero3-offload")
    full = {"method__kind": "full", "base__dtype": "bfloat16"}
    found = {e: memory("8xA100-80GB", **full, launch__engine=e) for e in engines}
    whole = {e: setup("8xA100-80GB", **full, launch__engine=e) for e in engines}
    assert found["zero1"].weights == found["ddp"].weights == 2 * LLAMA.total
    assert optimizer_bytes(whole["zero1"]) == 12 * LLAMA.total  # two float32 states and the master copy
    assert optimizer_bytes(whole["ddp"]) == 4 * LLAMA.total  # and without DeepSpeed in the weights' own dtype
    assert found["zero3"].weights * 8 == pytest.approx(2 * LLAMA.total, rel=1e-6)
    assert found["zero3-offload"].weights == 0
    assert found["zero3-offload"].host > 14 * LLAMA.total
    assert found["zero2"].host == 0
    assert found["zero3"].host > 8 * 2 * LLAMA.total  # each process loads the whole base first


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(1, 4), st.sampled_from(["full", "lora"]))
def test_more_devices_never_take_more_under_zero3(gpus: int, nodes: int, kind: str) -> None:
    keys = {"method__kind": kind, "launch__engine": "zero3", "train__global_batch_size": 512}
    fewer, more = memory(f"{gpus}xH100", nodes, **keys), memory(f"{2 * gpus}xH100", nodes, **keys)
    assert more.total - more.framework <= fewer.total - fewer.framework


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(7, 12), st.booleans(), st.sampled_from([None, "nf4"]))
def test_more_tokens_take_more_and_recomputing_takes_less(
    micro: int, power: int, recompute: bool, quantize: str | None
) -> None:
    keys = {"data__max_length": 2**power, "train__gradient_checkpointing": recompute, "base__quantize": quantize}
    now = memory(micro=micro, **keys)
    assert memory(micro=2 * micro, **keys).total > now.total
    assert memory(micro=micro, **{**keys, "data__max_length": 2 ** (power + 1)}).total > now.total
    assert memory(micro=micro, **{**keys, "train__gradient_checkpointing": True}).total <= now.total


def test_attention_is_linear_in_length_unless_its_scores_are_written_out() -> None:
    gemma = known("google/gemma-2-2b")

    def activations(shape: ModelShape, length: int) -> int:
        kept = {"train__gradient_checkpointing": False, "data__max_length": length}
        return moments(setup(shape=shape, **kept))[0].activations

    assert activations(LLAMA, 4096) == pytest.approx(2 * activations(LLAMA, 2048), rel=1e-3)
    assert activations(gemma, 4096) > 2.5 * activations(gemma, 2048)


def test_gradients_are_held_over_passes_only_when_there_are_several() -> None:
    full = {"method__kind": "full", "base__dtype": "bfloat16"}
    once = moments(setup(**full, train__global_batch_size=1))[0]
    often = moments(setup(**full, train__global_batch_size=2))[0]
    assert once.gradients == 0
    assert often.gradients == 2 * LLAMA.total


def test_the_total_is_the_sum_of_what_is_shown() -> None:
    one = memory("4xH100", launch__engine="zero2", base__quantize="nf4")
    shown = (one.weights, one.gradients, one.optimizer, one.activations, one.loss, one.buffers, one.allocator)
    assert one.total == sum(shown) + one.framework


def test_a_device_is_not_filled_to_the_brim() -> None:
    one = memory()
    assert one.fits(None)
    assert one.fits(int(one.total * 1.1))
    assert not one.fits(int(one.total * 1.01))
    offloaded = memory("8xA100-80GB", method__kind="full", launch__engine="zero3-offload")
    assert offloaded.fits(80 * GIB)
    assert not offloaded.fits(80 * GIB, host=64 * GIB)


@pytest.mark.parametrize("name", ["google/t5-v1_1-xl", "facebook/opt-350m", "google/gemma-2-9b"])
@pytest.mark.parametrize("kind", ["full", "lora", "dora", "ia3", "prompt_tuning", "boft"])
def test_every_family_and_method_has_a_figure(name: str, kind: str) -> None:
    assert memory(shape=known(name), method__kind=kind).total > 0
