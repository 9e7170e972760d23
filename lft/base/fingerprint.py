"""A base model's identity by content: the weights whatever their sharding, the tokenizer whatever its formatting, and
what config.json makes of the weights (``lft.base.configuration``)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.configuration import canonical, configuration
from lft.base.files import read_json, remembered
from lft.base.headers import TensorInfo, read_headers
from lft.errors import InputError
from lft.files import sha256

CHUNK = 4 * 1024 * 1024
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("add_bos_token", "add_eos_token")
_TOKEN_FLAGS = ("special", "lstrip", "rstrip", "normalized", "single_word")
# Parts of tokenizer.json that do not decide which ids a text becomes, or are compared by themselves.
_OTHERWISE = ("version", "truncation", "padding", "added_tokens")
CONFIG = "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hex sha256 of the weights and of the tokenizer; ``config`` is the text of ``lft.base.configuration``."""

    weights: str
    tokenizer: str
    config: str = ""

    @property
    def config_digest(self) -> str:
        """Hex sha256 of ``config``."""
        return hashlib.sha256(self.config.encode()).hexdigest()


def fingerprint(folder: Path, cache: Path | None) -> Fingerprint:
    """The fingerprint of a model folder.

    ``cache`` keeps the digests of files that do not change; None reads everything again.
    Raises InputError when weights, tokenizer or configuration are missing or damaged.
    """
    return Fingerprint(weights_fingerprint(folder, cache), tokenizer_fingerprint(folder), configuration(folder))


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
    return _digest([_vocabulary(folder), _added_tokens(folder), _special_tokens(folder)])


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
    kept = {key: value for key, value in content.items() if key not in _OTHERWISE}
    model = dict(kept["model"])
    # Older files write a merge as "a b", newer ones as ["a", "b"].
    model["merges"] = [m.split(" ", 1) if isinstance(m, str) else m for m in model.get("merges") or []]
    kept["model"] = model
    return kept


def _added_tokens(folder: Path) -> list[list[Any]]:
    """Tokens beside the vocabulary: id, text, flags. Three files may hold them; what two of them say counts once.

    added_tokens.json knows no flags, so it counts only where no other file has that token.
    """
    listed = _map(folder / "tokenizer.json").get("added_tokens") or []
    decoder = _map(folder / CONFIG).get("added_tokens_decoder") or {}
    found = {_token(token["id"], token) for token in listed} | {_token(n, token) for n, token in decoder.items()}
    known = {(number, text) for number, text, _ in found}
    plain = {(int(number), text) for text, number in _map(folder / "added_tokens.json").items()}
    return sorted([list(token) for token in found | {(*token, ()) for token in plain - known}])


def _token(number: Any, token: Any) -> tuple[int, str, tuple[str, ...]]:
    flags = tuple(sorted(flag for flag in _TOKEN_FLAGS if isinstance(token, dict) and token.get(flag)))
    return int(number), _text(token), flags


def _special_tokens(folder: Path) -> dict[str, Any]:
    """Which token plays which part, by text; where two files disagree, both are named."""
    config, older = _map(folder / CONFIG), _map(folder / "special_tokens_map.json")
    found: dict[str, Any] = {key: config[key] for key in _FLAGS if isinstance(config.get(key), bool)}
    for key in _SPECIAL:
        if texts := sorted({_text(said[key]) for said in (config, older) if said.get(key) is not None}):
            found[key] = texts
    extra: set[str] = set()
    for listed in (said.get(key) or [] for said in (config, older) for key in _EXTRA):
        extra |= {_text(token) for token in (listed.values() if isinstance(listed, dict) else listed)}
    return found | ({"extra": sorted(extra)} if extra else {})


def _map(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise InputError("it does not hold a map", where=str(path), fix="fetch the file again")
    return content


def _text(token: Any) -> str:
    """A special token is written as text or as an object with its text inside."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _digest(content: Any) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()
