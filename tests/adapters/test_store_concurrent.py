"""Many writers, and writers that are killed: nothing is ever half there, whatever is cut short and wherever."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lft.adapters.store import blobs, disk, index
from lft.adapters.store.add import add_adapter
from lft.adapters.store.checkout import materialise
from lft.adapters.store.fsck import check
from lft.adapters.store.gc import collect
from lft.adapters.store.index import Query, listed
from lft.adapters.store.layout import Store, folders_of_names, open_store
from lft.adapters.store.leases import leased
from lft.adapters.store.lookup import resolve
from lft.adapters.store.marks import alias_digest, aliases, move_alias, tag, tags
from lft.adapters.store.versions import by_digest, remove, version, versions
from lft.errors import InputError
from tests.registry import NAME, adapter, pointed, published

NAMES = ("lft/de", "lft/fr", "me/de")


def forked(act: Callable[[], None]) -> int:
    """The id of a process that runs ``act``; it ends with 1 and a traceback where that fails."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        act()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def status(process: int) -> int:
    """How a process ended; negative is the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# --- eight writers ---------------------------------------------------------------------------------------------------


def one_writer(root: Path, seed: int, rounds: int) -> None:
    """Put, point, tag, remove, collect, check out, in any order; only what another writer undid may be refused."""
    os.fsync = lambda _: None  # nobody pulls the plug here, and the writers meet more often
    chance, store = random.Random(seed), open_store(root)
    for _ in range(rounds):
        name = chance.choice(NAMES)
        act = chance.choice((put, put, point, tagged, taken_out, swept, seen, used))
        act(store, name, chance)


def expect(error: InputError, *words: str) -> None:
    """What a writer may be told, as another one was faster."""
    assert any(word in error.what for word in words), error


def put(store: Store, name: str, chance: random.Random) -> None:
    """Contents are few, so that writers meet in them and gc finds what another writer is about to use."""
    content = f"content {chance.randrange(6)}".encode() * 100
    try:
        published(store, content, name=name, version=f"1.0.{chance.randrange(12)}")
    except InputError as error:
        expect(error, "exists with another content", "was removed")


def point(store: Store, name: str, chance: random.Random) -> None:
    known, alias = versions(store, name), chance.choice(("prod", "test"))
    if not known:
        return
    try:
        stored = version(store, name, chance.choice(known))
        with leased(store) as lease:
            before = alias_digest(store, name, alias)
            move_alias(lease, name, alias, chance.choice((stored, stored, None)), before)
    except InputError as error:
        expect(error, "meanwhile", "there is no", "is missing")


def tagged(store: Store, name: str, chance: random.Random) -> None:
    try:
        stored = resolve(store, name)
        with leased(store) as lease:
            tag(lease, stored, {"round": (str(chance.randrange(9)),)})
    except InputError as error:
        expect(error, "there is no", "is missing")


def taken_out(store: Store, name: str, chance: random.Random) -> None:
    known = versions(store, name)
    if len(known) < 3:
        return
    try:
        stored = version(store, name, chance.choice(known))
    except InputError as error:
        expect(error, "there is no")
        return
    with leased(store) as lease:
        remove(lease, stored)


def swept(store: Store, name: str, chance: random.Random) -> None:
    collect(store, grace=0)


def seen(store: Store, name: str, chance: random.Random) -> None:
    for row in listed(store, Query(all_versions=True)):
        assert row.problem == "", row


def used(store: Store, name: str, chance: random.Random) -> None:
    try:
        by_digest(store, resolve(store, name).digest)
    except InputError as error:
        expect(error, "there is no", "is missing")


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "locks do nothing"])
def test_eight_writers_leave_a_registry_in_which_everything_is_whole(
    tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    if not locks:
        monkeypatch.setattr(filelock.FileLock, "acquire", lambda self, *_, **__: None)
        monkeypatch.setattr(filelock.FileLock, "release", lambda self, *_, **__: None)
    root = tmp_path / "registry"
    writers = [forked(lambda seed=seed: one_writer(root, seed, 60)) for seed in range(8)]  # type: ignore[misc]
    assert [status(writer) for writer in writers] == [0] * 8
    store = open_store(root)
    for _ in range(3):
        assert check(store).findings == ()
        collect(store, grace=0)
    known = [f"{name}:{number}" for name in NAMES for number in versions(store, name)]
    assert len(known) > 3
    assert {f"{row.name}:{row.version}" for row in listed(store, Query(all_versions=True))} == set(known)
    assert all(by_digest(store, digest) for name in NAMES for digest in aliases(store, name).values())
    assert not list(store.tmp.iterdir())
    assert not list(store.trash.iterdir())


def test_of_many_writers_of_one_version_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    root = tmp_path / "registry"

    def write(number: int) -> None:
        try:
            published(open_store(root), str(number % 4).encode())
        except InputError as error:
            expect(error, "exists with another content")
            os._exit(7)

    ends = [status(writer) for writer in [forked(lambda n=n: write(n)) for n in range(8)]]  # type: ignore[misc]
    assert sorted(ends) == [0, 0, 7, 7, 7, 7, 7, 7]  # two of the eight had the same content
    assert check(open_store(root)).findings == ()


def test_many_writers_of_next_versions_get_different_ones(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    folders = [adapter(tmp_path / f"a{seed}", seed) for seed in range(6)]
    writers = [forked(lambda folder=folder: add_adapter(open_store(root), folder)) for folder in folders]  # type: ignore[misc]
    assert [status(writer) for writer in writers] == [0] * 6
    assert versions(open_store(root), NAME) == [f"1.0.{number}" for number in range(5, -1, -1)]


def test_gc_never_takes_what_a_writer_is_about_to_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a blob and the manifest that names it, two runs of gc with no grace at all."""
    store = open_store(tmp_path / "registry")
    with leased(store) as lease, disk.source(b"weights") as stream:
        blobs.put(lease, stream)  # there, but needed by nobody
    real = disk.touch

    def collected(path: Path) -> None:
        real(path)
        collect(store, grace=0)
        collect(store, grace=0)

    monkeypatch.setattr(disk, "touch", collected)
    stored = published(store)
    monkeypatch.undo()
    assert check(store).findings == ()
    assert blobs.find(store, stored.manifest.weights).read_bytes() == b"weights"


