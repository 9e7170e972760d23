"""A file that is hashed beside its being written, put on the disk from its first bytes on, and read back.

    bytes ──┬─▶ a thread of its own: sha256, for the manifest
            └─▶ XXH3, for reading back; write; start of the disk's work

sha256 is a fourth of an export's processor time and cannot be divided within a file: a model of one file, or the last
of several, would keep one processor busy and leave the others idle.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import xxhash

from lft.errors import InputError

# Bytes handed to the kernel at once: in pieces this large it took a third of the time that 0.5 MB pieces took.
AT_ONCE: Final = 4 * 1024 * 1024


class Sink:
    """An open file, hashed while it is written; a context, whose end lets its thread go.

    Reading back looks for faults of the machine and not for forgery, and sha256 takes nine times as long as XXH3.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.size = 0
        self._stream, self._digest, self._checksum = stream, hashlib.sha256(), xxhash.xxh3_128()
        self._hashing = ThreadPoolExecutor(1)

    def write(self, data: Any) -> None:
        """Hash bytes and write them; afterwards they may change.

        Raises:
            OSError: they could not be written.
        """
        view = memoryview(data).cast("B")
        hashed = self._hashing.submit(self._digest.update, view)
        try:
            self._put(view)
        finally:
            hashed.result()
        self.size += len(view)

    @property
    def sha256(self) -> str:
        """Hex sha256 of what was written."""
        return self._digest.hexdigest()

    @property
    def checksum(self) -> bytes:
        """XXH3 of it."""
        return self._checksum.digest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hashing.shutdown()

    def _put(self, view: memoryview) -> None:
        self._checksum.update(view)
        start, size = self.size, len(view)
        while view:
            view = view[self._stream.write(view) :]
        if hasattr(os, "posix_fadvise"):  # else the disk idles until fsync; what is not on it yet is not dropped
            os.posix_fadvise(self._stream.fileno(), start, size, os.POSIX_FADV_DONTNEED)


def require_on_disk(path: Path, sink: Sink) -> None:
    """Flush a file that a sink has written to the disk, and read it back.

    Raises:
        InputError: it does not hold what was written.
    """
    found, buffer = xxhash.xxh3_128(), memoryview(bytearray(AT_ONCE))
    with path.open("rb", buffering=0) as stream:
        os.fsync(stream.fileno())
        while size := stream.readinto(buffer):
            found.update(buffer[:size])
    if found.digest() != sink.checksum:
        raise InputError(f"{path.name} does not hold what was written to it", where=str(path), fix="check the disk")
