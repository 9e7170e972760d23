"""Bytes named by their sha256: put once, found by name, checked against it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO, Final

from lft.adapters.store import disk
from lft.adapters.store.disk import Written
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease
from lft.errors import InputError
from lft.files import sha256

_HEX: Final = re.compile(r"[0-9a-f]{64}")


def put(lease: Lease, source: BinaryIO) -> Written:
    """Store a stream. The same bytes again cost a look at those that are there; damaged ones are replaced.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    draft = lease.draft()
    written = disk.write_draft(source, draft)
    return keep(lease, draft, written)


def keep(lease: Lease, draft: Path, written: Written) -> Written:
    """Make a blob of a draft that was written and flushed; the draft is gone afterwards."""
    lease.protect(written.sha256)
    final = lease.store.blob(written.sha256)
    # gc may have taken it out since it was looked at
    if is_whole(final, written.sha256, written.size) and disk.touch(final):
        disk.remove(draft)
    else:
        disk.take_place(draft, final)
    return written


def is_whole(path: Path, digest: str, size: int | None = None) -> bool:
    """Whether a file is there and is what its digest says (and of that size)."""
    try:
        return (size is None or path.stat().st_size == size) and sha256(path) == digest
    except OSError:
        return False


def find(store: Store, digest: str) -> Path:
    """The file of a blob. One that gc took out in the same moment as it became needed comes back from the trash.

    Raises:
        InputError: it is not in this registry.
    """
    if not _HEX.fullmatch(digest):
        raise InputError(f"{digest[:70]!r} is no sha256", where=str(store.root), fix="lft adapters fsck")
    path = store.blob(digest)
    if path.is_file():
        return path
    for trashed in sorted(store.trash.glob(f"*/{digest}")):
        try:
            disk.move(trashed, path)
        except Exception:  # a registry that may only be read: the bytes are good where they are
            return trashed
        if path.is_file():
            return path
    if path.is_file():  # somebody else brought it back
        return path
    raise InputError(
        f"blob {digest[:12]} is missing", where=str(store.root), fix="lft adapters fsck, then add the adapter again"
    )


def read(store: Store, digest: str) -> bytes:
    """The bytes of a small blob, checked.

    Raises:
        InputError: it is missing or damaged.
    """
    path = find(store, digest)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"blob {digest[:12]} is damaged", where=str(path), fix="lft adapters fsck")
    return content


def listed(store: Store) -> list[Path]:
    """All blobs."""
    if not store.blobs.is_dir():
        return []
    return sorted(path for folder in store.blobs.iterdir() if folder.is_dir() for path in folder.iterdir())
