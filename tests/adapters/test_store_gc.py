"""gc frees what nothing needs, in two phases, and nothing else; fsck finds what is wrong, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lft.adapters.store import blobs, disk, leases
from lft.adapters.store.checkout import materialise
from lft.adapters.store.fsck import check
from lft.adapters.store.gc import collect, found
from lft.adapters.store.leases import leased
from lft.adapters.store.lockfile import make_lock
from lft.adapters.store.manifest import Parent
from lft.adapters.store.marks import tag
from lft.adapters.store.versions import by_digest, remove
from lft.errors import InputError
from tests.registry import NAME, added, draft, new_store, pointed, published, tree

DAY = 24 * 3600


def taken_out(store, stored) -> None:
    with leased(store) as lease:
        remove(lease, stored)


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def loose(store, content: bytes = b"loose") -> Path:
    """A blob that nothing names."""
    with leased(store) as lease, disk.source(content) as stream:
        return store.blob(blobs.put(lease, stream).sha256)


# --- gc --------------------------------------------------------------------------------------------------------------


def test_what_nothing_needs_goes_to_the_trash_and_from_there_with_a_later_run(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    kept = published(store)
    path = loose(store)
    first = collect(store, grace=0)
    assert [(one.name, size) for one, size in first.blobs] == [(path.name, 5)]
    assert not path.exists()
    assert [one.name for one in store.trash.glob("*/*")] == [path.name]
    second = collect(store, grace=0)
    assert [one.name for one, _ in second.trashed] == [path.name]
    assert list(store.trash.iterdir()) == []
    assert by_digest(store, kept.digest).manifest == kept.manifest
    assert check(store).findings == ()


def test_what_is_younger_than_the_grace_stays_in_both_phases(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    path = loose(store)
    assert collect(store).blobs == ()
    aged(path, DAY + 60)
    assert len(collect(store).blobs) == 1
    assert collect(store).trashed == ()
    (run,) = store.trash.iterdir()
    run.rename(store.trash / f"{int(time.time()) - DAY - 60}-x")
    assert len(collect(store).trashed) == 1


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    published(store)
    loose(store)
    before = tree(store.root)
    assert len(found(store, grace=0).blobs) == 1
    assert tree(store.root) == before


def test_everything_that_a_version_needs_stays_with_it(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = published(store, b"low", name="lft/low")
    parent = Parent(low.digest, low.manifest.weights, "below", None)
    top = published(store, b"top", lineage=draft().lineage.__class__("x", None, None, (parent,)))
    taken_out(store, low)
    for _ in range(2):
        assert collect(store, grace=0).blobs == ()
    assert by_digest(store, low.digest).manifest.weights == low.manifest.weights
    assert check(store).findings == ()
    taken_out(store, top)
    assert len(collect(store, grace=0).blobs) == 4


@pytest.mark.parametrize("by", ["alias", "lock", "lease"])
def test_a_removed_version_stays_as_long_as_something_points_to_it(tmp_path: Path, by: str) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    locked = make_lock(store, [NAME]).digests if by == "lock" else ()
    if by == "alias":
        pointed(store, "prod", stored)
    taken_out(store, stored)
    with leased(store) as lease:
        if by == "lease":
            lease.protect(stored.digest)
        for _ in range(2):
            assert collect(store, 0, locked).blobs == ()
    assert by_digest(store, stored.digest).manifest == stored.manifest
    if by == "alias":
        pointed(store, "prod", None)
    assert len(collect(store, 0).blobs) == 2


def test_what_is_needed_again_comes_back_from_the_trash(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    path = loose(store, b"weights")
    collect(store, grace=0)
    disk.make_folder(store.manifests)
    stored = published(store, b"weights")
    disk.move(path, store.trash / "1-x" / path.name)  # as if gc had taken it in the moment before it was published
    assert collect(store, grace=0).back == (path.name,)
    assert path.read_bytes() == b"weights"
    assert by_digest(store, stored.digest)


def test_a_second_copy_of_what_is_needed_does_not_stay_in_the_trash(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    path = store.blob(stored.manifest.weights)
    (store.trash / "1-x").mkdir(parents=True)
    (store.trash / "1-x" / path.name).write_bytes(path.read_bytes())
    assert [one.name for one, _ in collect(store, grace=0).trashed] == [path.name]
    assert not list(store.trash.iterdir())
    assert check(store).findings == ()


def test_a_damaged_manifest_stops_gc_before_it_touches_anything(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    published(store)
    loose(store)
    path = store.manifest(NAME, "1.0.0")
    path.unlink()
    path.write_text("{}")
    before = tree(store.root)
    with pytest.raises(InputError):
        collect(store, grace=0)
    assert tree(store.root) == before


def test_drafts_of_a_killed_writer_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    published(store)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    with leased(store) as lease:
        lease.draft().write_bytes(b"half")
        dead = store.tmp / "dead"
        dead.mkdir()
        (dead / "half").write_bytes(b"half")
        said = json.loads((lease.folder / leases.LEASE).read_text().splitlines()[0])
        (dead / leases.LEASE).write_text(json.dumps({**said, "pid": child.pid}) + "\n")
        assert leases.left_behind(store) == 1
        assert collect(store, grace=0).writers == 1
        assert list(store.tmp.iterdir()) == [lease.folder]


def test_a_writer_of_another_machine_is_taken_for_dead_after_a_day_of_silence(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    path = loose(store)
    far = store.tmp / "far"
    far.mkdir()
    (far / leases.LEASE).write_text(f'{{"place": "elsewhere", "pid": 1}}\n{path.name}\n')
    assert collect(store, grace=0).blobs == ()
    for one in (far / leases.LEASE, far):
        aged(one, DAY + 60)
    assert len(collect(store, grace=0).blobs) == 1
    assert not far.exists()


def test_a_checkout_stays_while_its_version_does_and_goes_after(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = added(store, tmp_path).stored
    folder = materialise(store, stored.digest)
    assert collect(store, grace=0).checkouts == ()
    taken_out(store, stored)
    assert collect(store).checkouts == ()
    assert collect(store, grace=0).checkouts == (folder,)
    assert not folder.exists()
    assert check(store).findings == ()


# --- fsck ------------------------------------------------------------------------------------------------------------


def whole(tmp_path: Path):
    """A registry with a bit of everything."""
    store = new_store(tmp_path)
    stored = added(store, tmp_path, 1).stored
    gone = added(store, tmp_path, 2).stored
    pointed(store, "prod", stored)
    with leased(store) as lease:
        tag(lease, stored, {"lang": ("de",)})
    taken_out(store, gone)
    materialise(store, stored.digest)
    return store, stored


def test_a_whole_registry_is_found_whole(tmp_path: Path) -> None:
    store, _ = whole(tmp_path)
    for quick in (False, True):
        report = check(store, quick=quick)
        assert report.findings == ()
        assert report.notes == ()
        assert (report.versions, report.aliases) == (1, 1)
    assert report.bytes == sum(path.stat().st_size for path in blobs.listed(store))


def overwrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": lambda store, one: overwrite(
        store.blob(one.manifest.weights), store.blob(one.manifest.weights).read_bytes()[:-1] + b"x"
    ),
    "a missing file": lambda store, one: store.blob(one.manifest.files[0].sha256).unlink(),
    "a short file": lambda store, one: overwrite(store.blob(one.manifest.weights), b"short"),
    "a missing manifest blob": lambda store, one: store.blob(one.digest).unlink(),
    "a changed manifest": lambda store, one: overwrite(
        store.manifest(NAME, "1.0.0"), one.manifest.text.replace("lft/tiny", "lft/tinx").encode()
    ),
    "no manifest": lambda store, one: overwrite(store.manifest(NAME, "1.0.0"), b"{}"),
    "a manifest in another's place": lambda store, one: (store.manifests / NAME / "9.0.0.json").write_text(
        one.manifest.text
    ),
    "an alias to nothing": lambda store, one: (
        store.alias(NAME, "prod").chmod(0o644) or store.alias(NAME, "prod").write_text("0" * 64)
    ),
    "an alias that is no digest": lambda store, one: overwrite(store.alias(NAME, "prod"), b"../../format"),
    "tags that are none": lambda store, one: overwrite(store.tags(NAME, "1.0.0"), b"[1]"),
    "a stray file": lambda store, one: (store.manifests / NAME / "notes.txt").write_text("x"),
    "a stray blob": lambda store, one: (
        (store.blobs / "ab").mkdir(exist_ok=True) or (store.blobs / "ab" / "note").write_text("x")
    ),
    "a link": lambda store, one: store.manifest(NAME, "2.0.0").symlink_to(store.manifest(NAME, "1.0.0")),
}
ONLY_WHOLE = {"a flipped bit"}  # what --quick does not look for


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(tmp_path: Path, damage: str) -> None:
    store, stored = whole(tmp_path)
    DAMAGES[damage](store, stored)
    assert check(store).findings, damage
    assert bool(check(store, quick=True).findings) == (damage not in ONLY_WHOLE)


def test_a_damaged_store_is_healed_by_adding_again(tmp_path: Path) -> None:
    for damage in ("a flipped bit", "a missing file", "a short file", "a missing manifest blob"):
        store, stored = whole(tmp_path / damage)
        DAMAGES[damage](store, stored)
        assert not added(store, tmp_path / damage, 1).new
        assert check(store).findings == (), damage


def test_what_a_killed_process_leaves_is_a_note_and_no_problem(tmp_path: Path) -> None:
    store, _ = whole(tmp_path)
    (store.tmp / "format-x").write_text("1")
    aged(store.tmp / "format-x", DAY + 60)
    with store.log("aliases").open("a") as log:
        log.write('{"half')
    report = check(store)
    assert report.findings == ()
    assert len(report.notes) == 2