def test_gc_that_looked_before_a_writer_came_takes_nothing_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole publication between gc's marking and its moving; the blob was there and unneeded when gc looked."""
    store = open_store(tmp_path / "registry")
    with leased(store) as lease, disk.source(b"weights") as stream:
        blobs.put(lease, stream)
    real = disk.move

    def interrupted(path: Path, target: Path) -> bool:
        monkeypatch.setattr(disk, "move", real)
        published(store)
        return real(path, target)

    monkeypatch.setattr(disk, "move", interrupted)
    collect(store, grace=0)
    stored = version(store, NAME, "1.0.0")
    assert not store.blob(stored.manifest.weights).exists()  # it lies in the trash
    for _ in range(2):
        collect(store, grace=0)
    assert check(store).findings == ()
    assert store.blob(stored.manifest.weights).read_bytes() == b"weights"


# --- killed at every write -------------------------------------------------------------------------------------------


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = (
    "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "os.truncate",
    "sqlite3.connect",
)  # fmt: skip


def killed(root: Path, point: int, act: Callable[[Store], Any]) -> bool:
    """Whether ``act`` was still at work at its ``point``-th change of the disk below ``root``: it is killed there."""

    def run() -> None:
        left = point

        def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            changes = event in _CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & _WRITES)
            if changes and str(args[0]).startswith(str(root)):
                count()

        os.fsync = lambda _: count()  # a killed process needs no disk to forget; the moment counts
        sys.addaudithook(hook)
        act(open_store(root))

    end = status(forked(run))
    assert end in (0, -signal.SIGKILL)
    return end != 0


