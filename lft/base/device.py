"""Where the weights go and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft.errors import RecipeError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, a dtype and why, in words to print."""

    device: str
    dtype: torch.dtype
    reason: str


def device_and_dtype(base_dtype: str) -> Placement:
    """The device of this machine and the dtype that ``base.dtype`` means on it.

    Raises RecipeError for float16 on a CPU, where it is slow and overflows.
    """
    import torch

    if not torch.cuda.is_available():
        return _on_cpu(base_dtype)
    # Without emulation: older cards compute bfloat16 in software, slower than float32.
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    name = torch.cuda.get_device_name()
    if base_dtype == "auto":
        dtype = torch.bfloat16 if fast else torch.float32
        return Placement("cuda", dtype, f"{name} {'computes' if fast else 'does not compute'} bfloat16 fast")
    if base_dtype == "bfloat16" and not fast:
        return Placement(
            "cuda", torch.bfloat16, f"the recipe says bfloat16, which {name} only emulates: expect it to be slow"
        )
    return Placement("cuda", getattr(torch, base_dtype), f"the recipe says {base_dtype}")


def _on_cpu(base_dtype: str) -> Placement:
    import torch

    if base_dtype == "float16":
        raise RecipeError(
            "base.dtype float16 does not train on a CPU", where="base.dtype", fix="write auto, float32 or bfloat16"
        )
    if base_dtype == "auto":
        return Placement("cpu", torch.float32, "no GPU; a CPU computes float32 fastest")
    return Placement("cpu", getattr(torch, base_dtype), f"no GPU; the recipe says {base_dtype}")
