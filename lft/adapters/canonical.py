"""The one form of a LoRA that every reader scales alike: equal adapters become equal bytes, whoever saved them.

    s · B · A  =  (r/r) · (s B) · A      s into B in float32, one rank for all modules (filled up with zeros), which is
                                         lora_alpha too; no patterns, modules by their full names, everything sorted

PEFT, vLLM, llama.cpp and Ollama disagree on rsLoRA and on patterns, and agree on this.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lft.adapters.adapter import Adapter, LowRank, TokenRows, Whole, require_additive
from lft.adapters.configuration import CONFIG_FILE, Configuration
from lft.adapters.folder import KNOWN, Role
from lft.adapters.names import Part, name_of
from lft.adapters.tensors import pieces, read_array, read_bytes, require_finite
from lft.base.attach import WEIGHTS
from lft.base.headers import BITS
from lft.base.hub import REPO_ID
from lft.errors import InputError
from lft.files import new_folder, write_text

Float = NDArray[np.float32]
_CARRIED: Final[tuple[Role, ...]] = ("binding", "prompt", "tokenizer", "template", "card")


@dataclass(frozen=True, slots=True)
class Pair:
    """A module's factors as PEFT stores them, the scale in ``b``: a [r x n], b [m x r] (embedding: [r x V], [d x r]).

    ``bias`` is what lora_bias adds to the layer's output, ``magnitude`` DoRA's.
    """

    module: str
    a: Float
    b: Float
    embedding: bool = False
    magnitude: Float | None = None
    bias: Float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to be written: its bytes are made when they are needed, in pieces."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Callable[[], Iterable[bytes]] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * BITS[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class Heading:
    """What the configuration says beside the modules."""

    base: str | None
    revision: str | None
    task_type: str | None = "CAUSAL_LM"
    fan_in_fan_out: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    bias: str = "none"
    modules_to_save: tuple[str, ...] = ()
    ensure_weight_tying: bool = False


def write_canonical(adapter: Adapter, folder: Path) -> Path:
    """Write an adapter in canonical form as a new PEFT folder, with the files that belong to it.

    Args:
        adapter: from ``open_adapter``.
        folder: the place of the new folder; what stands there is replaced.

    Returns:
        The folder.

    Raises:
        InputError: it is no plain sum (another method), or holds numbers that are not finite.
        MachineError: the disk is full.
    """
    require_additive(adapter)
    require_finite(adapter.tensors)
    with new_folder(folder) as draft:
        save_peft(
            draft,
            [lambda one=one: _pair(one) for one in adapter.low_rank],  # type: ignore[misc]
            [_whole_entry(one) for one in adapter.whole],
            {rows.module: tuple(sorted(rows.tokens)) for rows in adapter.rows},
            [_rows_entry(one) for one in adapter.rows],
            heading_of(adapter),
        )
        for name, path in (adapter.files.used if adapter.files else {}).items():
            if KNOWN[name][0] in _CARRIED:
                shutil.copyfile(path, draft / name)
    return folder


def save_peft(
    folder: Path,
    pairs: Sequence[Callable[[], Pair]],
    whole: Sequence[Entry],
    tokens: Mapping[str, tuple[int, ...]],
    rows: Sequence[Entry],
    heading: Heading,
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` in canonical form into an existing folder.

    Each pair is made twice (for its rank, and to be written) and kept no longer, so memory is that of the largest.

    Args:
        folder: a draft; the caller renames it.
        pairs: makers of the modules' factors.
        whole: tensors that replace the base's, by PEFT's names (``whole_name``).
        tokens: ids of the rows of each embedding (ascending in the canonical form).
        rows: those rows, in that order.
        heading: the rest of the configuration.

    Raises:
        InputError: there is no pair.
    """
    if not pairs:
        raise InputError("there is nothing of low rank to write", where=str(folder))
    shapes = [_shape(make()) for make in pairs]
    r = max(one.rank for one in shapes)
    entries = [entry for one, make in zip(shapes, pairs, strict=True) for entry in _pair_entries(one, make, r)]
    write_safetensors(folder / WEIGHTS, [*entries, *whole, *rows])
    modules = sorted(one.module for one in shapes)
    write_text(folder / CONFIG_FILE, json.dumps(_config(heading, modules, r, tokens), indent=2, sort_keys=True) + "\n")


def heading_of(adapter: Adapter) -> Heading:
    """What an adapter's canonical configuration says beside its modules; no path of somebody's disk is kept."""
    said = adapter.configuration
    base, revision = said.base, said.revision
    if adapter.binding:
        base, revision = adapter.binding.base, adapter.binding.revision
    named = base is not None and REPO_ID.fullmatch(base) is not None
    return Heading(
        base if named else None,
        revision if named else None,
        said.task_type,
        said.fan_in_fan_out,
        said.use_dora,
        said.lora_bias,
        said.bias if any(one.tensor.endswith(".bias") for one in adapter.whole) else "none",
        _saved_modules(adapter.whole, said),
        said.ensure_weight_tying,
    )


