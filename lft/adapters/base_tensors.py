"""A base's tensors by the names that adapters have for them, read from its files one at a time."""

from __future__ import annotations

from pathlib import Path

import torch

from lft.adapters import cover
from lft.adapters.deltas import Base
from lft.adapters.tensors import read_tensor
from lft.base.headers import read_headers


def base_tensors(folder: Path) -> Base:
    """A function from a tensor's name to its numbers in float32; None where the base has no such tensor.

    Raises:
        InputError: the base's files are missing or damaged.
    """
    shapes, known = cover.base_tensors(folder), {tensor.name: tensor for tensor in read_headers(folder)}

    def read(name: str) -> torch.Tensor | None:
        stored = shapes.stored(name)
        return None if stored is None else read_tensor(known[stored])

    return read
