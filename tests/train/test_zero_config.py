"""The configuration that lft gives DeepSpeed, read by DeepSpeed itself: it means what the recipe says."""

from __future__ import annotations

from typing import Any

import pytest

from lft.plan.engines import BUCKET
from lft.recipe.schema import Launch
from lft.train import zero
from lft.train.zero import STAGES, build_engine, deepspeed_config

pytest.importorskip("deepspeed")
# What transformers puts in the place of "auto".
FILLED = {
    "train_batch_size": 8, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4,
    "gradient_clipping": 1.0, "enabled": False, "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0,
}  # fmt: skip


def read(engine: str, trained: int = 1000, universal: bool = False) -> Any:
    """DeepSpeed's own object for an engine's configuration."""
    from deepspeed.runtime.config import DeepSpeedConfig

    return DeepSpeedConfig(filled(deepspeed_config(Launch(engine=engine), trained, universal)))  # type: ignore[arg-type]


def filled(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    return {key: FILLED[key] if value == "auto" else filled(value) for key, value in config.items()}


@pytest.mark.parametrize("engine", STAGES)
def test_deepspeed_reads_the_stage_that_the_engine_names(engine: str) -> None:
    config = read(engine)
    assert config.zero_config.stage == STAGES[engine]
    assert config.gradient_accumulation_steps == 4
    assert not config.zero_config.memory_efficient_linear or config.zero_config.stage < 3
    assert config.zero_config.gather_16bit_weights_on_model_save == (config.zero_config.stage == 3)


@pytest.mark.parametrize("engine", ["none", "ddp"])
def test_without_deepspeed_there_is_no_configuration(engine: str) -> None:
    assert deepspeed_config(Launch(engine=engine), 1000) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("cpu", [True, False])
def test_offloading_puts_weights_and_optimizer_in_the_hosts_memory_pinned_for_a_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, cpu: bool
) -> None:
    monkeypatch.setattr(zero, "on_cpu", lambda: cpu)
    config = read("zero3-offload")
    for part in (config.zero_config.offload_optimizer, config.zero_config.offload_param):
        assert part.device == "cpu"
        assert part.pin_memory == (not cpu)
    assert config.optimizer_name == "adamw"  # named, so DeepSpeed takes its own for the CPU
    assert config.optimizer_params["betas"] == [0.9, 0.999]
    assert config.zero_config.offload_optimizer.ratio == 1.0


@pytest.mark.parametrize("engine", ["zero1", "zero2", "zero3"])
def test_what_is_not_offloaded_stays_on_the_device(engine: str) -> None:
    config = read(engine)
    assert config.zero_config.offload_optimizer is None
    assert config.zero_config.offload_param is None
    assert config.optimizer_name is None  # the trainer's


@pytest.mark.parametrize("engine", STAGES)
@pytest.mark.parametrize(("trained", "bucket"), [(1000, 1000), (0, 1), (7_000_000_000, BUCKET)])
def test_the_bucket_is_no_larger_than_what_is_trained(engine: str, trained: int, bucket: int) -> None:
    """DeepSpeed allocates it whole; its default is 2 GB of float32."""
    assert read(engine, trained).zero_config.reduce_bucket_size == bucket


@pytest.mark.parametrize("universal", [True, False])
def test_a_converted_checkpoint_is_announced(universal: bool) -> None:
    assert read("zero3", universal=universal).load_universal_checkpoint is universal


@pytest.mark.parametrize(
    ("engine", "device", "parts"),
    [
        ("ddp", "cpu", []),
        ("zero2", "cpu", ["ShareMemCommBuilder"]),
        ("zero3-offload", "cpu", ["ShareMemCommBuilder", "CPUAdamBuilder"]),
        ("zero3", "cuda", []),
        ("zero3-offload", "cuda", ["CPUAdamBuilder"]),
    ],
)
def test_what_deepspeed_compiles_is_built_before_the_run(
    monkeypatch: pytest.MonkeyPatch, engine: str, device: str, parts: list[str]
) -> None:
    """Also for one process; left to DeepSpeed, it would be built without a limit in the middle of the run."""
    built: list[str] = []
    monkeypatch.setattr(zero, "build", lambda part, _: built.append(part))
    monkeypatch.setattr(zero, "on_cpu", lambda: device == "cpu")
    build_engine(Launch(engine=engine), lambda _: None)  # type: ignore[arg-type]
    assert built == parts
