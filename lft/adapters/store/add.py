"""Putting an adapter into the store: copied first, then read from the very bytes that are kept, then published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.folder import KNOWN
from lft.adapters.store import blobs, disk, index
from lft.adapters.store.disk import Written
from lft.adapters.store.facts import base_of, lora_of, tokenizer_of
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease, leased
from lft.adapters.store.manifest import File, Kind, Lineage, Manifest, Merge, Parent, Role, Score, Tags, Training
from lft.adapters.store.names import full_name, version_key
from lft.adapters.store.versions import Stored, next_version, publish, version, versions
from lft.adapters.tensors import require_finite
from lft.base.files import need_room
from lft.errors import InputError

_TRIES: Final = 100  # versions taken by others in the same moment


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run says about an adapter: the bytes of its recipe and of its lock file, and what the lock says."""

    recipe: bytes | None
    lock: bytes | None
    training: Training


@dataclass(frozen=True, slots=True)
class Origin:
    """What the adapter's folder does not say itself.

    ``name``, ``version`` and ``base`` are None for its own name, the next version and its own base; ``tags`` replace
    those of the same key in its binding; ``parents`` None takes those below it from its binding.
    """

    name: str | None = None
    version: str | None = None
    base: str | None = None
    tags: Tags = field(default_factory=dict)
    run: RunRecord | None = None
    evaluation: tuple[Score, ...] = ()
    kind: Kind = "adapter"
    merge: Merge | None = None
    parents: tuple[Parent, ...] | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """The version, whether it is new, files of the folder that are not part of it, and parents that are not stored."""

    stored: Stored
    new: bool
    ignored: tuple[str, ...]
    unknown_parents: tuple[Parent, ...]


def add_adapter(store: Store, folder: Path, origin: Origin | None = None) -> Added:
    """Store an adapter as a new version; what is stored already is not stored again.

    Args:
        store: the registry; made where there is none.
        folder: an adapter's folder, also a snapshot in the hub library's cache.
        origin: name, version and history.

    Raises:
        InputError: the folder is refused (``open_adapter``), a number in it is not finite, the name is missing or no
            name, or the version exists with another content.
        MachineError: the disk is full or may not be written.
    """
    said = origin or Origin()
    seen = open_adapter(folder)
    name = _name(seen, said, folder)
    if said.version is not None:
        version_key(said.version)
    paths = _used(seen)
    need_room(store.root, sum(path.stat().st_size for path in paths.values()), "adding the adapter")
    with leased(store) as lease:
        staged = lease.folder / "adapter"
        written = _copied(paths, staged)
        with _named(staged, folder):
            adapter = open_adapter(staged)
            require_finite(adapter.tensors)
            manifest = _manifest(store, adapter, name, said, written)
        for file, amount in written.items():
            blobs.keep(lease, staged / file, amount)
        manifest = _with_run(lease, manifest, said.run)
        stored, new = published(lease, manifest, said.version)
    parents = stored.manifest.lineage.parents
    ignored = tuple(name for name in seen.ignored if name not in paths)
    return Added(stored, new, ignored, tuple(parent for parent in parents if parent.digest is None))


def _name(adapter: Adapter, origin: Origin, folder: Path) -> str:
    written = origin.name or (adapter.binding.name if adapter.binding else "")
    if not written:
        raise InputError(
            "it does not say what it is called", where=str(folder), fix="give it a name: --name namespace/name"
        )
    return full_name(written)


@contextmanager
def _named(staged: Path, folder: Path) -> Iterator[None]:
    """Errors about the copies name the files that somebody knows."""
    try:
        yield
    except InputError as error:
        error.where = (error.where or "").replace(str(staged), str(folder)) or None
        raise


def _used(adapter: Adapter) -> Mapping[str, Path]:
    """The files that make it up."""
    if adapter.files is None:
        raise InputError("it was not read from a folder", where=str(adapter.folder))
    return {name: path for name, path in adapter.files.used.items() if KNOWN[name][0] != "manifest"}


def _copied(paths: Mapping[str, Path], folder: Path) -> dict[str, Written]:
    """Copies of files (of what links point to), flushed and hashed."""
    disk.make_folder(folder)
    found = {}
    for name, path in sorted(paths.items()):
        with path.open("rb") as stream:
            found[name] = disk.write_draft(stream, folder / name)
    return found


def _manifest(store: Store, adapter: Adapter, name: str, origin: Origin, written: Mapping[str, Written]) -> Manifest:
    """The manifest but for its version and what of its run lies in blobs."""
    binding, base = adapter.binding, base_of(adapter)
    if origin.base and not base.id:
        base = replace(base, id=origin.base)
    files = tuple(File(path, amount.size, amount.sha256, _role(path)) for path, amount in sorted(written.items()))
    tags = {**(binding.tags if binding else {}), **origin.tags}
    return Manifest(
        kind=origin.kind,
        name=name,
        version="0.0.0",
        method=adapter.configuration.variant,
        files=files,
        base=base,
        tokenizer=tokenizer_of(adapter),
        lora=lora_of(adapter),
        tags={key: tuple(values) for key, values in sorted(tags.items()) if values},
        lineage=Lineage(
            (binding.name or binding.recipe) if binding else name,
            binding.lft if binding else None,
            origin.run.training if origin.run else None,
            _parents(store, adapter) if origin.parents is None else origin.parents,
        ),
        merge=origin.merge,
        evaluation=origin.evaluation,
        identity=adapter.digest,
    )


def _role(path: str) -> Role:
    role: Any = KNOWN[path][0]
    return role  # type: ignore[no-any-return]


def _parents(store: Store, adapter: Adapter) -> tuple[Parent, ...]:
    """The adapters below it, as far as the store has them."""
    found = []
    for below in adapter.binding.below if adapter.binding else ():
        known = index.with_weights(store, below.weights)
        share = None if below.share == "1" else below.share
        found.append(Parent(known[0][0] if known else None, below.weights, "below", share))
    return tuple(found)


def _with_run(lease: Lease, manifest: Manifest, run: RunRecord | None) -> Manifest:
    """With the run's recipe and lock file as blobs."""
    if run is None:
        return manifest
    digests: list[str | None] = []
    for content in (run.recipe, run.lock):
        if content is None:
            digests.append(None)
            continue
        with disk.source(content) as stream:
            digests.append(blobs.put(lease, stream).sha256)
    training = replace(run.training, recipe=digests[0], lock=digests[1])
    return replace(manifest, lineage=replace(manifest.lineage, training=training))


def published(lease: Lease, manifest: Manifest, number: str | None) -> tuple[Stored, bool]:
    """Publish under a number, or under the next one where no version of the name says the same; whether it is new."""
    if number is not None:
        return publish(lease, replace(manifest, version=number))
    for known in versions(lease.store, manifest.name):
        there = version(lease.store, manifest.name, known)
        same = replace(manifest, version=known, format=there.manifest.format)
        if same.digest == there.digest:
            return publish(lease, there.manifest)
    for _ in range(_TRIES):
        chosen = replace(manifest, version=next_version(lease.store, manifest.name))
        try:
            return publish(lease, chosen)
        except InputError:
            if chosen.version not in versions(lease.store, manifest.name):
                raise
    raise InputError(f"{manifest.name} gets new versions faster than one can be added", fix="try again")