def state(store: Store) -> dict[str, Any]:
    """What a registry says: versions with their tags, aliases, contents."""
    found: dict[str, Any] = {}
    for name, _ in folders_of_names(store.manifests):
        for number in versions(store, name):
            stored = version(store, name, number)
            found[f"{name}:{number}"] = (stored.digest, dict(tags(store, stored.manifest)))
    for name, _ in folders_of_names(store.refs):
        found |= {f"{name}@{alias}": digest for alias, digest in aliases(store, name).items()}
    return found


def before(root: Path, folder: Path) -> None:
    """A registry with two versions, an alias, tags, a loose blob and something in the trash."""
    store = open_store(root)
    add_adapter(store, adapter(folder / "one", 1))
    two = add_adapter(store, adapter(folder / "two", 2)).stored
    pointed(store, "prod", two)
    with leased(store) as lease:
        tag(lease, two, {"lang": ("de",)})
        for content in (b"loose", b"looser"):
            with disk.source(content) as stream:
                blobs.put(lease, stream)
    collect(store, grace=0)
    with leased(store) as lease, disk.source(b"loosest") as stream:
        blobs.put(lease, stream)
    materialise(store, two.digest)


def changed_tags(store: Store) -> None:
    with leased(store) as lease:
        tag(lease, version(store, NAME, "1.0.1"), {"lang": ("fr",)})


def removed(store: Store) -> None:
    with leased(store) as lease:
        remove(lease, version(store, NAME, "1.0.1"))


ACTS: dict[str, Callable[[Store, Path], Any]] = {
    "add": lambda store, folder: add_adapter(store, folder / "new"),
    "add again": lambda store, folder: add_adapter(store, folder / "one"),
    "alias": lambda store, folder: pointed(store, "test", version(store, NAME, "1.0.0")),
    "move alias": lambda store, folder: pointed(store, "prod", version(store, NAME, "1.0.0")),
    "remove alias": lambda store, folder: pointed(store, "prod", None),
    "tag": lambda store, folder: changed_tags(store),
    "remove": lambda store, folder: removed(store) if "1.0.1" in versions(store, NAME) else None,
    "gc": lambda store, folder: collect(store, grace=0),
    "check out": lambda store, folder: materialise(store, version(store, NAME, "1.0.0").digest),
    "list": lambda store, folder: listed(store),
    "reindex": lambda store, folder: index.reindex(store),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_process_killed_at_any_write_leaves_the_old_state_or_the_new_one(tmp_path: Path, name: str) -> None:
    act = ACTS[name]
    adapter(tmp_path / "new", 3)
    before(tmp_path / "start" / "registry", tmp_path)
    old = state(open_store(tmp_path / "start" / "registry"))
    shutil.copytree(tmp_path / "start", tmp_path / "whole")
    act(open_store(tmp_path / "whole" / "registry"), tmp_path)
    new = state(open_store(tmp_path / "whole" / "registry"))
    point = 0
    while True:
        point += 1
        root = tmp_path / "killed" / "registry"
        shutil.copytree(tmp_path / "start", tmp_path / "killed")
        if not killed(root, point, lambda store: act(store, tmp_path)):
            break
        store = open_store(root)
        assert state(store) in (old, new), point
        assert check(store).findings == (), point
        act(store, tmp_path)
        assert state(store) == new, point
        for _ in range(2):
            collect(store, grace=0)
        assert state(store) == new, point
        assert check(store).findings == (), point
        assert check(store).notes == (), point
        shutil.rmtree(tmp_path / "killed")
    assert point > 3 or name in ("list", "reindex"), "nothing was written, so nothing was tested"


def test_a_process_killed_while_it_makes_a_registry_leaves_one_that_can_be_used(tmp_path: Path) -> None:
    folder, point = adapter(tmp_path / "a"), 0
    while True:
        point += 1
        root = tmp_path / f"{point}" / "registry"
        if not killed(root.parent, point, lambda store, root=root: add_adapter(open_store(root), folder)):  # type: ignore[misc]
            break
        store = open_store(root)
        assert len(state(store)) <= 1
        assert check(store).findings == ()
        add_adapter(store, folder)
        assert list(state(store)) == [f"{NAME}:1.0.0"]
        assert check(store).findings == ()
    assert point > 20
