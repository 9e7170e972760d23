"""The lock file: the closure of what is used, by digest; the same on every machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.adapters.store.lockfile import Lock, extended, make_lock, moved, read_lock, verify, write_lock
from lft.adapters.store.manifest import Parent
from lft.errors import InputError
from tests.registry import NAME, draft, new_store, pointed, published


@pytest.fixture
def stack(tmp_path: Path):
    """Three versions, each made from the one before."""
    store = new_store(tmp_path)
    made: list = []
    for name in ("lft/low", "lft/mid", NAME):
        parents = tuple(Parent(one.digest, one.manifest.weights, "below", None) for one in made[-1:])
        lineage = draft().lineage.__class__(name, None, None, parents)
        made.append(published(store, name.encode(), name=name, lineage=lineage))
    return store, made


def test_a_lock_holds_all_that_a_version_was_made_from(stack) -> None:
    store, made = stack
    lock = make_lock(store, [NAME])
    assert {pin.digest for pin in lock.adapters} == {one.digest for one in made}
    asked = {pin.name: pin.asked for pin in lock.adapters}
    assert asked == {"lft/low": (), "lft/mid": (), NAME: (NAME,)}
    pin = next(pin for pin in lock.adapters if pin.name == NAME)
    assert (pin.base.id, pin.base.weights, pin.base.tokenizer) == ("org/base", "c" * 64, "d" * 64)
    assert pin.parents == (made[1].digest,)


def test_a_lock_reads_back_the_same_and_does_not_depend_on_the_order(stack, tmp_path: Path) -> None:
    store, _ = stack
    one, other = make_lock(store, [NAME, "lft/low"]), make_lock(store, ["lft/low", NAME, NAME])
    assert one == other
    write_lock(one, tmp_path / "adapters" / "lft.lock")
    assert read_lock(tmp_path / "adapters" / "lft.lock") == one


def test_a_lock_goes_on_meaning_what_it_meant(stack) -> None:
    store, made = stack
    lock = make_lock(store, [NAME])
    new = published(store, b"new", version="1.0.1")
    assert lock.resolved(store, NAME).digest == made[-1].digest
    assert verify(store, lock, whole=True) == []
    assert moved(store, lock) == [f"{NAME} means {new} now; locked is lft/de:1.0.0 ({made[-1].digest[:12]})"]
    assert make_lock(store, lock.asked).resolved(store, NAME).digest == new.digest


def test_a_lock_grows_and_shrinks_without_moving_the_rest(stack) -> None:
    store, made = stack
    lock = make_lock(store, [NAME])
    published(store, b"new", version="1.0.1")
    more = extended(store, lock, [f"{NAME}:1.0.1"])
    assert more.asked == (NAME, f"{NAME}:1.0.1")
    assert more.resolved(store, NAME).digest == made[-1].digest
    assert extended(store, more, (), [NAME]).asked == (f"{NAME}:1.0.1",)
    with pytest.raises(InputError, match="lft/mid is not locked"):
        extended(store, lock, (), ["lft/mid"])


def test_what_is_not_locked_is_refused(stack) -> None:
    store, _ = stack
    lock = make_lock(store, [NAME])
    with pytest.raises(InputError, match="lft/low is not locked; the lock has lft/de"):
        lock.resolved(store, "lft/low")
    with pytest.raises(InputError, match="the lock has nothing"):
        Lock(()).resolved(store, NAME)


def test_a_lock_is_kept_on_another_machine_that_has_the_same_blobs(stack, tmp_path: Path) -> None:
    store, _ = stack
    lock = make_lock(store, [NAME])
    shutil.copytree(store.root, tmp_path / "elsewhere" / "registry")
    assert verify(new_store(tmp_path / "elsewhere"), lock, whole=True) == []
    empty = verify(new_store(tmp_path / "empty"), lock)
    assert len(empty) == 3
    assert all("is missing" in line for line in empty)


@pytest.mark.parametrize("whole", [True, False])
def test_a_missing_or_damaged_file_is_named(stack, whole: bool) -> None:
    store, made = stack
    lock = make_lock(store, [NAME])
    path = store.blob(made[0].manifest.weights)
    path.chmod(0o644)
    path.write_bytes(b"LFT/LOW")  # of the same size
    wanted = ["lft/low:1.0.0: adapter_model.safetensors is damaged"] if whole else []
    assert verify(store, lock, whole=whole) == wanted
    path.unlink()
    assert verify(store, lock, whole=whole) == ["lft/low:1.0.0: adapter_model.safetensors is missing"]


def test_an_alias_is_locked_to_what_it_means_now(stack) -> None:
    store, made = stack
    pointed(store, "prod", made[-1])
    lock = make_lock(store, [f"{NAME}@prod"])
    pointed(store, "prod", published(store, b"new", version="1.0.1"))
    assert lock.resolved(store, f"{NAME}@prod").digest == made[-1].digest


@pytest.mark.parametrize(
    "change",
    [
        lambda lock: {**lock, "extra": 1},
        lambda lock: {**lock, "format": 2},
        lambda lock: {"adapters": lock["adapters"]},
        lambda lock: {**lock, "adapters": [{**lock["adapters"][0], "digest": 1}]},
        lambda lock: {**lock, "adapters": {}},
        lambda lock: [],
    ],
    ids=["extra key", "format", "no format", "type", "no list", "no map"],
)
def test_a_lock_of_another_shape_is_refused(stack, tmp_path: Path, change) -> None:
    store, _ = stack
    path = tmp_path / "lft.lock"
    write_lock(make_lock(store, [NAME]), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError):
        read_lock(path)


def test_a_lock_that_was_edited_by_hand_is_noticed(stack, tmp_path: Path) -> None:
    store, _ = stack
    path = tmp_path / "lft.lock"
    write_lock(make_lock(store, [NAME]), path)
    path.write_text(path.read_text().replace("org/base", "other/base"))
    assert len(verify(store, read_lock(path))) == 3
    path.write_text(path.read_text().replace(make_lock(store, [NAME]).digests[0], "../../../etc/passwd"))
    assert any("is no sha256" in line for line in verify(store, read_lock(path)))


def test_no_lock_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no lock file"):
        read_lock(tmp_path / "lft.lock")
