"""The frozen base in 4 or 8 bit with bitsandbytes, the same on CPU and CUDA."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lft.base.device import Placement
from lft.errors import InputError, MachineError, RecipeError
from lft.recipe.schema import Base

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the linear layers of a base are stored; embeddings, norms and the head keep their precision.

    ``double_quant`` and ``compute_dtype`` (a torch dtype's name) are for nf4 and fp4; int8 computes as it must.
    """

    kind: Literal["nf4", "fp4", "int8"]
    double_quant: bool
    compute_dtype: str

    def __str__(self) -> str:
        if self.kind == "int8":
            return "int8"
        return f"{self.kind}{', double quantization' if self.double_quant else ''}, computed in {self.compute_dtype}"

    def config(self) -> BitsAndBytesConfig:
        """What transformers loads with; each field is said, because it accepts a wrong quantization type in silence."""
        import torch
        from transformers import BitsAndBytesConfig

        if self.kind == "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.kind,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=getattr(torch, self.compute_dtype),
        )


def quantization(base: Base, placement: Placement) -> Quantization | None:
    """What the recipe's ``base.quantize`` means on this machine; None loads the base as it is.

    Raises:
        RecipeError: float16 on a CPU, 32 times slower than float32 there.
        MachineError: bitsandbytes is not installed.
    """
    if base.quantize is None:
        return None
    auto = str(placement.dtype).removeprefix("torch.")
    compute = auto if base.compute_dtype == "auto" else base.compute_dtype
    if placement.device == "cpu" and compute == "float16" and base.quantize != "int8":
        raise RecipeError(
            "base.compute_dtype float16 is 32 times slower than float32 on a CPU",
            where="base.compute_dtype",
            fix="write auto, float32 or bfloat16",
        )
    require_bitsandbytes(f"base.quantize {base.quantize}")
    return Quantization(base.quantize, base.double_quant, compute)


def require_bitsandbytes(what: str) -> None:
    """Raises MachineError when bitsandbytes is missing; ``what`` needs it."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MachineError(f"{what} needs bitsandbytes", fix="pip install 'lft[bitsandbytes]'")


def is_quantized(model: Any) -> bool:
    """Whether a model's linear layers are bitsandbytes'."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


def settle(model: Any) -> None:
    """Keep bitsandbytes from changing the 4-bit weights of a model while it is used.

    On CPUs with AVX512-BF16 a forward in eval mode repacks them in place with constants rounded to bfloat16 and then
    computes in bfloat16: an evaluation between two steps would change the model that is trained, and layers narrower
    than 64 fail. The other path is exact and the same on every CPU.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def require_quantized(model: Any, wanted: Quantization, where: str) -> None:
    """Raise InputError unless layers were quantized; transformers leaves what it does not know as it was."""
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    kind = Linear8bitLt if wanted.kind == "int8" else Linear4bit
    if not any(isinstance(module, kind) for module in model.modules()):
        raise InputError(
            f"no layer of {type(model).__name__} could be quantized to {wanted.kind}",
            where=where,
            fix="remove base.quantize; transformers quantizes plain linear layers only",
        )


@contextmanager
def kept_precision(model: Any) -> Iterator[None]:
    """Trained weights leave the block with the very numbers and dtype they came in with.

    TRL's trainer casts them to bfloat16 in its constructor when the base is quantized; AdamW's steps are then lost to
    rounding. The tensors of before are put back, so nothing is rounded on the way.
    """
    before = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data.to(parameter.device)
