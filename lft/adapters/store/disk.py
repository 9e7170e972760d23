"""The few ways in which the store changes a disk. Each leaves either what was there or what is new, whole.

A file is written aside (hashed on the way, flushed), takes its name in one step, and then its folder is flushed. A
process killed between any two of these steps leaves at most a draft that nobody reads.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from lft.errors import MachineError
from lft.files import disk_errors, sync_folder

CHUNK: Final = 4 << 20
_READ_ONLY: Final = 0o444  # the process's umask is taken off by the system


@dataclass(frozen=True, slots=True)
class Written:
    """Hex sha256 and size in bytes of what was written."""

    sha256: str
    size: int


def write_draft(source: BinaryIO, draft: Path) -> Written:
    """Copy a stream into a new read-only file, hashing on the way, and flush it.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    digest, size = hashlib.sha256(), 0
    with disk_errors(draft), os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY), "wb") as file:
        while piece := source.read(CHUNK):
            digest.update(piece)
            file.write(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Written(digest.hexdigest(), size)


def take_place(draft: Path, final: Path) -> None:
    """Give a draft its name, in place of whatever has it."""
    with disk_errors(final):
        make_folder(final.parent)
        os.replace(draft, final)
        sync_folder(final.parent)


def link_once(existing: Path, final: Path) -> bool:
    """Give a file a second name that nobody has yet; False where the name is taken.

    Of several processes that try, exactly one succeeds, also on network file systems.

    Raises:
        MachineError: this file system has no hard links.
    """
    with disk_errors(final):
        make_folder(final.parent)
        try:
            os.link(existing, final)
        except FileExistsError:
            return False
        except OSError as error:
            if final.parent.is_dir() and os.access(final.parent, os.W_OK) and existing.exists():
                raise MachineError(
                    f"a registry needs a file system with hard links ({error.strerror})",
                    where=str(final.parent),
                    fix="set LFT_HOME to a folder on another disk",
                ) from error
            raise
        sync_folder(final.parent)
    return True


def move(path: Path, target: Path) -> bool:
    """Move a file to a folder that may not exist yet; False where another process was first."""
    with disk_errors(target):
        make_folder(target.parent)
        try:
            os.replace(path, target)
        except FileNotFoundError:
            return False
        with suppress(FileNotFoundError):  # another gc without grace emptied this part of the trash already
            sync_folder(target.parent)
    return True


def remove(path: Path) -> None:
    """Remove a file; nothing happens where it is gone."""
    with disk_errors(path), suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(path.parent)


def remove_folder_if_empty(path: Path) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        os.rmdir(path)


def append_line(path: Path, line: str) -> None:
    """Add a line to a log and flush it. Half a line that a killed process left becomes a line of its own."""
    with disk_errors(path):
        make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = os.fstat(handle).st_size
            torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
            os.write(handle, ("\n" * torn + line + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)


def touch(path: Path) -> bool:
    """Say that a file is in use now, and whether it is still there; another user's in a shared store stays as it is."""
    try:
        os.utime(path)
    except PermissionError:
        return True
    except FileNotFoundError:
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed into the one that holds it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with disk_errors(folder), suppress(FileExistsError):
        folder.mkdir()
        sync_folder(folder.parent)


def unique() -> str:
    """A name that nobody else has."""
    return uuid.uuid4().hex


def source(content: str | bytes) -> BytesIO:
    """A text or bytes as a stream."""
    return BytesIO(content.encode() if isinstance(content, str) else content)


def remove_tree(folder: Path, aside: Path) -> None:
    """Remove a folder that others may look into: it loses its name in one step, then its files go."""
    with disk_errors(folder):
        make_folder(aside)
        gone = aside / unique()
        with suppress(FileNotFoundError):
            os.replace(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)
