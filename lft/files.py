"""Files that are either whole or not there: temporary name, fsync, rename; a manifest with sha256 comes last."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from lft.errors import InputError, MachineError

MANIFEST = "manifest.json"
DRAFT = ".draft."  # in the names of what is not whole yet
_NEW = 1.0  # seconds: a draft that is younger may not be locked yet
# EFBIG is what a file-size limit (ulimit -f, some quotas) answers where a full disk answers ENOSPC.
# torch's writer of zip files says only that it is not where it should be in the file.
_TORCH_CANNOT_WRITE = ("PytorchStreamWriter failed", "inline_container.cc", "basic_ios::clear")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256(path: Path) -> str:
    """Hex sha256 of a file, streamed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a file's content in one step.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    with new_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """A temporary name beside a file, whose content becomes the file's in one step when the block ends well.

    Raises:
        MachineError: the disk is full or may not be written; nothing is left behind.
    """
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{final.name}{DRAFT}", dir=final.parent)
        os.close(handle)
        try:
            with _held(Path(name)):
                yield Path(name)
            with open(name, "rb") as stream:
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)  # temporary files are private; what they become is not
            os.replace(name, final)
        except BaseException:
            os.unlink(name)
            raise


def json_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a file of JSON lines, and how many lines are none (a process was killed while it wrote one).

    A file that is not there holds nothing. Raises OSError for one that cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], 0
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
    return found, len(lines) - len(found)


def append_lines(path: Path, text: str, *, flush: bool = True) -> None:
    """Add whole lines to a file, all of them or nothing, and flush them to the disk.

    What a killed process left of a line is ended first, so that it spoils none of these.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    with disk_errors(path), path.open("a+b", buffering=0) as stream:
        before = stream.seek(0, os.SEEK_END)
        stream.seek(max(before - 1, 0))
        torn = before > 0 and stream.read(1) != b"\n"
        rest = memoryview((b"\n" if torn else b"") + text.encode("utf-8", "surrogatepass"))
        try:
            while rest:  # a disk that fills up takes a part first and refuses the rest
                rest = rest[stream.write(rest) :]
            if flush:
                os.fsync(stream.fileno())
        except OSError:
            stream.truncate(before)
            raise