def write_safetensors(file: Path, entries: Iterable[Entry]) -> None:
    """Write a safetensors file tensor by tensor: the same tensors give the same bytes, which are the library's own."""
    ordered = sorted(entries, key=lambda entry: (-BITS[entry.dtype], entry.name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in ordered:
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, at + entry.size]}
        at += entry.size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for entry in ordered:
            written = sum(out.write(piece) for piece in entry.data())
            if written != entry.size:
                raise ValueError(f"{entry.name}: {written} bytes for {entry.size}")


def whole_name(tensor: str, wrapped: str = "") -> str:
    """PEFT's name for a tensor that replaces the base's."""
    module, _, leaf = tensor.rpartition(".")
    return name_of(Part(module, "whole", leaf=leaf, wrapped=wrapped))


def _pair(one: LowRank) -> Pair:
    """The factors with the scale in B, computed in float64 and rounded once."""
    b = _scaled(read_array(one.b), one.scale)
    bias = _scaled(read_array(one.bias), one.scale) if one.bias else None
    magnitude = read_array(one.magnitude) if one.magnitude else None
    return Pair(one.module, read_array(one.a), b, one.embedding, magnitude, bias)


def _scaled(values: Float, scale: float) -> Float:
    with np.errstate(over="ignore"):  # said below
        made = (values.astype(np.float64) * scale).astype(np.float32)
    if not np.isfinite(made).all():
        raise InputError(f"scaled with {scale:g}, its numbers are beyond float32")
    return made


@dataclass(frozen=True, slots=True)
class _Shape:
    """A pair without its numbers; ``rank`` does not count zero components at the end: they add and learn nothing."""

    module: str
    rows: int
    columns: int
    rank: int
    embedding: bool
    magnitude: tuple[int, ...] | None
    bias: tuple[int, ...] | None


def _shape(pair: Pair) -> _Shape:
    used = np.flatnonzero(pair.a.any(axis=1) | pair.b.any(axis=0))
    return _Shape(
        pair.module,
        pair.b.shape[0],
        pair.a.shape[1],
        int(used[-1]) + 1 if len(used) else 1,
        pair.embedding,
        pair.magnitude.shape if pair.magnitude is not None else None,
        pair.bias.shape if pair.bias is not None else None,
    )


def _pair_entries(shape: _Shape, make: Callable[[], Pair], r: int) -> Iterator[Entry]:
    def entry(kind: Any, size: tuple[int, ...], data: Callable[[], Float]) -> Entry:
        name = name_of(Part(shape.module, kind, shape.embedding and kind in ("a", "b")))
        return Entry(name, "F32", size, lambda: [np.ascontiguousarray(data(), dtype="<f4").tobytes()])

    yield entry("a", (r, shape.columns), lambda: _ranked(make().a, r))
    yield entry("b", (shape.rows, r), lambda: _ranked(make().b.T, r).T)
    if shape.magnitude is not None:
        yield entry("magnitude", shape.magnitude, lambda: _there(make().magnitude))
    if shape.bias is not None:
        yield entry("bias", shape.bias, lambda: _there(make().bias))


def _ranked(rows: Float, r: int) -> Float:
    """Rows of components, cut or filled with zeros to r of them."""
    made = np.zeros((r, rows.shape[1]), np.float32)
    made[: len(rows)] = rows[:r]
    return made


def _there(values: Float | None) -> Float:
    assert values is not None
    return values


def _whole_entry(one: Whole) -> Entry:
    info = one.info
    return Entry(whole_name(one.tensor, one.wrapped), info.dtype, info.shape, lambda: pieces(info))


def _rows_entry(one: TokenRows) -> Entry:
    """The rows in the order of their ids."""
    info, order = one.info, np.argsort(one.tokens)

    def data() -> list[bytes]:
        stored = np.frombuffer(read_bytes(info), np.uint8).reshape(len(order), -1)
        return [stored[order].tobytes()]

    return Entry(name_of(Part(one.module, "rows")), info.dtype, info.shape, data)


def _saved_modules(whole: Iterable[Whole], said: Configuration) -> tuple[str, ...]:
    """Full names of the modules that modules_to_save stands for."""
    found = set()
    for one in whole:
        for name in said.modules_to_save:
            if match := re.match(rf"(?:.*?\.)??{re.escape(name)}(?=\.)", one.tensor):
                found.add(match[0])
    return tuple(sorted(found))


def _config(heading: Heading, modules: Sequence[str], r: int, tokens: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The configuration; keys that old versions of PEFT do not know are only there where they are needed."""
    newer: dict[str, Any] = {
        "lora_bias": heading.lora_bias,
        "ensure_weight_tying": heading.ensure_weight_tying,
        "trainable_token_indices": {module: list(ids) for module, ids in sorted(tokens.items())},
    }
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": heading.base,
        "bias": heading.bias,
        "fan_in_fan_out": heading.fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": r,
        "lora_dropout": 0.0,
        "modules_to_save": list(heading.modules_to_save) or None,
        "peft_type": "LORA",
        "r": r,
        "rank_pattern": {},
        "revision": heading.revision,
        "target_modules": list(modules),
        "task_type": heading.task_type,
        "use_dora": heading.use_dora,
        "use_rslora": False,
        **{key: value for key, value in newer.items() if value},
    }
