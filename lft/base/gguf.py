"""GGUF files: read the header with every length checked, then convert once to a cached safetensors folder.

The format (docs/gguf.md of ggml): magic, version, counts, key-values, tensor table, aligned tensor data; little-endian.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.files import Notify, is_published, need_room, publish, remembered
from lft.errors import InputError
from lft.files import is_disk_full, sha256

# Part of the cached folder's name: raise it when the conversion changes.
CONVERTER = "c1"
_SLACK = 64 * 1024 * 1024  # tokenizer and configuration beside the weights
_MOST = 10_000_000  # strings in an array, pairs, tensors: far above any real file, far below a minute of reading zeros
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_AGAIN = "fetch the file again"


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself."""

    architecture: str
    tokenizer: str
    tensors: int
    parameters: int


class _Bad(Exception):
    """The bytes are not a whole GGUF file; the message says why."""


class _Cursor:
    """Reads forward through a mapped file and refuses to go past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def skip(self, size: int) -> int:
        """Move on by ``size`` bytes and return where they began."""
        start = self.at
        if size > len(self.data) - start:
            raise _Bad("truncated: it ends inside its header")
        self.at += size
        return start

    def number(self, code: str) -> Any:
        """One little-endian number of a struct code."""
        return struct.unpack_from(f"<{code}", self.data, self.skip(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        """One length-prefixed string."""
        start = self.skip(self.number("Q"))
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """One metadata value; arrays are walked over and come back as None."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise _Bad(f"corrupt: metadata of unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner in _SCALARS:
            self.skip(count * struct.calcsize(f"<{_SCALARS[inner]}"))
        elif inner == _STRING and count <= _MOST:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            raise _Bad(f"corrupt: an array of {count} values of type {inner}")
        return None


def read_gguf(file: Path) -> GgufHeader:
    """The header of a GGUF file. Raises InputError when it is missing, corrupt or truncated."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Cursor(data))
    except _Bad as error:
        raise InputError(f"the GGUF file is {error}", where=str(file), fix=_AGAIN) from error
    except ValueError as error:  # mmap's word for an empty file
        raise InputError("the GGUF file is empty", where=str(file), fix=_AGAIN) from error
    except OSError as error:
        raise InputError(f"cannot read the file ({error.strerror})", where=str(file)) from error


def _header(cursor: _Cursor) -> GgufHeader:
    if bytes(cursor.data[:4]) != b"GGUF":
        raise _Bad("not one: it does not begin with the letters GGUF")
    cursor.skip(4)
    version, tensors, pairs = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, 3):
        raise _Bad(f"of version {version}; 2 and 3 are read")
    if max(tensors, pairs) > _MOST:
        raise _Bad(f"corrupt: it claims {tensors} tensors and {pairs} metadata pairs")
    metadata = {}
    for _ in range(pairs):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.number("I"))
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise _Bad("incomplete: it does not name its architecture")
    tokenizer = str(metadata.get("tokenizer.ggml.model") or "")
    return GgufHeader(
        architecture, tokenizer, tensors, _extents(cursor, tensors, metadata.get("general.alignment", 32))
    )


def _extents(cursor: _Cursor, tensors: int, alignment: Any) -> int:
    """Check that every tensor's bytes lie inside the file; returns the number of parameters."""
    if not isinstance(alignment, int) or alignment < 1:
        raise _Bad(f"corrupt: alignment {alignment!r}")
    table = []
    for _ in range(tensors):
        name, dims = cursor.text(), cursor.number("I")
        if dims > 8:
            raise _Bad(f"corrupt: tensor {name!r} with {dims} dimensions")
        shape = [cursor.number("Q") for _ in range(dims)]
        table.append((name, shape, cursor.number("I"), cursor.number("Q")))
    begin = -(-cursor.at // alignment) * alignment
    for name, shape, kind, offset in table:
        if begin + offset + _bytes(name, shape, kind) > len(cursor.data):
            raise _Bad(f"truncated: tensor {name!r} lies past its end")
    return sum(math.prod(shape) for _, shape, _, _ in table)


def _bytes(name: str, shape: list[int], kind: int) -> int:
    """Bytes of a tensor: rows are made of blocks of so many elements in so many bytes."""
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(known): pair for known, pair in GGML_QUANT_SIZES.items()}
    if kind not in sizes:
        raise _Bad(f"corrupt, or newer than this program: tensor {name!r} has type {kind}")
    elements, size = sizes[kind]
    if shape and shape[0] % elements:
        raise _Bad(f"corrupt: a row of tensor {name!r} is not a whole number of blocks")
    return int(math.prod(shape) // elements * size)


def converted(file: Path, cache: Path, notify: Notify) -> Path:
    """The model folder made from a GGUF file: float32 safetensors, configuration and tokenizer, made once and cached.

    float32 since dequantised values are not exact in 16 bit. Raises InputError for a file that is damaged or of an
    unknown architecture, MachineError when the disk is too full; nothing half-written is left.
    """
    header = read_gguf(file)
    digest = remembered(cache, "file", file, lambda: {"sha256": sha256(file)})["sha256"]
    folder = cache / "base" / f"{digest}-{CONVERTER}"
    if is_published(folder):
        return folder
    need_room(cache, 4 * header.parameters + _SLACK, f"converting {file.name} to safetensors")
    notify(f"converting {file.name} to safetensors, once ({header.parameters / 1e6:.0f} M parameters)")
    if header.tokenizer == "llama":
        # Measured against llama.cpp's own vectors: 15 of 47 texts of this kind come out with other leading spaces.
        notify(
            "this GGUF holds a SentencePiece vocabulary; leading spaces may be tokenized differently than by its source"
        )
    return publish(folder, lambda draft: _convert(file, header, digest, draft), notify)


def _convert(file: Path, header: GgufHeader, digest: str, draft: Path) -> None:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        # Without dequantize=True the weights stay in blocks and cannot be saved (transformers 5).
        model, loading = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
            output_loading_info=True,
        )
        absent = sorted(loading["missing_keys"])
        if absent:
            raise InputError(f"{len(absent)} weights are missing: {', '.join(absent[:3])}", where=str(file), fix=_AGAIN)
        model.save_pretrained(draft, max_shard_size="5GB")
        tokenizer.save_pretrained(draft)
    except (ValueError, KeyError, TypeError, IndexError, RuntimeError, NotImplementedError) as error:
        if is_disk_full(error):
            raise
        raise InputError(
            f"cannot convert a GGUF of architecture {header.architecture!r} ({_first_line(error)})",
            where=str(file),
            fix="use the safetensors version of the model",
        ) from error
    source = {"gguf": file.name, "sha256": digest, "converter": CONVERTER, "transformers": transformers.__version__}
    (draft / "source.json").write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