@contextmanager
def new_folder(final: Path, known: Mapping[str, str] | None = None) -> Iterator[Path]:
    """A temporary folder that becomes ``final`` when the block ends well, with a manifest written last.

    A folder that already stands at ``final`` is replaced. On any error nothing is left behind. ``known`` is filled by
    the block with the sha256 of files that it has flushed and read back itself (large ones); the others are read here.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep_drafts(final)
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}{DRAFT}", dir=final.parent))
        try:
            with _held(draft):  # to the rename: sealing takes long, and another writer to this place sweeps
                yield draft
                seal(draft, known)
                _put(draft, final)
            sync_folder(final.parent)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, MachineError) and str(draft) in (error.where or ""):
                error.where = str(final)  # the draft is gone; nobody should look for it
            raise


def _put(draft: Path, final: Path) -> None:
    """Move a whole draft to its place; what stands there, or arrives there at the same moment, is replaced."""
    while True:
        try:
            os.replace(draft, final)  # works where nothing is, or an empty folder
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
        with suppress(FileNotFoundError):  # somebody else has moved it away
            os.replace(final, old / "was")
        try:
            os.replace(draft, final)
        except OSError:
            continue  # another one came first; what was moved away stays until a sweep
        shutil.rmtree(old, ignore_errors=True)
        return


@contextmanager
def work_folder(final: Path) -> Iterator[Path]:
    """A hidden folder beside a place, for what is only on the way to it; it is gone when the block ends.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep_drafts(final)
        folder = Path(tempfile.mkdtemp(prefix=f".{final.name}{DRAFT}", dir=final.parent))
        try:
            with _held(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(draft: Path) -> Iterator[None]:
    """Hold a draft for as long as the block runs: its lock is what tells a living writer's from a dead one's."""
    handle = os.open(draft, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks: there nothing is swept either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def sweep_drafts(final: Path) -> None:
    """Remove drafts of one place, of folders and files, whose processes were killed; those of living ones stay.

    Only names that this module gives: a folder of somebody's may hold other hidden files.
    """
    ours = re.compile(rf"\.{re.escape(final.name)}{re.escape(DRAFT)}[a-z0-9_]{{8}}")
    for draft in final.parent.glob(f".{glob.escape(final.name)}{DRAFT}*"):
        with suppress(OSError):  # another process sweeps too
            if ours.fullmatch(draft.name) and time.time() - draft.stat().st_mtime > _NEW and not _is_held(draft):
                shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)


def _is_held(draft: Path) -> bool:
    handle = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def only_builder(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
    """While the block runs, no other process builds this folder; drafts of builders that were killed are removed.

    ``waits`` is called once where another process is at it. The system lets go of the lock when its holder ends,
    however it ends; where the file system has no locks, the rename alone keeps the folder whole.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f".{folder.name}.lock").open("w")
    with file:
        if _locked(file, waits):
            for left in folder.parent.glob(f".{folder.name}.*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
        yield


def _locked(file: TextIO, waits: Callable[[], None]) -> bool:
    """Lock an open file; False where locks do not exist. A wait inside the system could not be interrupted."""
    import fcntl

    waited = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waited:
                waits()
            waited = True
            time.sleep(0.1)
        except OSError:
            return False
        else:
            return True


def sweep(parent: Path) -> None:
    """Remove what ``new_folder`` and ``write_text`` left in a folder when their process was killed.

    A folder that was being replaced is put back where its successor had not arrived yet.
    """
    for old in parent.glob(".*.old.*"):
        final = parent / old.name[1 : old.name.rindex(".old.")]
        if (old / "was").exists() and not final.exists():
            os.replace(old / "was", final)
        shutil.rmtree(old, ignore_errors=True)
    for draft in parent.glob(f".*{DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)


def seal(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Flush every file of a folder to disk, then write its manifest (path, bytes, sha256); see ``new_folder``."""
    digests = dict(known or {})
    entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        entries[name] = {"bytes": path.stat().st_size, "sha256": digests.get(name) or sha256(path)}
    os.chmod(folder, 0o755)
    write_text(folder / MANIFEST, json.dumps({"files": entries}, indent=2))
    sync_folder(folder)


def broken_files(folder: Path) -> list[str]:
    """What does not agree with a folder's manifest, one line each; an empty list means that it is whole."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = {name: (entry["bytes"], entry["sha256"]) for name, entry in entries.items()}
    except FileNotFoundError:
        return ["it has no manifest, so writing it was never finished"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["its manifest cannot be read"]
    found = []
    for name, (size, digest) in wanted.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size or sha256(path) != digest:
            found.append(f"{name} is damaged")
    return found


def require_whole(folder: Path, what: str) -> None:
    """Raise InputError unless a folder agrees with its manifest."""
    broken = broken_files(folder)
    if broken:
        raise InputError(f"{what} is not whole: {'; '.join(broken)}", where=str(folder))


def require_folder_place(folder: Path) -> None:
    """Raise MachineError where a file stands in the way of a folder that would be made."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise MachineError("a file is where a folder should be", where=str(there), fix="choose another place")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one message."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise MachineError(
                "no space left on the disk", where=str(path), fix="free some space; what was saved before is whole"
            ) from error
        if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
            raise MachineError(
                f"a file and a folder are in each other's place ({error.strerror})",
                where=str(path),
                fix="choose another place",
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise MachineError("this place may not be written", where=str(path), fix="choose another folder") from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, from Python or from a Rust library that only passes text, says that the disk is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    text = str(error)
    return any(words in text for words in _TORCH_CANNOT_WRITE) or any(f"os error {code})" in text for code in _FULL)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
