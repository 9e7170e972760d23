"""A stored version as a folder again, that `lft generate --adapter` and plain `peft` load.

Its files are further names of the blobs (copies where that cannot be), so a checkout costs no room; they are read-only,
and their sha256 is checked when the folder is made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lft.adapters.store import blobs, disk, index
from lft.adapters.store.layout import Store
from lft.adapters.store.lockfile import Lock
from lft.adapters.store.lookup import resolve
from lft.adapters.store.manifest import STACKS, Manifest
from lft.adapters.store.marks import aliases
from lft.adapters.store.names import Reference, reference
from lft.adapters.store.versions import Stored, by_digest, versions
from lft.base.attach import Find, adapter_folder
from lft.base.binding import Below, Binding
from lft.base.places import remember, remembered
from lft.errors import InputError
from lft.files import MANIFEST, new_folder

_PATH: Final = (".", "/", "~")  # what begins so is a path, never a name
_CHECKOUT: Final = re.compile(r"[0-9a-f]{64}")


def materialise(store: Store, digest: str) -> Path:
    """The folder of a version, made where it is not there whole, with those of all that it needs beside it.

    Args:
        store: the registry.
        digest: of the version's manifest.

    Raises:
        InputError: the version or one of its files is missing or damaged.
        MachineError: the disk is full or may not be written.
    """
    manifest = by_digest(store, digest).manifest
    for part in manifest.lineage.parents:
        if part.digest and (part.role == "below" or manifest.kind in STACKS):
            materialise(store, part.digest)
    folder = store.checkouts / digest
    if _stands(folder, manifest) and disk.touch(folder):
        return folder
    with new_folder(folder) as draft:
        for file in manifest.files:
            _give(store, file.sha256, draft / file.path)
            if not blobs.is_whole(draft / file.path, file.sha256, file.size):
                raise InputError(
                    f"{file.path} of {manifest.name}:{manifest.version} is damaged",
                    where=str(store.blob(file.sha256)),
                    fix="lft adapters fsck, then add the adapter again",
                )
    return folder


def adapter_folder_of(written: str, store: Store, lock: Lock | None = None) -> Path:
    """The folder of whatever is written where an adapter is asked for.

    Args:
        written: a folder, a run's folder, or ``name[@alias|:version|@sha256:..]`` (``means_folder``).
        store: the registry.
        lock: refuse every name that it does not pin, and every folder; a name is what it pins.

    Raises:
        InputError: there is neither such a folder nor such a name, or it is not locked.
    """
    path = Path(os.path.expanduser(written))  # Path.expanduser fails for a user that is not there
    if lock:
        return _locked(store, lock, written, path)
    if path.parent.absolute() == store.checkouts.absolute() and _CHECKOUT.fullmatch(path.name):
        return materialise(store, path.name)  # what a run recorded may have been swept since
    if means_folder(written, store):
        return adapter_folder(path)
    return materialise(store, _named(store, written).digest)


def means_folder(written: str, store: Store) -> bool:
    """Whether a folder is written where an adapter is asked for: what begins as a path does, or a folder that is there.

    Raises:
        InputError: a folder that is there has a name of the registry.
    """
    if written.startswith(_PATH):
        return True
    if not Path(written).is_dir():
        return False
    if _asked(store, written) is None:
        return True
    raise InputError(
        f"{written} is a folder here, and a name in the registry",
        fix=f"write ./{written} for the folder, or {resolve(store, written)} for the version in the registry",
    )


def _locked(store: Store, lock: Lock, written: str, path: Path) -> Path:
    if written.startswith(_PATH) or (path.is_dir() and not lock.has(written)):
        raise InputError(
            "a folder is not locked, and with a lock only what it pins is taken",
            where=written,
            fix="lft adapters add FOLDER --name namespace/name, then lft adapters lock that name",
        )
    return materialise(store, lock.resolved(store, written).digest)


def folder_with_weights(store: Store, adapter: str) -> Path | None:
    """The folder of a version of an adapter (``index.with_weights``); None where the registry has none.

    Raises:
        InputError: an older record names it by its tensors alone, and several adapters have those.
    """
    if found := index.with_weights(store, adapter):
        return materialise(store, found[0][0])
    if several := index.alike(store, adapter):
        raise InputError(
            f"an older file names an adapter by its tensors alone ({adapter[:12]}), and {', '.join(several[:4])} have "
            "them with other scales",
            where=str(store.root),
            fix="put the adapter that is meant back to where the older file says it was, or remove the other versions",
        )
    return None


def finder(store: Store) -> Find:
    """For whoever loads an adapter that was trained on others: where those are now."""
    return lambda adapter: folder_with_weights(store, adapter)


def stack_folders(written: Sequence[str], store: Store, cache: Path) -> tuple[str, ...]:
    """The folders of ``method.on_top_of``, lowest first, with those below them that the registry has.

    Args:
        written: folders or names.
        store: the registry.
        cache: where training looks for an adapter that lies in part below another (``lft.base.places``).

    Raises:
        InputError: one is neither a folder nor in the registry.
    """
    found: list[str] = []
    named: set[str] = set()  # parts of stacks, by what they were recorded as and by their versions
    folders = [adapter_folder_of(text, store) for text in written]
    asked = {folder.resolve() for folder in folders}
    for text, folder in zip(written, folders, strict=True):
        binding = Binding.load(folder)
        if binding.stack:
            named.update(word for below in binding.below for word in _known_as(store, below))
        for below in () if binding.stack else binding.below:
            known = None if named & _known_as(store, below) else _elsewhere(below, store, cache)
            found += [str(known)] if known and known.resolve() not in asked else []
        found.append(text if means_folder(text, store) else str(folder))  # a path stays as it was written
    return tuple(dict.fromkeys(found))


def _known_as(store: Store, below: Below) -> set[str]:
    return {below.weights, *(digest for digest, _, _ in index.with_weights(store, below.weights))}


def _elsewhere(below: Below, store: Store, cache: Path) -> Path | None:
    """Where an adapter below another is, to be named before it; None where training finds it by itself, or nobody."""
    path = Path(below.path)
    if path.parent.absolute() == store.checkouts.absolute() and _CHECKOUT.fullmatch(path.name):
        with suppress(InputError):  # older files name a checkout, which may have been swept since
            materialise(store, path.name)
    if path.is_absolute() and path.is_dir():
        return None
    known = folder_with_weights(store, below.weights) or remembered(cache, below.weights)
    if known is None or below.share == "1":
        return known
    remember(cache, below.weights, known)  # named by itself it would be there whole
    return None


def _named(store: Store, written: str) -> Stored:
    """What a name means; for what is neither a folder nor a name known here, a message that speaks of both."""
    asked = _asked(store, written)
    if asked is None:
        raise InputError(
            "there is no such adapter, neither a folder nor a name in the registry",
            where=written,
            fix="give the folder of an adapter or of a finished run, or a name of `lft adapters list`",
        )
    return resolve(store, asked)


def _asked(store: Store, written: str) -> Reference | None:
    """What was written as a reference; None where it is none, or of no name that the registry knows."""
    try:
        asked = reference(written)
    except InputError:
        return None
    return asked if asked.digest or versions(store, asked.name) or aliases(store, asked.name) else None


def _stands(folder: Path, manifest: Manifest) -> bool:
    """Whether a checkout has all its files, each of its size, and nothing else."""
    try:
        there = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST}
        return (folder / MANIFEST).is_file() and there == {file.path: file.size for file in manifest.files}
    except OSError:
        return False


def _give(store: Store, digest: str, path: Path) -> None:
    blob = blobs.find(store, digest)
    try:
        os.link(blob, path)
    except OSError:  # another file system, or too many names already
        shutil.copyfile(blob, path)
