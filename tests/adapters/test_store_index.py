"""The index: it finds what the files say, whoever wrote them, and is never missed when it is gone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from lft.adapters.store import index
from lft.adapters.store.fsck import check
from lft.adapters.store.index import Query, listed, with_weights
from lft.adapters.store.leases import leased
from lft.adapters.store.manifest import Base, Quantization
from lft.adapters.store.marks import tag
from lft.adapters.store.versions import remove
from tests.registry import NAME, draft, new_store, pointed, published


def names(store, **asked) -> list[str]:
    return [f"{row.name}:{row.version}" for row in listed(store, Query(**asked))]


@pytest.fixture
def store(tmp_path: Path):
    """Three names; one has two versions, one lies on another base, in 4 bit."""
    store = new_store(tmp_path)
    published(store, b"1")
    published(store, b"2", version="1.10.0", tags={"lang": ("de",), "domain": ("recipes", "food")})
    published(store, b"3", name="lft/fr", tags={"lang": ("fr",)})
    rounded = Base("other/7b", None, None, None, None, Quantization("nf4", True, "auto"))
    published(store, b"4", name="me/de", base=rounded, method="lora dora")
    return store


def test_the_newest_version_of_each_name_is_listed(store) -> None:
    assert names(store) == ["lft/de:1.10.0", "lft/fr:1.0.0", "me/de:1.0.0"]
    assert names(store, all_versions=True) == ["lft/de:1.10.0", "lft/de:1.0.0", "lft/fr:1.0.0", "me/de:1.0.0"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"text": "FR"}, ["lft/fr:1.0.0"]),
        ({"text": "lft/"}, ["lft/de:1.10.0", "lft/fr:1.0.0"]),
        ({"tags": {"lang": ("de",)}}, ["lft/de:1.10.0", "me/de:1.0.0"]),
        ({"tags": {"lang": ("de",), "domain": ("food",)}}, ["lft/de:1.10.0"]),
        ({"tags": {"domain": ("food", "recipes")}}, ["lft/de:1.10.0"]),
        ({"tags": {"lang": ("xx",)}}, []),
        ({"base": "7B"}, ["me/de:1.0.0"]),
        ({"method": "lora"}, ["lft/de:1.10.0", "lft/fr:1.0.0", "me/de:1.0.0"]),
        ({"method": "DoRA"}, ["me/de:1.0.0"]),
        ({"method": "nf4"}, ["me/de:1.0.0"]),
        ({"method": "ora"}, []),
        ({"text": "%"}, []),
    ],
    ids=str,
)
def test_filters_hold_together(store, asked, found) -> None:
    assert names(store, **asked) == found


def test_a_row_says_what_the_manifest_and_the_marks_say(store) -> None:
    pointed(
        store, "prod", published(store, b"2", version="1.10.0", tags={"lang": ("de",), "domain": ("recipes", "food")})
    )
    row = listed(store)[0]
    assert (row.name, row.version, row.newest, row.kind, row.method, row.r) == (
        NAME,
        "1.10.0",
        True,
        "adapter",
        "lora",
        4,
    )
    assert (row.base, row.size, row.aliases) == ("org/base", 1, ("prod",))
    assert row.tags == {"domain": ("recipes", "food"), "lang": ("de",)}
    assert with_weights(store, row.weights) == [(row.digest, NAME, "1.10.0")]


def test_changes_are_seen_at_once_whoever_made_them(store, tmp_path: Path) -> None:
    names(store)
    new = published(store, b"5", version="2.0.0")
    assert names(store, text="lft/de") == ["lft/de:2.0.0"]
    with leased(store) as lease:
        tag(lease, new, {"lang": ("nl",)})
    assert names(store, tags={"lang": ("nl",)}) == ["lft/de:2.0.0"]
    pointed(store, "prod", new)
    assert listed(store)[0].aliases == ("prod",)
    pointed(store, "prod", None)
    assert listed(store)[0].aliases == ()
    with leased(store) as lease:
        remove(lease, new)
    assert names(store, text="lft/de") == ["lft/de:1.10.0"]
    shutil.copytree(store.manifests / "lft" / "fr", store.manifests / "lft" / "it")  # rsync, say; not ours to fsck
    assert len(names(store)) == 4
    shutil.rmtree(store.manifests / "me")
    assert len(names(store)) == 3


def test_only_what_changed_is_read_again(store, monkeypatch: pytest.MonkeyPatch) -> None:
    from lft.adapters.store import summary

    settle(store)
    names(store)
    read: list[str] = []
    real = summary.summaries
    monkeypatch.setattr(summary, "summaries", lambda store, name: read.append(name) or real(store, name))
    names(store)
    assert read == []
    published(store, b"5", name="lft/fr", version="2.0.0")
    assert "lft/fr:2.0.0" in names(store)
    assert read == ["lft/fr"]


def settle(store) -> None:
    """As if everything had been written a while ago: a folder that changed just now is not trusted to be read."""
    for parent in (store.manifests, store.refs):
        for folder in parent.glob("*/*"):
            os.utime(folder, (1, 1))


def test_a_change_within_the_clocks_resolution_is_seen(store) -> None:
    names(store)
    folder = store.manifests / "lft" / "fr"
    before = folder.stat()
    published(store, b"5", name="lft/fr", version="2.0.0")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "lft/fr:2.0.0" in names(store)


@pytest.mark.parametrize("damage", ["absent", "garbage", "cut", "old", "no tables", "folder"])
def test_an_index_that_is_gone_or_damaged_is_made_anew(store, damage: str) -> None:
    before = names(store, all_versions=True)
    content = store.index.read_bytes()
    store.index.unlink()
    if damage == "garbage":
        store.index.write_bytes(b"no database at all, only text" * 100)
    elif damage == "cut":
        store.index.write_bytes(content[: len(content) // 2])
    elif damage == "old":
        store.index.write_bytes(content)
        with sqlite3.connect(store.index) as database:
            database.execute("PRAGMA user_version = 99")
    elif damage == "no tables":
        with sqlite3.connect(store.index) as database:
            database.execute(f"PRAGMA user_version = {index.SCHEMA}")
    elif damage == "folder":
        store.index.mkdir()
    assert names(store, all_versions=True) == before
    assert names(store, all_versions=True) == before


def test_a_registry_that_may_only_be_read_is_listed(store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    before = names(store)
    monkeypatch.setattr(index, "_opened", refused)
    assert names(store) == before


def test_a_damaged_manifest_is_a_row_that_says_so(store) -> None:
    path = store.manifest("lft/fr", "1.0.0")
    path.unlink()
    path.write_text("{}")
    rows = {row.name: row.problem for row in listed(store)}
    assert rows == {"lft/de": "", "lft/fr": "the manifest is damaged", "me/de": ""}


def test_reindex_counts_the_versions(store) -> None:
    names(store)
    assert index.reindex(store) == 4


def test_drift_of_the_index_is_found_by_fsck_and_healed_by_reindex(store) -> None:
    settle(store)
    names(store)
    assert check(store).findings == ()
    with sqlite3.connect(store.index) as database:
        database.execute("UPDATE versions SET base = 'elsewhere' WHERE name = 'lft/fr'")
    found = check(store).findings
    assert [(one.where, "reindex" in one.what) for one in found] == [("lft/fr", True)]
    index.reindex(store)
    assert check(store).findings == ()


def test_a_manifest_of_a_newer_lft_is_listed_as_that(store) -> None:
    path = store.manifest("lft/it", "1.0.0")
    path.parent.mkdir()
    path.write_text(draft().text.replace('"format":2', '"format":7'))
    assert [row.problem for row in listed(store, Query(text="it"))] == ["format 7"]
