"""A shape against the tensors that are really in the files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from lft.errors import InputError
from lft.plan.shape import ModelShape

Tensor = tuple[str, tuple[int, ...], int]  # name, shape, bits of an element
_HEADS = ("lm_head.weight", "embed_out.weight")


def with_files(shape: ModelShape, tensors: Iterable[Tensor], where: str) -> ModelShape:
    """The shape with what only the files tell: whether the head is a matrix of its own, and bits a weight.

    Raises:
        InputError: the files hold another number of parameters than config.json describes.
    """
    found = [tensor for tensor in tensors if not _buffer(tensor[0])]
    heads = [tensor for tensor in found if tensor[0] in _HEADS]
    shape = _tied_as_in_files(shape, bool(heads))
    stored = sum(math.prod(size) for _, size, _ in found)
    copies = _copies(found, shape)
    if stored - copies != shape.total:
        raise InputError(
            f"config.json describes {shape.total:,} parameters, the files hold {stored - copies:,}",
            where=where,
            fix="config.json and the weights do not belong together; fetch both again",
        )
    bits = sum(math.prod(size) * width for _, size, width in found)
    return replace(shape, file_bits=round(bits / max(stored, 1)))


def _buffer(name: str) -> bool:
    """Masks and rotary tables that old checkpoints carry."""
    parts = name.split(".")
    return (
        parts[-1] in ("inv_freq", "masked_bias")
        or parts[-2:] == ["attn", "bias"]
        or parts[-2:] == ["attention", "bias"]
    )


def _tied_as_in_files(shape: ModelShape, own_head: bool) -> ModelShape:
    """T5's configuration says tied, whatever its files hold; where both are there, both are used."""
    if not (own_head and shape.tied and shape.encoder_decoder):
        return shape
    head = shape.vocabulary * shape.embedding_width
    return replace(shape, tied=False, parts=replace(shape.parts, head=head))


def _copies(tensors: list[Tensor], shape: ModelShape) -> int:
    """Elements of tied matrices that are stored twice."""
    named = {name: math.prod(size) for name, size, _ in tensors}
    again = sum(named.get(name, 0) for name in _HEADS) if shape.tied else 0
    if "shared.weight" in named:
        again += sum(named.get(f"{side}.embed_tokens.weight", 0) for side in ("encoder", "decoder"))
    return again
