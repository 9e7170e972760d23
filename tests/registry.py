"""Registries made without training: adapters of a few numbers, manifests of a few lines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lft.adapters.store import blobs, disk
from lft.adapters.store.add import Added, Origin, add_adapter
from lft.adapters.store.layout import Store, open_store
from lft.adapters.store.leases import leased
from lft.adapters.store.manifest import WEIGHTS, Base, File, Lineage, Lora, Manifest, Tokenizer
from lft.adapters.store.marks import alias_digest, move_alias
from lft.adapters.store.versions import Stored, publish
from lft.files import seal
from tests.adapters_bound import record
from tests.peft_folders import pairs, write_adapter

NAME = "lft/de"


def new_store(folder: Path) -> Store:
    return open_store(folder / "registry")


def adapter(folder: Path, seed: int = 0, *, bound: bool = True, sealed: bool = True, **binding: Any) -> Path:
    """An adapter's folder of two modules; with ``lft.json`` as lft writes it, or as another program would leave it."""
    names = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
    write_adapter(folder, pairs(*names, seed=seed))
    if bound:
        (folder / "lft.json").write_text(json.dumps(record(**{"name": NAME, **binding})))
        if sealed:
            seal(folder)
    return folder


def added(store: Store, folder: Path, seed: int = 0, origin: Origin | None = None, **binding: Any) -> Added:
    """A stored adapter; another ``seed`` is another one."""
    return add_adapter(store, adapter(folder / f"made-{seed}-{disk.unique()[:6]}", seed, **binding), origin)


def draft(name: str = NAME, version: str = "1.0.0", weights: str = "a" * 64, **change: Any) -> Manifest:
    """A manifest that names blobs which may not be there."""
    plain = Manifest(
        kind="adapter",
        name=name,
        version=version,
        method="lora",
        files=(File(WEIGHTS, 7, weights, "weights"),),
        base=Base("org/base", "b" * 40, "c" * 64, None, 384, None),
        tokenizer=Tokenizer("d" * 64, None, "</s>", ()),
        lora=Lora(4, "F32", False, "1.5", (), ()),
        tags={"lang": ("de",)},
        lineage=Lineage(name, "0.1.0", None, ()),
        merge=None,
        evaluation=(),
    )
    return replace(plain, **change)


def published(store: Store, content: bytes = b"weights", **manifest: Any) -> Stored:
    """A version whose only file has this content."""
    with leased(store) as lease:
        with disk.source(content) as stream:
            written = blobs.put(lease, stream)
        file = File(WEIGHTS, written.size, written.sha256, "weights")
        return publish(lease, draft(**{"files": (file,), **manifest}))[0]


def pointed(store: Store, alias: str, stored: Stored | None, name: str = NAME) -> None:
    """Let an alias point to a version, or remove it, wherever it points to now."""
    with leased(store) as lease:
        move_alias(lease, name, alias, stored, alias_digest(store, name, alias))


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a folder by its path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
