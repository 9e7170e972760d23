"""Versions never change, aliases move only when seen to, names mean what people expect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.adapters.store import blobs, disk
from lft.adapters.store.leases import leased
from lft.adapters.store.lookup import resolve
from lft.adapters.store.marks import alias_digest, aliases, move_alias, tag, tags
from lft.adapters.store.names import full_name, reference
from lft.adapters.store.versions import next_version, publish, remove, version, versions
from lft.errors import InputError
from tests.registry import NAME, draft, new_store, pointed, published


def taken_out(store, stored) -> None:
    with leased(store) as lease:
        remove(lease, stored)


# --- versions --------------------------------------------------------------------------------------------------------


def test_a_version_is_its_manifests_digest_under_a_second_name(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    by_name = store.root / "manifests" / "lft" / "de" / "1.0.0.json"
    assert by_name.samefile(store.blob(stored.digest))
    assert version(store, NAME, "1.0.0").digest == stored.digest == stored.manifest.digest


def test_the_same_version_with_the_same_content_again_is_no_error(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first = published(store)
    with leased(store) as lease:
        again, new = publish(lease, first.manifest)
    assert (again.digest, new) == (first.digest, False)


def test_a_version_never_gets_another_content(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first = published(store, b"one")
    with pytest.raises(InputError, match=r"lft/de:1\.0\.0 exists with another content"):
        published(store, b"two")
    assert version(store, NAME, "1.0.0").digest == first.digest


def test_a_manifest_whose_files_are_not_stored_is_not_published(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with leased(store) as lease, pytest.raises(InputError, match="is missing"):
        publish(lease, draft())
    assert versions(store, NAME) == []


def test_versions_count_as_numbers(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert next_version(store, NAME) == "1.0.0"
    for number in ("1.9.0", "1.10.0", "1.2.30"):
        published(store, version=number)
    assert versions(store, NAME) == ["1.10.0", "1.9.0", "1.2.30"]
    assert next_version(store, NAME) == "1.10.1"


def test_a_removed_number_is_never_given_to_other_content(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first = published(store, b"one")
    taken_out(store, first)
    assert versions(store, NAME) == []
    assert next_version(store, NAME) == "1.0.1"
    with pytest.raises(InputError, match="was removed"):
        published(store, b"two")
    assert published(store, b"one").digest == first.digest  # the same content may come back
    assert versions(store, NAME) == ["1.0.0"]


def test_a_manifest_in_anothers_place_is_noticed(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    published(store)
    store.manifest(NAME, "2.0.0").write_bytes(store.manifest(NAME, "1.0.0").read_bytes())
    with pytest.raises(InputError, match=r"it is the manifest of lft/de:1\.0\.0"):
        version(store, NAME, "2.0.0")


# --- aliases and tags ------------------------------------------------------------------------------------------------


def test_an_alias_moves_and_every_move_is_logged(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    one, two = published(store, b"1"), published(store, b"2", version="1.0.1")
    for stored in (one, two, None):
        pointed(store, "prod", stored)
        assert alias_digest(store, NAME, "prod") == (stored.digest if stored else None)
    moves = [json.loads(line) for line in store.log("aliases").read_text().splitlines()]
    assert [(move["from"], move["to"]) for move in moves] == [
        (None, one.digest),
        (one.digest, two.digest),
        (two.digest, None),
    ]
    assert all(move["name"] == NAME and move["alias"] == "prod" and move["time"] for move in moves)


def test_an_alias_that_somebody_moved_meanwhile_stays(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    one, two = published(store, b"1"), published(store, b"2", version="1.0.1")
    pointed(store, "prod", two)
    for expected in (None, one.digest):
        with leased(store) as lease, pytest.raises(InputError, match="somebody moved lft/de@prod meanwhile"):
            move_alias(lease, NAME, "prod", one, expected)
    assert alias_digest(store, NAME, "prod") == two.digest


def test_an_alias_points_to_versions_of_its_own_name_only(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    other = published(store, name="lft/fr")
    with leased(store) as lease, pytest.raises(InputError, match=r"lft/fr:1\.0\.0 is no version of lft/de"):
        move_alias(lease, NAME, "prod", other, None)


@pytest.mark.parametrize("alias", ["", "1.0.0", "sha256", "a/b", "../x", "-x", "a b", "x" * 65])
def test_what_cannot_be_an_alias_is_refused(tmp_path: Path, alias: str) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    with leased(store) as lease, pytest.raises(InputError, match="cannot be an alias"):
        move_alias(lease, NAME, alias, stored, None)


def test_half_a_line_of_a_killed_writer_does_not_spoil_the_next(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    store.log("aliases").parent.mkdir()
    store.log("aliases").write_text('{"time": "2026')
    pointed(store, "prod", stored)
    half, whole = store.log("aliases").read_text().splitlines()
    assert half == '{"time": "2026'
    assert json.loads(whole)["to"] == stored.digest


def test_tags_given_later_replace_those_of_the_manifest_key_by_key(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    assert tags(store, stored.manifest) == {"lang": ("de",)}
    with leased(store) as lease:
        tag(lease, stored, {"domain": ("recipes",)})
        tag(lease, stored, {"lang": ("de", "at"), "task": ("sft",), "domain": None})
    assert tags(store, stored.manifest) == {"lang": ("de", "at"), "task": ("sft",)}
    assert version(store, NAME, "1.0.0").digest == stored.digest
    assert len(store.log("tags").read_text().splitlines()) == 2


def test_a_change_waits_for_another_one_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from filelock import FileLock

    from lft.adapters.store import marks
    from lft.errors import MachineError

    store = new_store(tmp_path)
    stored = published(store)
    monkeypatch.setattr(marks, "PATIENCE", 0.05)
    (store.root / "locks").mkdir()
    held = FileLock(store.root / "locks" / f"{hashlib.sha1(NAME.encode()).hexdigest()}.lock", is_singleton=False)
    with held, pytest.raises(MachineError, match="has been changing lft/de"):
        pointed(store, "prod", stored)
    pointed(store, "prod", stored)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_without_a_namespace_is_local() -> None:
    assert full_name("de") == "local/de"
    assert full_name("lft/de-recipes_1.0") == "lft/de-recipes_1.0"


@pytest.mark.parametrize(
    "written", ["", "/", "a/", "/a", "a/b/c", "../a", "a/..", ".a", "a.", "a b", "ä", "a/b\n", "x" * 97, "-a"]
)
def test_what_cannot_be_a_name_is_refused(written: str) -> None:
    with pytest.raises(InputError, match="cannot be a name"):
        full_name(written)


@pytest.mark.parametrize(
    "written", ["lft/de", "lft/de:1.0.0", "lft/de@prod", f"lft/de@sha256:{'a' * 64}", f"sha256:{'0' * 8}"]
)
def test_a_reference_reads_back_as_it_was_written(written: str) -> None:
    assert str(reference(written)) == written
    assert str(reference(str(reference(written)))) == written


@pytest.mark.parametrize(
    "written",
    [
        "a:",
        "a:1",
        "a:1.0",
        "a:01.0.0",
        "a@",
        "a@1",
        "a@sha256:",
        "a@sha256:xyz",
        "sha256:abc",
        "a:1.0.0@b",
        "a@b:1.0.0",
    ],
)
def test_what_means_nothing_is_refused(written: str) -> None:
    with pytest.raises(InputError):
        reference(written)


def test_a_name_alone_means_its_default_else_its_newest(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    one, two = published(store, b"1"), published(store, b"2", version="1.0.1")
    assert resolve(store, NAME).digest == two.digest
    pointed(store, "default", one)
    assert resolve(store, NAME).digest == one.digest
    assert resolve(store, f"{NAME}:1.0.1").digest == two.digest
    assert resolve(store, f"{NAME}@default").digest == one.digest


def test_a_digest_or_its_beginning_means_a_version(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    for length in (8, 20, 64):
        assert resolve(store, f"sha256:{stored.digest[:length]}").digest == stored.digest
        assert resolve(store, f"{NAME}@sha256:{stored.digest[:length]}").digest == stored.digest
    with pytest.raises(InputError, match="not lft/fr"):
        resolve(store, f"lft/fr@sha256:{stored.digest}")
    with pytest.raises(InputError, match="no version has a digest"):
        resolve(store, f"sha256:{stored.manifest.weights[:12]}")  # a blob, but no manifest


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("lft/dee", "nearest: lft/de"),
        ("de", "nearest: lft/de"),
        ("other/xyz", "there is no other/xyz in the registry"),
        ("lft/de:3.0.0", r"lft/de has 1\.0\.1, 1\.0\.0"),
        ("lft/de@live", "lft/de has @prod"),
        ("sha256:00000000", "no version has a digest"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path, written: str, says: str) -> None:
    store = new_store(tmp_path)
    published(store, b"1")
    pointed(store, "prod", published(store, b"2", version="1.0.1"))
    with pytest.raises(InputError, match=says):
        resolve(store, written)


def test_an_alias_of_a_removed_version_still_means_it(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    pointed(store, "prod", stored)
    taken_out(store, stored)
    assert resolve(store, f"{NAME}@prod").digest == stored.digest
    assert aliases(store, NAME) == {"prod": stored.digest}


def test_a_file_that_begins_like_a_manifest_is_no_version(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with leased(store) as lease, disk.source(b'{"base": 1}') as stream:
        written = blobs.put(lease, stream)
    with pytest.raises(InputError):
        resolve(store, f"sha256:{written.sha256}")
