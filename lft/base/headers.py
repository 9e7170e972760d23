"""Safetensors headers, read without torch and checked before any library sees the file.

The format: 8 bytes (little-endian length of the header), the header (JSON: name -> dtype, shape, data_offsets), then
the tensors' bytes without gaps.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.files import read_json, unique_keys
from lft.errors import InputError

HEADER_CAP = 100_000_000  # the library's own limit
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LFS_POINTER = b"version https://git-lfs"
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
_AGAIN = "fetch the file again"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may hold; the default is whatever the library would read.

    ``header_bytes`` is looked at before the header is read, ``tensors`` before any of them is. ``name`` is a pattern
    for a whole name; ``positive`` refuses a dimension of zero, behind which another may be of any length.
    """

    header_bytes: int = HEADER_CAP
    tensors: int | None = None
    name_length: int | None = None
    name: re.Pattern[str] | None = None
    dtypes: frozenset[str] = frozenset(BITS)
    positive: bool = False


ANY = Limits()


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: ``start`` and ``end`` are byte offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def read_headers(folder: Path) -> list[TensorInfo]:
    """All tensors of a model folder, single or sharded. Raises InputError for anything incomplete or damaged."""
    if (folder / SINGLE).exists():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).exists():
        raise InputError(f"no {SINGLE} and no {INDEX}", where=str(folder), fix=_without_safetensors(folder))
    weight_map = _weight_map(folder / INDEX)
    tensors: dict[str, TensorInfo] = {}
    for name in sorted(set(weight_map.values())):
        for tensor in read_header(folder / name):
            if tensor.name in tensors:
                other = tensors[tensor.name].file.name
                raise InputError(f"tensor {tensor.name!r} is in {name} and in {other}", where=str(folder))
            tensors[tensor.name] = tensor
    _compare(folder / INDEX, weight_map, tensors)
    return list(tensors.values())


def _without_safetensors(folder: Path) -> str:
    pickled = sorted(p.name for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(suffix))
    if pickled:
        return (
            f"{pickled[0]} is a pickle, which can run code when it is opened and is never read here; "
            "use a safetensors version of the model"
        )
    return "give a folder with the weights as safetensors"


def _weight_map(index: Path) -> dict[str, str]:
    """The index's map from tensor to shard, each shard a file that lies beside the index."""
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise InputError(
            "weight_map is missing or is not a map from tensor names to files", where=str(index), fix=_AGAIN
        )
    shards = sorted(set(weight_map.values()))
    for name in shards:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(
                f"the shard name {name!r} is not a plain .safetensors file name",
                where=str(index),
                fix="do not use this model",
            )
    absent = [name for name in shards if not (index.parent / name).exists()]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(shards)} shards are missing: {', '.join(absent[:3])}",
            where=str(index),
            fix="fetch the missing shards",
        )
    return weight_map


