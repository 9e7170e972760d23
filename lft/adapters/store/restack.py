"""A stack's files as a version of it, where its parts have other digests than they were made with; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lft.adapters.store import blobs
from lft.adapters.store.add import published
from lft.adapters.store.leases import Lease
from lft.adapters.store.manifest import File, Manifest
from lft.adapters.store.versions import Stored
from lft.base.binding import Below, Binding
from lft.errors import InputError


def restacked(lease: Lease, folder: Path, manifest: Manifest, digests: Mapping[str, str]) -> tuple[Stored, bool]:
    """Store a stack whose parts are at other digests, under the next version where that makes it another one.

    Args:
        lease: of the caller.
        folder: the stack's files, which may say another base than the manifest; its ``lft.json`` is written anew.
        manifest: what it was.
        digests: of its parts' manifests, by those that ``manifest`` names.

    Returns:
        The version, and whether it is new.
    """
    binding = Binding.load(folder)
    below = tuple(_moved(one, digests) for one in binding.below)
    if below != binding.below:
        replace(binding, below=below).save(folder)
    parents = tuple(
        replace(one, digest=digests.get(one.digest, one.digest) if one.digest else None)
        for one in manifest.lineage.parents
    )
    made = replace(
        manifest,
        files=tuple(_stored(lease, folder, file) for file in manifest.files),
        base=replace(manifest.base, id=binding.base, revision=binding.revision),
        lineage=replace(manifest.lineage, parents=parents),
    )
    return published(lease, made, None)


def require_whole_stack(manifest: Manifest, binding: Binding) -> None:
    """Raise InputError unless a stack's manifest and its ``lft.json`` name the same parts with the same weights."""
    said = [(one.weights, one.weight) for one in manifest.lineage.parents]
    if binding.stack != manifest.kind or said != [(one.weights, one.share) for one in binding.below]:
        raise InputError("its record names other parts than its lft.json", fix="tell its owner; do not use it")


def _moved(part: Below, digests: Mapping[str, str]) -> Below:
    """Parts lie beside their stack, in folders named by their manifests' digests."""
    known = digests.get(Path(part.path).name)
    return replace(part, path=f"../{known}") if known else part


def _stored(lease: Lease, folder: Path, file: File) -> File:
    with (folder / file.path).open("rb") as stream:
        written = blobs.put(lease, stream)
    return replace(file, size=written.size, sha256=written.sha256)
