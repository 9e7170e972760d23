"""DeepSpeed holds what the plan counts (``lft.plan.engines``): by two processes on a CPU, in float32."""

from __future__ import annotations

from typing import Any

import pytest

from lft.recipe.schema import Launch
from lft.train.zero import deepspeed_config, join_deepspeed
from tests.forks import together

SIZE = 512  # of a square matrix: large enough to be taken apart


def numbers(world: Any, engine: str) -> dict[str, int]:
    """Elements that DeepSpeed holds of one matrix and its bias, before the first step."""
    import deepspeed
    import torch

    join_deepspeed("cpu")
    model = torch.nn.Linear(SIZE, SIZE)
    trained = sum(parameter.numel() for parameter in model.parameters())
    config = {
        key: value
        for key, value in (deepspeed_config(Launch(engine=engine), trained) or {}).items()  # type: ignore[arg-type]
        if key in ("zero_optimization", "checkpoint")
    }
    optimizer = torch.optim.AdamW(model.parameters())
    made, inner, _, _ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={**config, "train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True},
    )
    copies = inner.fp32_partitioned_groups_flat if engine == "zero3" else inner.single_partition_of_fp32_groups
    weights = {parameter.untyped_storage().data_ptr() for parameter in made.module.parameters()}
    weights |= {flat.untyped_storage().data_ptr() for flat in getattr(inner, "fp16_partitioned_groups_flat", ())}
    made.backward(made(torch.ones(1, SIZE)).sum())
    buckets = [bucket.buffer for bucket in inner.ipg_buckets.values()]
    flat = getattr(inner, "grad_partitions_flat_buffer", None)
    return {
        "trained": trained,
        "copy": sum(one.numel() for one in copies if one.untyped_storage().data_ptr() not in weights),
        "bucket": sum(one.numel() for one in buckets) if engine == "zero3" else sum(map(len, buckets)),
        "flat": 0 if flat is None else flat.numel(),
    }


@pytest.mark.parametrize("engine", ["zero1", "zero2", "zero3"])
def test_deepspeed_holds_what_the_plan_counts(engine: str) -> None:
    """A copy of each device's part, also of float32; ZeRO-3's bucket and gradients stay, other stages' bucket goes."""
    found = together(numbers, 2, engine)[0]
    assert found["copy"] == pytest.approx(found["trained"] / 2, rel=1e-2)
    assert found["bucket"] == (found["trained"] if engine == "zero3" else 0)
    assert found["flat"] == pytest.approx(found["trained"] / 2 if engine == "zero3" else 0, rel=1e-2)