def _compare(index: Path, weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> None:
    for name, shard in weight_map.items():
        if name not in tensors or tensors[name].file.name != shard:
            raise InputError(
                f"tensor {name!r} is not in {shard}, where the index says it is", where=str(index), fix=_AGAIN
            )
    extra = sorted(set(tensors) - set(weight_map))
    if extra:
        shard = tensors[extra[0]].file.name
        raise InputError(f"tensor {extra[0]!r} in {shard} is not named by the index", where=str(index), fix=_AGAIN)


def read_header(file: Path, limits: Limits = ANY) -> list[TensorInfo]:
    """The tensors of one safetensors file, in the order of their bytes.

    Raises InputError unless it is whole and within the limits.
    """
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            first = opened.read(len(LFS_POINTER))
            if first == LFS_POINTER:
                raise InputError(
                    "this is a git-lfs pointer, not the weights",
                    where=str(file),
                    fix="run `git lfs pull` in its repository",
                )
            length = int.from_bytes(first[:8], "little")
            if size < 8 or length > size - 8:
                raise InputError(
                    "truncated or not a safetensors file: the header does not fit", where=str(file), fix=_AGAIN
                )
            if length > limits.header_bytes:
                raise InputError(
                    f"the header claims {length} bytes; {limits.header_bytes} are allowed", where=str(file)
                )
            opened.seek(8)
            text = opened.read(length)
    except OSError as error:
        raise InputError(f"cannot read the file ({error.strerror})", where=str(file)) from error
    entries = _entries(file, text)
    _require_within(entries, limits, file)
    tensors = [_tensor(file, name, entry, 8 + length) for name, entry in entries.items()]
    for tensor in tensors:
        _require_allowed(tensor, limits)
    return _contiguous(file, sorted(tensors, key=lambda t: (t.start, t.end)), 8 + length, size)


def _entries(file: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a safetensors file: the header is not valid JSON ({error})", where=str(file)) from error
    if not isinstance(header, dict):
        raise InputError("not a safetensors file: the header is not a map", where=str(file))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError("not a safetensors file: its metadata is not a map of texts", where=str(file))
    return header


def _require_within(entries: Mapping[str, Any], limits: Limits, file: Path) -> None:
    """Raise InputError for too many names, or one that no honest writer gives."""
    if limits.tensors is not None and len(entries) > limits.tensors:
        raise InputError(f"{len(entries):,} tensors; {limits.tensors:,} are allowed", where=str(file))
    for name in entries:
        if limits.name_length is not None and len(name) > limits.name_length:
            what = f"a tensor name of {len(name):,} characters ({name[:40]!r} ...); {limits.name_length} are allowed"
            raise InputError(what, where=str(file))
        if limits.name is not None and not limits.name.fullmatch(name):
            raise InputError(f"the tensor name {name!r} is no name of a module or parameter", where=str(file))


def _require_allowed(tensor: TensorInfo, limits: Limits) -> None:
    if tensor.dtype not in limits.dtypes:
        allowed = ", ".join(dtype for dtype in BITS if dtype in limits.dtypes)
        raise InputError(f"tensor {tensor.name!r} is {tensor.dtype}; allowed are {allowed}", where=str(tensor.file))
    if limits.positive and 0 in tensor.shape:
        raise InputError(f"tensor {tensor.name!r} is empty: its shape is {tensor.shape}", where=str(tensor.file))


def _tensor(file: Path, name: str, entry: Any, base: int) -> TensorInfo:
    where = f"{file}: tensor {name!r}"
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if dtype not in BITS:
        raise InputError(f"unknown dtype {dtype!r}", where=where)
    lengths, places = _naturals(shape), _naturals(offsets)
    if lengths is None or places is None or len(places) != 2:
        raise InputError("shape or data_offsets are not lists of non-negative integers", where=where)
    start, end = places
    if (end - start) * 8 != math.prod(lengths) * BITS[dtype]:
        raise InputError(f"{end - start} bytes do not hold {dtype} of shape {lengths}", where=where)
    return TensorInfo(name, dtype, lengths, file, base + start, base + end)


def _naturals(value: Any) -> tuple[int, ...] | None:
    return tuple(value) if isinstance(value, list) and all(type(n) is int and n >= 0 for n in value) else None


def _contiguous(file: Path, tensors: list[TensorInfo], base: int, size: int) -> list[TensorInfo]:
    at = base
    for tensor in tensors:
        if tensor.start != at:
            kind = "overlaps the one before it" if tensor.start < at else "leaves a gap before it"
            raise InputError(f"tensor {tensor.name!r} {kind}", where=str(file))
        at = tensor.end
    if at > size:
        raise InputError(f"truncated: the header promises {at} bytes, the file has {size}", where=str(file), fix=_AGAIN)
    if at < size:
        raise InputError(f"{size - at} bytes lie after the last tensor", where=str(file), fix=_AGAIN)
    return tensors
