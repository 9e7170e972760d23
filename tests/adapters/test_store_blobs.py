"""Blobs: named by what they are, whole or not there, put twice at the price of a look."""

from __future__ import annotations

import hashlib
import os
import stat
from io import BytesIO
from pathlib import Path

import pytest

from lft.adapters.store import blobs, disk, layout
from lft.adapters.store.layout import open_store
from lft.adapters.store.leases import leased
from lft.errors import InputError, MachineError
from tests.registry import new_store, published, tree

CONTENT = b"some bytes"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def put(store, content: bytes = CONTENT) -> disk.Written:
    with leased(store) as lease, disk.source(content) as stream:
        return blobs.put(lease, stream)


def test_a_blob_is_named_by_its_sha256_and_may_only_be_read(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert put(store) == disk.Written(DIGEST, len(CONTENT))
    path = store.blob(DIGEST)
    assert path == store.root / "blobs" / "sha256" / DIGEST[:2] / DIGEST
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) & 0o333 == 0


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o444), (0o077, 0o400), (0o027, 0o440)])
def test_who_may_read_a_blob_is_said_by_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        put(new_store(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(new_store(tmp_path).blob(DIGEST).stat().st_mode) == mode


def test_the_same_bytes_again_are_the_same_file(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store)
    there = store.blob(DIGEST).stat()
    os.utime(store.blob(DIGEST), (1, 1))
    put(store)
    assert store.blob(DIGEST).stat().st_ino == there.st_ino
    assert store.blob(DIGEST).stat().st_mtime > 1  # it is in use again: gc's grace begins anew


def test_a_damaged_blob_is_healed_by_putting_its_bytes_again(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store)
    path = store.blob(DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"some bytez")
    put(store)
    assert path.read_bytes() == CONTENT


def test_a_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store)
    put(store)
    assert set(tree(store.root)) == {"format", f"blobs/sha256/{DIGEST[:2]}/{DIGEST}"}
    assert list(store.tmp.iterdir()) == []


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    def fail() -> None:
        with leased(store) as lease:
            lease.draft().write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert set(tree(store.root)) == {"format"}


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(tmp_path)
    put(store, b"first")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="no space left"):
        put(store)


def test_reading_a_blob_checks_it(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store)
    assert blobs.read(store, DIGEST) == CONTENT
    store.blob(DIGEST).chmod(0o644)
    store.blob(DIGEST).write_bytes(b"other")
    with pytest.raises(InputError, match="is damaged"):
        blobs.read(store, DIGEST)


@pytest.mark.parametrize("digest", ["f" * 64, "../../format", "", "F" * 64])
def test_what_is_no_digest_or_not_there_is_refused(tmp_path: Path, digest: str) -> None:
    put(new_store(tmp_path))
    with pytest.raises(InputError, match=r"is missing|is no sha256"):
        blobs.find(new_store(tmp_path), digest)


def test_a_blob_in_the_trash_comes_back_when_it_is_needed(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store)
    disk.move(store.blob(DIGEST), store.trash / "1-a" / DIGEST)
    assert not store.blob(DIGEST).exists()
    assert blobs.find(store, DIGEST) == store.blob(DIGEST)
    assert store.blob(DIGEST).read_bytes() == CONTENT


def test_a_registry_of_another_format_is_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    published(store)
    (store.root / "format").chmod(0o644)
    (store.root / "format").write_text("2\n")
    with pytest.raises(InputError, match="format '2', this version knows 1"):
        open_store(store.root)
    (store.root / "format").unlink()
    with pytest.raises(InputError, match="does not say its format"):
        open_store(store.root)


def test_a_registry_that_is_not_there_is_empty_and_is_not_made_by_looking(tmp_path: Path) -> None:
    from lft.adapters.store import index
    from lft.adapters.store.fsck import check

    store = open_store(tmp_path / "none")
    assert index.listed(store) == []
    assert check(store).findings == ()
    assert not (tmp_path / "none").exists()


def test_a_registry_that_another_process_makes_between_two_looks_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.Store(tmp_path).blobs.mkdir(parents=True)
    seen = iter([None, layout.FORMAT])
    monkeypatch.setattr(layout, "_format", lambda _: next(seen))
    assert open_store(tmp_path).root == tmp_path
    assert next(seen, None) is None


def test_a_blob_that_gc_takes_out_between_two_looks_is_stored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, whole = new_store(tmp_path), blobs.is_whole

    def looked(path: Path, *more: object) -> bool:
        found = whole(path, *more)  # type: ignore[arg-type]
        path.unlink(missing_ok=True)
        return found

    with leased(store) as lease:
        blobs.put(lease, BytesIO(CONTENT))
        monkeypatch.setattr(blobs, "is_whole", looked)
        blobs.put(lease, BytesIO(CONTENT))
    assert store.blob(DIGEST).read_bytes() == CONTENT
