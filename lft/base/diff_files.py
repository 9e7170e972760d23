"""The files of weight differences: the record beside the tensors, safetensors written piece by piece, what goes along.

A difference is a folder: ``diff.json`` (the record), ``diff-*.safetensors`` (one a shard of the tuned model), the tuned
model's configuration and tokenizer, and a manifest. Its weights are not called ``model.safetensors``, so that nothing
takes a difference for a model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lft.base.diff_bits import Words
from lft.base.files import read_json
from lft.base.headers import INDEX, SINGLE, TensorInfo, read_header
from lft.base.hub import WANTED
from lft.errors import InputError, RecipeError
from lft.files import MANIFEST

RECORD: Final = "diff.json"
_TOKENIZER: Final = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "*.jinja",
)  # fmt: skip
# source.json is what a converted GGUF leaves in the cache.
_STAY: Final = (
    "*.safetensors", "*.index.json", MANIFEST, RECORD, "adapter_config.json", "vocab.*.bin", "source.json",
)  # fmt: skip

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShardName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$", max_length=128)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Origin(_Closed):
    """The base that a difference is against; ``weights`` decides, the name is for people."""

    model: str
    revision: str | None
    weights: Digest


class Shard(_Closed):
    """One safetensors file of the tuned model: its header as it stands there, its size and digest."""

    name: ShardName
    header: str
    bytes: Annotated[int, Field(ge=8)]
    sha256: Digest


class Record(_Closed):
    """What a difference is.

    Tensors in ``same`` are the base's and are not stored; tensors in ``whole`` only the tuned model has; all others are
    stored as differences of bit patterns.
    """

    format: Literal["lft-weight-difference"] = "lft-weight-difference"
    version: Literal[1] = 1
    base: Origin
    result: Digest  # fingerprint of the tuned weights
    shards: tuple[Shard, ...]
    index: str | None  # the tuned model's own index, when it is sharded
    same: tuple[str, ...]
    whole: tuple[str, ...]


def read_record(folder: Path) -> Record:
    """The record of a difference. Raises InputError when it is damaged or of a newer format."""
    content = read_json(folder / RECORD)
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"not a weight difference that this version can read ({place}: {first['msg']})",
            where=str(folder / RECORD),
            fix="fetch it again, or use a newer lft",
        ) from error


def stored_name(shard: Shard) -> str:
    """The file that holds a shard's differences."""
    return f"diff-{shard.name}"


def require_new(out: Path) -> None:
    """Raise RecipeError when something stands where a folder is to be made."""
    if out.exists() or out.is_symlink():
        raise RecipeError("this folder exists already and is not overwritten", where=str(out), fix="give another name")


def shards_of(tensors: Iterable[TensorInfo]) -> dict[Path, list[TensorInfo]]:
    """Tensors by file, in the order of their bytes."""
    found: dict[Path, list[TensorInfo]] = {}
    for tensor in sorted(tensors, key=lambda t: (t.file.name, t.start)):
        found.setdefault(tensor.file, []).append(tensor)
    return found


def header_text(file: Path) -> str:
    """A safetensors file's header, padding and all."""
    with file.open("rb") as stream:
        return stream.read(int.from_bytes(stream.read(8), "little")).decode("utf-8")


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that is to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def new_header(tensors: Sequence[Planned]) -> str:
    """A header for tensors that lie in this order, padded to 8 bytes as the format's own writer does."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        offsets = [at, at + tensor.size]
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        at += tensor.size
    text = json.dumps(entries, separators=(",", ":"))
    return text + " " * (-len(text.encode()) % 8)


def write_shard(file: Path, header: str, size: int, content: Callable[[TensorInfo], Iterator[Words]]) -> None:
    """A safetensors file with this header and total size, each tensor's words taken from ``content``.

    Raises InputError when the header is wrong or a tensor's words do not fill it.
    """
    encoded = header.encode()
    with file.open("wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        stream.truncate(size)
    tensors = read_header(file)
    with file.open("r+b") as stream:
        stream.seek(8 + len(encoded))
        for tensor in tensors:
            for words in content(tensor):
                stream.write(words.tobytes())
            if stream.tell() != tensor.end:
                raise InputError(f"tensor {tensor.name!r} does not have the size it should have", where=str(file))


def index_text(shards: Mapping[str, Sequence[Planned]]) -> str:
    """An index for several shards."""
    tensors = [tensor for planned in shards.values() for tensor in planned]
    weight_map = {tensor.name: name for name, planned in shards.items() for tensor in planned}
    total = sum(tensor.size for tensor in tensors)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n"


def model_index(folder: Path) -> str | None:
    """The index of a sharded model as it stands."""
    path = folder / INDEX
    return None if (folder / SINGLE).exists() or not path.exists() else path.read_text(encoding="utf-8")


def copy_beside(source: Path, target: Path, *, tokenizer_only: bool = False) -> list[str]:
    """Copy what lies beside the weights (configuration, tokenizer, chat template); returns the names, sorted."""
    wanted = _TOKENIZER if tokenizer_only else (*WANTED, *_TOKENIZER)
    names = sorted(
        path.name
        for path in source.iterdir()
        if path.is_file() and _matches(path.name, wanted) and not _matches(path.name, _STAY)
    )
    for name in names:
        shutil.copyfile(source / name, target / name)
    return names


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether one of the files holds a vocabulary."""
    return any(_matches(name, ("tokenizer.json", "*.model", "vocab.*")) for name in names)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
