"""Safetensors files written byte by byte, so that tests can write wrong ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Raw:
    """A tensor as it lies in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def header_of(tensors: Sequence[Raw]) -> dict[str, dict[str, object]]:
    """The header of tensors in this order."""
    header: dict[str, dict[str, object]] = {}
    at = 0
    for t in tensors:
        header[t.name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    return header


def write_raw(file: Path, header: dict | str, data: bytes) -> Path:
    """A file with this header, whatever it says, and this data."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return file


def write_tensors(file: Path, tensors: Sequence[Raw]) -> Path:
    """A correct file."""
    return write_raw(file, header_of(tensors), b"".join(t.data for t in tensors))


def write_sharded(folder: Path, shards: Sequence[Sequence[Raw]]) -> Path:
    """A correct sharded model: an index and its shards."""
    weight_map = {}
    for number, tensors in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors(folder / name, tensors)
        weight_map |= {t.name: name for t in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder
