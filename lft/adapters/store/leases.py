"""A writer's folder under tmp/: its drafts, and a lease on the blobs that it counts on until a manifest names them.

Order is what makes gc safe without any lock. A writer writes a digest into its lease, then looks whether the blob is
there. gc lists what it may take, then reads the leases, then the manifests. So what a writer found after it was listed
is protected by the lease or, where that is already given back, by the manifest that was published before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.store import disk
from lft.adapters.store.layout import Store, prepare

LEASE: Final = "lease"
ABANDONED: Final = 24 * 3600.0  # seconds without a sign of life after which a writer elsewhere is taken for dead
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Lease:
    """A writer's folder."""

    store: Store
    folder: Path

    def draft(self) -> Path:
        """A path for a new file."""
        return self.folder / disk.unique()

    def protect(self, digest: str) -> None:
        """Keep gc from a blob (of a manifest: with all that it names) until the lease is given back."""
        disk.append_line(self.folder / LEASE, digest)


@contextmanager
def leased(store: Store) -> Iterator[Lease]:
    """A lease, given back when the block ends; the registry is made where there is none."""
    prepare(store)
    folder = store.tmp / disk.unique()
    disk.make_folder(folder)
    lease = Lease(store, folder)
    disk.append_line(folder / LEASE, json.dumps({"place": _place(), "pid": os.getpid()}))
    try:
        yield lease
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def protected(store: Store) -> set[str]:
    """Digests that living writers count on."""
    found: set[str] = set()
    for folder in _folders(store):
        if not _is_dead(folder):
            found.update(line for line in _lines(folder) if _HEX.fullmatch(line))
    return found


def sweep(store: Store) -> int:
    """Remove what dead writers left; how many there were."""
    gone = [folder for folder in _folders(store) if _is_dead(folder)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else disk.remove(path)
    return len(gone)


def left_behind(store: Store) -> int:
    """How many dead writers left something that gc will remove."""
    return sum(_is_dead(folder) for folder in _folders(store))


def _folders(store: Store) -> list[Path]:
    return sorted(store.tmp.iterdir()) if store.tmp.is_dir() else []


def _is_dead(folder: Path) -> bool:
    """A writer of this machine is dead when its process is; of another one, when nothing was heard for a day."""
    lines = _lines(folder)
    with suppress(ValueError, KeyError, TypeError, IndexError):
        said = json.loads(lines[0])
        if said["place"] == _place():
            return not _lives(said["pid"])
    try:
        heard = max(path.stat().st_mtime for path in (folder, folder / LEASE) if path.exists())
    except (OSError, ValueError):
        return False  # it was given back meanwhile
    return time.time() - heard > ABANDONED


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / LEASE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _place() -> str:
    """This machine, and on Linux the set of processes that this one can see: containers may share a host's name."""
    seen = ""
    with suppress(OSError):
        seen = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {seen}".strip()
