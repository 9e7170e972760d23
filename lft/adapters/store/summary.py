"""What the index keeps of each version of a name, read loosely: a manifest that is damaged is a row that says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import FORMAT, PARTS, STACKS, WEIGHTS, Tags
from lft.adapters.store.marks import aliases, tags_from
from lft.adapters.store.versions import versions
from lft.base.identity import CONFIG, identity_in


@dataclass(frozen=True, slots=True)
class Summary:
    """A version in short; ``method`` is its variant, and how the base was rounded: ``lora nf4``.
    ``identity`` is empty where nothing says it (a stack; a manifest of format 1 whose configuration is gone).
    """

    version: str
    newest: bool
    digest: str
    weights: str = ""
    identity: str = ""
    kind: str = ""
    method: str = ""
    r: int | None = None
    base: str = ""
    size: int = 0
    tags: Tags = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    problem: str = ""


def summaries(store: Store, name: str) -> list[Summary]:
    """All versions of a name, newest first."""
    pointed = aliases(store, name)
    found = []
    for number, version in enumerate(versions(store, name)):
        try:
            text = store.manifest(name, version).read_bytes()
        except OSError:  # removed in this moment
            continue
        digest = hashlib.sha256(text).hexdigest()
        named = tuple(alias for alias, target in pointed.items() if target == digest)
        found.append(_summary(store, name, version, text, digest, not number, named))
    return found


def _summary(
    store: Store, name: str, version: str, text: bytes, digest: str, newest: bool, named: tuple[str, ...]
) -> Summary:
    try:
        said = json.loads(text)
        if said["format"] not in range(1, FORMAT + 1):
            return Summary(version, newest, digest, aliases=named, problem=f"format {said['format']}"[:40])
        lora, main = said["lora"], PARTS if said["kind"] in STACKS else WEIGHTS
        digests = {str(file["path"]): str(file["sha256"]) for file in said["files"]}
        return Summary(
            version,
            newest,
            digest,
            digests[main],
            str(said.get("identity") or _identity(store, digests)),
            str(said["kind"]),
            _method(said),
            int(lora["r"]) if lora else None,
            str(said["base"]["id"]),
            sum(int(file["size"]) for file in said["files"]),
            _tags(store.tags(name, version), said["tags"]),
            named,
        )
    except (ValueError, KeyError, TypeError):
        return Summary(version, newest, digest, aliases=named, problem="the manifest is damaged")


def _identity(store: Store, digests: Mapping[str, str]) -> str:
    """What a manifest of format 1 leaves to be found out, from the configuration among the blobs."""
    if WEIGHTS not in digests or CONFIG not in digests:
        return ""
    try:
        found = identity_in(store.blob(digests[CONFIG]).read_bytes(), digests[WEIGHTS])
    except OSError:
        return ""
    return found.digest if found else ""


def _tags(path: Path, stored: dict[str, Any]) -> Tags:
    try:
        return tags_from(path.read_bytes())
    except FileNotFoundError:
        return tags_from(json.dumps(stored).encode())


def _method(said: dict[str, Any]) -> str:
    rounded = said["base"]["quantization"]
    return " ".join([str(said["method"]), *([str(rounded["kind"])] if rounded else [])])
