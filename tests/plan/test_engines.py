"""What an engine holds beside the model, by the moment of a step (tests/train/test_zero_held.py asks DeepSpeed)."""

from __future__ import annotations

from typing import Any

import pytest

from lft.plan.configs import known_config
from lft.plan.engines import BUCKET, Moments, bucket_elements, held_by_engine
from lft.plan.families import shape_of
from lft.plan.hardware import parse_hardware
from lft.plan.memory import base_bytes, memory_of, moments, optimizer_bytes
from lft.plan.setup import Setup, setup_of
from lft.recipe.schema import Recipe

LLAMA = shape_of(known_config("huggyllama/llama-7b") or {})
N = LLAMA.total  # parameters; gradients are of two bytes each
ENGINES = ("zero1", "zero2", "zero3", "zero3-offload")


def setup(engine: str, hardware: str = "8xA100-80GB", *, kind: str = "full", passes: int = 1) -> Setup:
    """One row a pass, so many passes a step."""
    fleet = parse_hardware(hardware)
    sections: dict[str, Any] = {
        "base": {"model": "m", "dtype": "bfloat16"},
        "data": {"train": "d", "eoi": "text"},
        "method": {"kind": kind},
        "train": {"global_batch_size": fleet.world * passes},
        "launch": {"engine": engine},
    }
    return setup_of(Recipe.model_validate({"name": "x", **sections}), LLAMA, fleet, 1)


def held(engine: str, hardware: str = "8xA100-80GB", **keys: Any) -> Moments:
    chosen = setup(engine, hardware, **keys)
    return held_by_engine(chosen, base_bytes(chosen))


def test_ddp_holds_each_gradient_twice() -> None:
    assert held("ddp").end.gradients + held("ddp").end.buffers == 2 * held("none", "A100-80GB").end.gradients == 4 * N


def test_each_stage_of_zero_spreads_more() -> None:
    at_end = {engine: held(engine).end.gradients for engine in ENGINES}
    assert at_end["zero1"] == 2 * N
    assert at_end["zero3"] == pytest.approx(2 * N / 8)
    assert at_end["zero2"] == pytest.approx(2 * (N - BUCKET) / 8)  # what is still in the bucket is in parts afterwards
    for engine in ("zero1", "zero2", "zero3"):
        assert held(engine).step.gradients == pytest.approx((2 + 4) * N / 8)  # the optimizer's are float32


def test_only_what_is_summed_over_passes_is_there_before_the_backward_pass() -> None:
    for engine, kept in {"none": N, "zero1": N, "zero2": N / 8}.items():
        hardware = "A100-80GB" if engine == "none" else "8xA100-80GB"
        assert held(engine, hardware).loss.gradients == 0
        assert held(engine, hardware, passes=2).loss.gradients == pytest.approx(2 * kept)
    assert held("zero3").loss.gradients == pytest.approx(2 * N / 8)  # its buffer is there from the beginning


def test_the_bucket_is_as_large_as_what_is_trained_and_never_above_the_default() -> None:
    adapter = setup("zero2", kind="lora").trainable.total
    assert bucket_elements(adapter) == adapter
    assert bucket_elements(N) == BUCKET
    assert held("zero2").end.buffers == 2 * 2 * BUCKET  # and flattened once more, to be reduced
    assert held("zero2", kind="lora").end.buffers == 2 * 4 * adapter
    assert held("zero2").loss.buffers == 0


def test_gloo_needs_one_more_copy_to_scatter() -> None:
    gpu, cpu = held("zero3"), held("zero3", "8xcpu")
    assert cpu.end.buffers - gpu.end.buffers == 2 * BUCKET
    assert cpu.start == gpu.start


def test_deepspeed_steps_on_a_float32_copy_also_of_float32_weights() -> None:
    one = setup("zero2", kind="lora")
    assert optimizer_bytes(one) == 12 * one.trainable.total
    assert optimizer_bytes(setup("ddp", kind="lora")) == 8 * one.trainable.total


def test_offloading_on_a_cpu_moves_nothing() -> None:
    offloaded, plain = (memory_of(setup(engine, "2xcpu")) for engine in ("zero3-offload", "zero3"))
    assert offloaded.weights == plain.weights > 0
    assert offloaded.total >= plain.total
    on_a_gpu = memory_of(setup("zero3-offload"))
    assert on_a_gpu.weights == on_a_gpu.optimizer == held("zero3-offload").end.gradients == 0 < on_a_gpu.host


def test_a_cpus_heap_keeps_what_the_backward_pass_frees() -> None:
    _, _, end, _ = moments(setup("ddp", "2xcpu"))
    loss, _, _, _ = moments(setup("ddp", "2xcpu"))
    assert end.allocator - loss.allocator == loss.activations
    assert all(moment.allocator == 0 for moment in moments(setup("ddp")))
