"""The registry's manifest beside a pushed adapter: with it, a version is the same version on every machine.

What it says about the files is measured again from the files; where anything disagrees it is not used, and the adapter
is stored as one that somebody else made. Names and figures of an evaluation remain what its author says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.hub_fetch import RECORD, RUN_FILES
from lft.adapters.store import blobs
from lft.adapters.store.checkout import materialise
from lft.adapters.store.facts import base_of, lora_of, tokenizer_of
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease
from lft.adapters.store.manifest import Manifest, Parent, read_manifest
from lft.adapters.store.restack import require_whole_stack, restacked
from lft.adapters.store.versions import Stored, publish
from lft.adapters.tensors import require_finite
from lft.base.binding import Binding
from lft.base.files import Notify
from lft.errors import InputError
from lft.files import sha256


def published_as_recorded(
    lease: Lease, folder: Path, record: Path, name: str, notify: Notify
) -> tuple[Stored, bool] | None:
    """Store an adapter as the very version that its record says.

    Args:
        lease: of the caller.
        folder: the adapter's files.
        record: folder of the record and of the run's files.
        name: ``ns/name`` that it is to have; a record of another name is not used.
        notify: told why a record is not used.

    Returns:
        The version and whether it is new; None where there is no record, or it is not used.

    Raises:
        InputError: the adapter is refused (``open_adapter``), or a number in it is not finite.
    """
    if not (record / RECORD).is_file():
        return None
    adapter = open_adapter(folder)
    require_finite(adapter.tensors)
    try:
        manifest = read_manifest((record / RECORD).read_bytes(), RECORD)
        why = _why_not(lease.store, adapter, manifest, record, name)
        if why is None:
            return _published(lease, folder, record, manifest)
    except InputError as error:
        why = error.what
    notify(f"it is stored as a new version, not as the one that was pushed: {why}")
    return None


def published_stack(lease: Lease, folder: Path, record: Path, name: str) -> tuple[Stored, bool]:
    """Store a stack that was pushed: as the very version, where its parts here are the very versions that it names.

    Args:
        lease: of the caller.
        folder: the stack's files.
        record: folder of the record.
        name: ``ns/name`` that it is to have.

    Returns:
        The version and whether it is new.

    Raises:
        InputError: its record is damaged or says something else than its files, or a part is not in the registry.
    """
    manifest, binding = read_manifest((record / RECORD).read_bytes(), RECORD), Binding.load(folder)
    require_whole_stack(manifest, binding)
    changed = [file.path for file in manifest.files if not _is(folder / file.path, file.sha256)]
    if changed:
        raise InputError(f"{', '.join(changed)} changed on the hub since it was pushed", fix="tell its owner")
    digests = {one.digest: _digest_here(lease.store, one) for one in manifest.lineage.parents if one.digest}
    parts = [open_adapter(materialise(lease.store, digest)) for digest in digests.values()]
    whole = replace(parts[-1], folder=folder, binding=binding, rows=tuple(rows for one in parts for rows in one.rows))
    odd = [one for one in parts if one.binding is None or one.binding.weights != binding.weights]
    base = base_of(whole) if manifest.format > 1 else replace(base_of(whole), architecture=None)
    if odd or (base, tokenizer_of(whole)) != (manifest.base, manifest.tokenizer):
        raise InputError("its record says something else than its files and its parts", fix="tell its owner")
    if manifest.name == name and all(old == new for old, new in digests.items()):
        return _published(lease, folder, record, manifest)
    return restacked(lease, folder, replace(manifest, name=name), digests)


def _digest_here(store: Store, part: Parent) -> str:
    """The version of a part that is meant, else another of the same adapter."""
    if part.digest and store.blob(part.digest).is_file():
        return part.digest
    return with_weights(store, part.weights)[0][0]


def _why_not(store: Store, adapter: Adapter, manifest: Manifest, record: Path, name: str) -> str | None:
    """Why a record cannot be used; None where it can."""
    if manifest.name != name:
        return f"that is {manifest.name} (--name {manifest.name} takes it as that)"
    changed = [file.path for file in manifest.files if not _is(adapter.folder / file.path, file.sha256)]
    if changed:
        return f"{', '.join(changed)} changed on the hub since"
    if _run_files(manifest, record) is None:
        return "the run's files changed on the hub since"
    base = base_of(adapter)
    if manifest.format == 1:
        base = replace(base, architecture=None)
    said = manifest.base if base.id else replace(manifest.base, id="")
    known = adapter.digest if manifest.format > 1 else None
    facts = (base, tokenizer_of(adapter), lora_of(adapter), adapter.configuration.variant, known)
    if facts != (said, manifest.tokenizer, manifest.lora, manifest.method, manifest.identity):
        return "its record says something else than its files"
    missing = [one for one in manifest.parents if not store.blob(one).is_file()]
    if missing:
        return f"{len(missing)} of the adapters that it was made from are not in the registry; pull them first"
    return None


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def _run_files(manifest: Manifest, record: Path) -> list[Path] | None:
    """The files of its run that a manifest names; None where one of them is missing or another."""
    training = manifest.lineage.training
    wanted = (training.recipe, training.lock) if training else (None, None)
    found = [(record / name, digest) for name, digest in zip(RUN_FILES, wanted, strict=True) if digest]
    return [path for path, _ in found] if all(_is(path, digest) for path, digest in found) else None


def _published(lease: Lease, folder: Path, record: Path, manifest: Manifest) -> tuple[Stored, bool]:
    paths = [folder / file.path for file in manifest.files]
    for path in (*paths, *(_run_files(manifest, record) or ())):
        with path.open("rb") as stream:
            blobs.put(lease, stream)
    return publish(lease, manifest)
