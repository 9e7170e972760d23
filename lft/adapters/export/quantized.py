"""The base as a quantized training saw it, one matrix at a time: what an adapter of a QLoRA was fitted to.

Merging such an adapter into the stored weights adds the rounding q = W - dequantized(W), which it never saw; merging it
into the dequantized weights gives what training ended with, on a slightly worse base. Neither is right for all models
(registry research 2.6), so it is chosen, and |q| / |change| is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from lft.adapters.cover import base_tensors
from lft.adapters.export.edits import Seen
from lft.base.binding import Binding
from lft.base.quantize import require_bitsandbytes
from lft.errors import InputError

Start = Literal["trained", "original"]


def seen_by(binding: Binding, base: Path, start: Start = "trained") -> Seen | None:
    """How the training of an adapter saw its base; None where it was not quantized.

    Args:
        binding: the adapter's.
        base: the base's folder, unquantized.
        start: merge into that, or into the original and tell how the two compare.

    Raises:
        MachineError: bitsandbytes is missing.
    """
    if binding.quantize is None:
        return None
    require_bitsandbytes(f"the base as it was in training ({binding.quantize})")
    kind, double = binding.quantize, binding.double_quant
    return Seen(_quantized_names(base), lambda matrix: dequantized(matrix, kind, double), start == "trained")


def dequantized(matrix: torch.Tensor, kind: str | None, double_quant: bool) -> torch.Tensor:
    """A matrix quantized by bitsandbytes and put back to float32. It holds three float32 copies while it works."""
    import bitsandbytes.functional as bits

    values = matrix.float().contiguous()
    if kind == "int8":
        codes, scales, _ = bits.int8_vectorwise_quant(values.half())
        back: torch.Tensor = bits.int8_vectorwise_dequant(codes, scales)
        return back.float()
    codes, state = bits.quantize_4bit(values, quant_type=str(kind), compress_statistics=double_quant)
    found: torch.Tensor = bits.dequantize_4bit(codes, state)
    return found.float().view(matrix.shape)


def _quantized_names(base: Path) -> frozenset[str]:
    """The stored names of the matrices that transformers hands to bitsandbytes: linear layers, but for the head."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    config: Any = AutoConfig.from_pretrained(base, local_files_only=True)
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    if any(isinstance(module, Conv1D) for module in model.modules()):
        raise InputError(
            "the quantized form of this family's transposed layers is not rebuilt here",
            where=str(base),
            fix="--merge-base original",
        )
    kept, tensors = get_keys_to_not_convert(model), base_tensors(base)
    names = (
        tensors.stored(f"{name}.weight")
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and should_convert_module(name, kept)
    )
    return frozenset(name for name in names if name is not None)
