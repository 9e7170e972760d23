"""What this room asks of files beyond ``lft.files``: strict JSON, room on the disk, one builder at a time, a memo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lft.errors import InputError, MachineError
from lft.files import MANIFEST, is_disk_full, new_folder, only_builder, write_text

Notify = Callable[[str], None]

_RACY_NS = 2_000_000_000


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError when it cannot be read or a key occurs twice in one object."""
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
    except OSError as error:
        raise InputError(f"cannot read the file ({error.strerror})", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"not valid JSON ({error})", where=str(path), fix="fetch the file again; it may be cut short"
        ) from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different; ValueError when one occurs twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def need_room(folder: Path, size: int, what: str) -> None:
    """Raise MachineError when the disk that holds ``folder`` has fewer than ``size`` bytes free."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < size:
        raise MachineError(
            f"{what} needs {size / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free",
            where=str(there),
            fix="free some space, or put the cache on another disk",
        )


def is_published(folder: Path) -> bool:
    """Whether a published folder is there with every file of its manifest at its size; contents are not read again."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _AlreadyThere(Exception):
    """Another process published the same folder first."""


def publish(folder: Path, build: Callable[[Path], None], notify: Notify) -> Path:
    """A folder with a manifest, built at most once: ``build`` fills a draft that then takes the name at once.

    Of several processes one builds and the others wait; where the file system has no locks they all build and the first
    wins. Raises MachineError when the disk is full; nothing half-written is left.
    """
    if is_published(folder):
        return folder
    with only_builder(folder, lambda: notify("another process prepares the same base model; waiting for it")):
        if not is_published(folder):
            _build(folder, build)
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    try:
        with new_folder(folder) as draft:
            build(draft)
            for file in draft.iterdir():
                file.chmod(_open_mode())
            if is_published(folder):
                raise _AlreadyThere
        (folder / MANIFEST).chmod(_open_mode())
    except _AlreadyThere:
        return
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise MachineError(
            "no space left on the disk", where=str(folder), fix="free some space; nothing half-written was left"
        ) from error


def _open_mode() -> int:
    """The mode of an ordinary new file; safetensors writers leave 0600, which other users of the cache cannot read."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def remembered(cache: Path | None, kind: str, file: Path, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What ``compute`` says about a file's content, kept as long as path, size and times of the file stay the same."""
    if cache is None:
        return compute()
    real = file.resolve()
    stat = real.stat()
    key = f"{kind}|{real}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"
    memo = cache / "digests" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    known = _recall(memo, key)
    if known is not None:
        return known
    found = compute()
    # A file changed within the clock's resolution would keep its times: only settled files are remembered.
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _RACY_NS:
        with suppress(MachineError):  # a memo that cannot be kept costs time, not the run
            write_text(memo, json.dumps({"key": key, "found": found}, indent=1, sort_keys=True) + "\n")
    return found


def _recall(memo: Path, key: str) -> dict[str, str] | None:
    try:
        content = json.loads(memo.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("key") != key or not isinstance(content.get("found"), dict):
        return None
    return dict(content["found"])
