"""A base model's identity by content: the weights whatever their sharding, the tokenizer whatever its formatting."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.files import read_json, remembered
from lft.base.headers import TensorInfo, read_headers
from lft.errors import InputError
from lft.files import sha256

CHUNK = 4 * 1024 * 1024
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("add_bos_token", "add_eos_token")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hex sha256 of the weights and of the tokenizer."""

    weights: str
    tokenizer: str


def fingerprint(folder: Path, cache: Path | None) -> Fingerprint:
    """The fingerprint of a model folder.

    ``cache`` keeps the digests of files that do not change; None reads everything again.
    Raises InputError when weights or tokenizer are missing or damaged.
    """
    return Fingerprint(weights_fingerprint(folder, cache), tokenizer_fingerprint(folder))


def weights_fingerprint(folder: Path, cache: Path | None) -> str:
    """Digest over (name, dtype, shape, digest of the bytes) of all tensors by name: sharding and order do not count."""
    by_file: dict[Path, list[TensorInfo]] = defaultdict(list)
    for tensor in read_headers(folder):
        by_file[tensor.file].append(tensor)
    lines = []
    for file, tensors in by_file.items():
        digests = remembered(cache, "tensors", file, lambda ts=tensors: _tensor_digests(ts))  # type: ignore[misc]
        lines += [[t.name, t.dtype, list(t.shape), digests[t.name]] for t in tensors]
    return _digest(sorted(lines, key=lambda line: line[0]))


def _tensor_digests(tensors: list[TensorInfo]) -> dict[str, str]:
    """Digest of each tensor's bytes; the tensors are of one file, in the order of their bytes. Memory: one chunk."""
    found = {}
    with tensors[0].file.open("rb") as file:
        for tensor in tensors:
            file.seek(tensor.start)
            digest, left = hashlib.sha256(), tensor.end - tensor.start
            while left:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise InputError(f"the file was cut while tensor {tensor.name!r} was read", where=str(tensor.file))
                digest.update(piece)
                left -= len(piece)
            found[tensor.name] = digest.hexdigest()
    return found


def tokenizer_fingerprint(folder: Path) -> str:
    """Digest of what decides how text becomes ids; formatting, padding and truncation settings do not count."""
    return _digest([_vocabulary(folder), _special_tokens(folder)])


def _vocabulary(folder: Path) -> Any:
    """The canonical content of the tokenizer: tokenizer.json, else the sentencepiece model, else vocab and merges."""
    if (folder / "tokenizer.json").exists():
        return _canonical(folder / "tokenizer.json")
    for name in SENTENCEPIECE:
        if (folder / name).exists():
            return {"sentencepiece": sha256(folder / name)}
    if (folder / "vocab.json").exists():
        merges = folder / "merges.txt"
        lines = merges.read_text(encoding="utf-8").splitlines() if merges.exists() else []
        kept = [line for line in lines if line and not line.startswith("#version")]
        return {"vocab": read_json(folder / "vocab.json"), "merges": kept}
    if (folder / "vocab.txt").exists():
        return {"wordpiece": sha256(folder / "vocab.txt")}
    raise InputError(
        "no tokenizer: neither tokenizer.json nor a sentencepiece model nor vocab.json",
        where=str(folder),
        fix="put the model's tokenizer files into the folder",
    )


def _canonical(path: Path) -> Any:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise InputError("not a tokenizer: it has no model", where=str(path), fix="fetch the file again")
    kept = {key: value for key, value in content.items() if key not in ("version", "truncation", "padding")}
    model = dict(kept["model"])
    # Older files write a merge as "a b", newer ones as ["a", "b"].
    model["merges"] = [m.split(" ", 1) if isinstance(m, str) else m for m in model.get("merges") or []]
    kept["model"] = model
    kept["added_tokens"] = sorted(kept.get("added_tokens") or [], key=lambda token: token["id"])
    return kept


def _special_tokens(folder: Path) -> dict[str, Any]:
    """Which token plays which part, by text."""
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    found: dict[str, Any] = {key: _text(config[key]) for key in _SPECIAL if config.get(key) is not None}
    found |= {key: config[key] for key in _FLAGS if isinstance(config.get(key), bool)}
    extra: set[str] = set()
    for key in _EXTRA:
        listed = config.get(key) or []
        extra |= {_text(token) for token in (listed.values() if isinstance(listed, dict) else listed)}
    return found | ({"extra": sorted(extra)} if extra else {})


def _text(token: Any) -> str:
    """A special token is written as text or as an object with its text inside."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
