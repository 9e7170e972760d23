"""Stacks in the registry: a version without tensors, whose parts are pinned by the digests of their manifests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lft.adapters.folder import KNOWN
from lft.adapters.stacking import Kind, Part, Place, write_stack
from lft.adapters.store import blobs, disk
from lft.adapters.store.add import published
from lft.adapters.store.checkout import finder
from lft.adapters.store.facts import base_of, tokenizer_of
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease, leased
from lft.adapters.store.manifest import File, Lineage, Manifest, Parent
from lft.adapters.store.names import full_name, version_key
from lft.adapters.store.versions import Stored, by_digest
from lft.base.binding import Binding
from lft.base.places import or_remembered
from lft.errors import InputError


def place_in(store: Store, folder_of: Callable[[str], Path], cache: Path | None = None) -> Place:
    """Where the parts of a stack are found: by ``folder_of``, in a registry, or where a cache last saw them."""
    find = or_remembered(finder(store), cache) if cache else finder(store)
    return Place(folder_of, find, store.checkouts, lambda digest: str(by_digest(store, digest)))


def add_stack(
    store: Store,
    parts: Sequence[Part],
    kind: Kind,
    name: str,
    version: str | None = None,
    files_of: str | None = None,
    base_of: str | None = None,
) -> tuple[Stored, bool]:
    """Store a stack as a version; the same stack again is the same version, in whatever order it was written.

    Args:
        store: the registry.
        parts: from ``parts_of``; each from the registry.
        kind: a weighted sum or a chain.
        name: namespace/name.
        version: three numbers; None for the next ones.
        files_of: the part whose tokenizer and prompt format are taken where those of the parts differ.
        base_of: the part on whose base they stand, where the parts' bases were rounded differently.

    Returns:
        The version, and whether it is new.

    Raises:
        InputError: a part, or what lies below one, is not in the registry; files of the parts differ; or the version
            exists with another content.
    """
    own = full_name(name)
    if version is not None:
        version_key(version)
    _require_stored(store, parts)
    with leased(store) as lease:
        staged = lease.folder / "stack"
        disk.make_folder(staged)
        binding = write_stack(parts, kind, staged, own, files_of=files_of, base_of=base_of)
        return published(lease, _manifest(lease, parts, kind, own, binding, staged), version)


def _require_stored(store: Store, parts: Sequence[Part]) -> None:
    for part in parts:
        if part.version is None:
            raise InputError(
                f"{part.ref} is not in the registry, and a stack names its parts by their versions",
                fix=f"lft adapters add {part.ref} --name namespace/name, then name it so",
            )
        for parent in by_digest(store, part.version).manifest.lineage.parents:
            if parent.role == "below" and parent.digest is None:
                raise InputError(
                    f"{part.ref} lies on an adapter that is not in the registry ({parent.weights[:12]})",
                    fix=f"lft adapters add that one, then {part.ref} again, so that the two stay together",
                )


def _manifest(lease: Lease, parts: Sequence[Part], kind: Kind, name: str, binding: Binding, staged: Path) -> Manifest:
    files = []
    for path in sorted(staged.iterdir()):
        with path.open("rb") as stream:
            written = blobs.put(lease, stream)
        role = KNOWN[path.name][0]
        assert role != "manifest"
        files.append(File(path.name, written.size, written.sha256, role))
    rows = tuple(rows for part in parts for rows in part.adapter.rows)
    whole = replace(parts[-1].adapter, folder=staged, binding=binding, rows=rows)
    return Manifest(
        kind=kind,
        name=name,
        version="0.0.0",
        method=kind,
        files=tuple(files),
        base=base_of(whole),
        tokenizer=tokenizer_of(whole),
        lora=None,
        tags={key: tuple(values) for key, values in sorted(binding.tags.items()) if values},
        lineage=Lineage(
            name,
            binding.lft,
            None,
            tuple(Parent(part.version, part.share.weights, "input", part.share.share) for part in parts),
        ),
        merge=None,
        evaluation=(),
    )
