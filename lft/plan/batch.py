"""The batch equation: micro x accumulation x devices = global."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lft.errors import RecipeError
from lft.recipe.schema import Recipe

# Tokens per device and pass that `micro_batch_size: auto` aims at. On a CPU longer rows gain nothing; on a 24 GB GPU
# it is one row of 2,048 tokens for a 7B model.
AUTO_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How one optimizer step is made of passes.

    ``global_rows`` is what the recipe promises and never changes with the hardware.
    """

    global_rows: int
    micro_rows: int
    accumulation: int
    devices: int

    def __str__(self) -> str:
        return (
            f"{self.micro_rows} micro x {self.accumulation} accumulation x {self.devices} device"
            f"{'s' if self.devices > 1 else ''} = {self.global_rows} global"
        )


def batch_plan(recipe: Recipe, auto: int | None = None) -> BatchPlan:
    """Derive micro batch and accumulation from ``global_batch_size``.

    Args:
        recipe: a checked recipe.
        auto: what ``micro_batch_size: auto`` means where the hardware is known (``fit.auto_micro_batch``); without it,
            rows of about 2,048 tokens in all.

    Raises:
        RecipeError: the global batch cannot be divided over the devices and the micro batch.
    """
    train, devices = recipe.train, recipe.launch.gpus * recipe.launch.nodes
    per_device, rest = divmod(train.global_batch_size, devices)
    if rest or not per_device:
        raise RecipeError(
            f"train.global_batch_size {train.global_batch_size} cannot be divided over {devices} devices",
            fix=f"use a multiple of {devices}",
        )
    micro = train.micro_batch_size
    if micro == "auto":
        micro = auto or auto_without_hardware(per_device, recipe.data.max_length)
    if per_device % micro:
        raise RecipeError(
            f"train.micro_batch_size {micro} does not divide the {per_device} sequences of one device",
            fix=f"use one of {', '.join(str(d) for d in divisors(per_device))}, or auto",
        )
    return BatchPlan(train.global_batch_size, micro, per_device // micro, devices)


def auto_without_hardware(per_device: int, max_length: int) -> int:
    """Rows a pass where nothing is known of the device: a divisor that keeps to about 2,048 tokens."""
    wanted = max(1, AUTO_TOKENS // max_length)
    return max(divisor for divisor in divisors(per_device) if divisor <= wanted)


def divisors(number: int) -> list[int]:
    """All divisors of a number, in order."""
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*low, *(number // n for n in low)})
