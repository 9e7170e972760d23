"""Versions: published once under ``ns/name:version``, read back strictly, removed but never given to other content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.store import blobs, disk
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease
from lft.adapters.store.manifest import Manifest, read_manifest, require_sound
from lft.adapters.store.names import is_version, version_key
from lft.errors import InputError

FIRST: Final = "1.0.0"
_START: Final = b'{"base":'


@dataclass(frozen=True, slots=True)
class Stored:
    """A version in the store."""

    digest: str
    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.manifest.name}:{self.manifest.version}"


def publish(lease: Lease, manifest: Manifest) -> tuple[Stored, bool]:
    """Store a version; its files must have been put under the same lease.

    Returns:
        The version, and whether it is new: the same manifest again is no error.

    Raises:
        InputError: this version exists, or once existed, with another content; or a file is missing.
    """
    store, stored = lease.store, Stored(manifest.digest, manifest)
    try:
        require_sound(manifest)
    except ValueError as error:
        raise InputError(f"{stored} cannot be stored: {error}", where=str(store.root)) from None
    for digest in (*manifest.blobs, *manifest.parents):
        lease.protect(digest)
        blobs.find(store, digest)
    with disk.source(manifest.text) as text:
        blobs.put(lease, text)
    place = store.manifest(manifest.name, manifest.version)
    while True:
        if tombstone(store, manifest.name, manifest.version) not in (None, stored.digest):
            raise InputError(
                f"{stored} was removed; a version means one content for ever",
                where=str(store.root),
                fix="give another version",
            )
        if disk.link_once(blobs.find(store, stored.digest), place):
            disk.remove(store.tombstone(manifest.name, manifest.version))
            return stored, True
        try:
            return _same(store, stored, version(store, manifest.name, manifest.version)), False
        except InputError:
            if place.exists():
                raise
            # another process removed it since the link was tried: once more


def _same(store: Store, stored: Stored, there: Stored) -> Stored:
    """What is there, if it is that; raises InputError for another content."""
    if there.digest != stored.digest:
        raise InputError(
            f"{stored} exists with another content ({there.digest[:12]})",
            where=str(store.root),
            fix="versions never change: give another version",
        )
    return there


def next_version(store: Store, name: str) -> str:
    """The newest version that a name ever had with its last number raised, or 1.0.0."""
    known = [path.stem for path in files(store.manifests / name) if path.suffix in (".json", ".removed")]
    numbers = [version_key(text) for text in known if is_version(text)]
    if not numbers:
        return FIRST
    major, minor, patch = max(numbers)
    return f"{major}.{minor}.{patch + 1}"


def versions(store: Store, name: str) -> list[str]:
    """All versions of a name, newest first."""
    found = [path.stem for path in files(store.manifests / name) if path.suffix == ".json"]
    return sorted((text for text in found if is_version(text)), key=version_key, reverse=True)


def version(store: Store, name: str, number: str) -> Stored:
    """A version by name and number.

    Raises:
        InputError: there is no such version, or its manifest is damaged.
    """
    path = store.manifest(name, number)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no {name}:{number}", where=str(store.root), fix="lft adapters list") from None
    manifest = read_manifest(text, str(path))
    if (manifest.name, manifest.version) != (name, number):
        raise InputError(
            f"it is the manifest of {manifest.name}:{manifest.version}", where=str(path), fix="lft adapters fsck"
        )
    return Stored(hashlib.sha256(text).hexdigest(), manifest)


def by_digest(store: Store, digest: str) -> Stored:
    """A version by its manifest's digest; also one that was removed, as long as something else needs it.

    Raises:
        InputError: it is missing or damaged.
    """
    return Stored(digest, read_manifest(blobs.read(store, digest), str(store.blob(digest))))


def remove(lease: Lease, stored: Stored) -> None:
    """Take a version out of the registry; gc then takes its files, but for those that something else needs."""
    store, manifest = lease.store, stored.manifest
    draft = lease.draft()
    with disk.source(f"{stored.digest}\n") as text:
        disk.write_draft(text, draft)
    disk.take_place(draft, store.tombstone(manifest.name, manifest.version))
    disk.remove(store.manifest(manifest.name, manifest.version))
    disk.remove(store.tags(manifest.name, manifest.version))
    disk.remove(store.scores(manifest.name, manifest.version))
    disk.remove(store.signatures(manifest.name, manifest.version))


def tombstone(store: Store, name: str, number: str) -> str | None:
    """The digest that a removed version had."""
    try:
        return store.tombstone(name, number).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def files(folder: Path) -> list[Path]:
    """What lies in a folder, which may not exist; no drafts."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def looks_like_manifest(blob: Path) -> bool:
    """Whether a blob begins as a manifest does (its keys are sorted)."""
    with blob.open("rb") as file:
        return file.read(len(_START)) == _START
