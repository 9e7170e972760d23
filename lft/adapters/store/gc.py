"""Taking out what nothing needs, in two phases, while others read and write.

Needed is what the manifests, the aliases, the given lock files and the leases of living writers name, with everything
that those were made from. What is not needed and older than the grace goes to the trash; what has been there for the
grace as well is removed by a later run. ``blobs.find`` brings back what became needed in the very moment it was taken.
The order of the steps is what makes this safe (``leases``): first list, then read leases, then manifests, then act.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.store import blobs, disk, leases
from lft.adapters.store.layout import Store, folders_of_names
from lft.adapters.store.manifest import read_manifest
from lft.adapters.store.marks import aliases
from lft.adapters.store.versions import by_digest, files, looks_like_manifest, versions
from lft.errors import InputError
from lft.files import DRAFT

GRACE: Final = 24 * 3600.0  # seconds
_HOUR: Final = 3600.0  # for which a draft of a checkout is let alone, whatever the grace


@dataclass(frozen=True, slots=True)
class Found:
    """What gc may take: blobs in their place and in the trash with their sizes, blobs to bring back, checkouts, and how
    many dead writers left something. ``needed`` is the number of blobs that stay."""

    blobs: tuple[tuple[Path, int], ...]
    trashed: tuple[tuple[Path, int], ...]
    back: tuple[str, ...]
    checkouts: tuple[Path, ...]
    writers: int
    needed: int


def found(store: Store, grace: float = GRACE, locked: Iterable[str] = ()) -> Found:
    """What a run of gc would take.

    Args:
        store: the registry.
        grace: seconds for which nothing new, or newly taken out, is touched.
        locked: digests of manifests that lock files name.

    Raises:
        InputError: a manifest is damaged, so that nobody knows what it needs.
    """
    limit = time.time() - grace
    trashed, there = list(_in_trash(store)), list(_with_stat(blobs.listed(store)))
    needed = needed_blobs(store, locked)
    placed = {path.name for path, _, _ in trashed if store.blob(path.name).exists()}  # a second copy of these is none
    return Found(
        tuple((path, size) for path, size, at in there if path.name not in needed and at <= limit),
        tuple(
            (path, size)
            for path, size, at in trashed
            if at <= limit and (path.name not in needed or path.name in placed)
        ),
        tuple(sorted({path.name for path, _, _ in trashed} & needed - placed)),
        tuple(path for path, _, at in _with_stat(_checkouts(store)) if _is_idle(path, at, limit, needed)),
        leases.left_behind(store),
        len(needed),
    )


def collect(store: Store, grace: float = GRACE, locked: Iterable[str] = ()) -> Found:
    """One run of gc; returns what it took. Arguments and errors as for ``found``; errors come before any act."""
    what = found(store, grace, locked)
    for digest in what.back:
        with suppress(InputError):  # another run removed a second copy
            blobs.find(store, digest)
    for path, _ in what.trashed:
        disk.remove(path)
    for old in files(store.trash):
        disk.remove_folder_if_empty(old)
    run = store.trash / f"{int(time.time())}-{disk.unique()[:8]}"
    for path, _ in what.blobs:
        disk.move(path, run / path.name)
    for path in what.checkouts:
        disk.remove_tree(path, store.tmp)
    leases.sweep(store)
    return what


def needed_blobs(store: Store, locked: Iterable[str] = ()) -> set[str]:
    """Digests of everything that must stay.

    Raises:
        InputError: a manifest is damaged.
    """
    leased = leases.protected(store)  # before the manifests: a lease is given back after its manifest is there
    needed: set[str] = set()
    for digest in leased:
        try:
            _follow(store, digest, needed)
        except InputError:  # a file that only looks like a manifest
            needed.add(digest)
    for name, _ in folders_of_names(store.refs):
        for digest in aliases(store, name).values():
            _follow(store, digest, needed)
    for digest in locked:
        _follow(store, digest, needed)
    for name, _ in folders_of_names(store.manifests):
        for number in versions(store, name):
            with suppress(FileNotFoundError):  # removed in this moment
                path = store.manifest(name, number)
                text = path.read_bytes()
                manifest = read_manifest(text, str(path))
                needed.update((hashlib.sha256(text).hexdigest(), *manifest.blobs))
                for parent in manifest.parents:
                    _follow(store, parent, needed)
    return needed


def _follow(store: Store, digest: str, needed: set[str]) -> None:
    """A blob and, where it is a manifest, all that it was made from."""
    needed.add(digest)
    try:
        path = blobs.find(store, digest)
    except InputError:  # there is nothing to follow
        return
    if looks_like_manifest(path):
        manifest = by_digest(store, digest).manifest
        needed.update(manifest.blobs)
        for parent in manifest.parents:
            if parent not in needed:
                _follow(store, parent, needed)


def _in_trash(store: Store) -> Iterator[tuple[Path, int, float]]:
    """Blobs in the trash: path, size, when they were taken out."""
    for run in files(store.trash):
        began = run.name.partition("-")[0]
        for path, size, _ in _with_stat(files(run)):
            yield path, size, float(began) if began.isdigit() else 0.0


def _with_stat(paths: Iterable[Path]) -> Iterator[tuple[Path, int, float]]:
    for path in paths:
        with suppress(FileNotFoundError):
            stat = path.stat()
            yield path, stat.st_size, stat.st_mtime


def _checkouts(store: Store) -> list[Path]:
    return sorted(store.checkouts.iterdir()) if store.checkouts.is_dir() else []


def _is_idle(path: Path, at: float, limit: float, needed: set[str]) -> bool:
    if DRAFT in path.name or path.name.startswith("."):
        return at <= min(limit, time.time() - _HOUR)
    return path.name not in needed and at <= limit
