"""Signatures are kept beside a version, which stays what it is; who made them is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.adapters.signature import Signature, read_signature
from lft.adapters.store import index
from lft.adapters.store.fsck import check
from lft.adapters.store.gc import collect
from lft.adapters.store.leases import leased
from lft.adapters.store.marks import keep_signature, signatures
from lft.adapters.store.versions import Stored, remove, version
from lft.errors import InputError
from tests.registry import NAME, new_store, published
from tests.signing import bundle, claimed


def kept(store, stored: Stored, signature: Signature, *, renewed: bool = False) -> bool:
    with leased(store) as lease:
        return keep_signature(lease, stored, signature, renewed=renewed)


def test_a_signature_given_later_leaves_the_version_as_it_is(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    before = store.manifest(NAME, "1.0.0").read_bytes()
    assert signatures(store, stored.manifest) == ()
    assert kept(store, stored, claimed())
    assert store.manifest(NAME, "1.0.0").read_bytes() == before
    assert version(store, NAME, "1.0.0").digest == stored.digest
    assert signatures(store, stored.manifest) == (claimed(),)


def test_signatures_survive_gc_fsck_and_reindex(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    kept(store, stored, claimed())
    collect(store, grace=0)
    collect(store, grace=0)
    index.reindex(store)
    assert check(store).findings == ()
    assert signatures(store, stored.manifest) == (claimed(),)


def test_several_may_sign_and_who_signs_again_has_one_signature(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    first, other, again = claimed(key="1" * 64), claimed(key="2" * 64), claimed({"lft.json": "f" * 64}, "1" * 64)
    nobody = claimed(key=None)
    assert [kept(store, stored, one) for one in (first, other, nobody, other)] == [True, True, True, False]
    assert kept(store, stored, again, renewed=True)
    assert signatures(store, stored.manifest) == (nobody, other, again)


def test_a_signature_from_elsewhere_takes_nobodys_place(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    mine, forged = claimed(), claimed({"lft.json": "f" * 64})
    assert mine.key == forged.key
    assert [kept(store, stored, mine, renewed=True), kept(store, stored, forged)] == [True, True]
    assert signatures(store, stored.manifest) == (forged, mine)


def test_every_signature_is_logged(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    kept(store, published(store), claimed())
    (line,) = store.log("signatures").read_text().splitlines()
    assert {key: json.loads(line)[key] for key in ("name", "version", "key")} == {
        "name": NAME,
        "version": "1.0.0",
        "key": "c" * 64,
    }


def test_signatures_go_with_their_version(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored, other = published(store), published(store, b"other", version="1.1.0")
    for one in (stored, other):
        kept(store, one, claimed())
    with leased(store) as lease:
        remove(lease, stored)
    assert signatures(store, stored.manifest) == ()
    assert signatures(store, other.manifest) == (claimed(),)
    assert check(store).findings == ()


def test_fsck_finds_a_damaged_signature_and_nobody_reads_past_it(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    kept(store, stored, claimed())
    path = store.signatures(NAME, "1.0.0")
    path.chmod(0o644)
    path.write_text(path.read_text()[:-20])
    (finding,) = check(store).findings
    assert finding.where == str(path)
    assert "no signatures" in finding.what
    with pytest.raises(InputError, match="no signatures"):
        signatures(store, stored.manifest)


def test_a_version_without_end_of_signatures_is_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = published(store)
    for number in range(20):
        kept(store, stored, claimed(key=f"{number:064x}"))
    with pytest.raises(InputError, match="20 signatures"):
        kept(store, stored, claimed(key="f" * 64))


def test_a_signature_says_whose_and_over_what_without_any_package() -> None:
    found = claimed({"b": "2" * 64, "a": "1" * 64})
    assert (found.signer, found.subject, list(found.files)) == ("key cccccccccccc", "d" * 64, ["a", "b"])
    assert claimed(key=None).signer == "a Sigstore identity"
    assert "\n" not in found.text


def test_nothing_else_is_read_as_a_signature() -> None:
    good = bundle()
    odd: list[bytes] = [b"", b"{", b"[]", b"{}", b"null", b'"text"', b"[" * 100_000, b" " * 1_000_001]
    for part in ("dsseEnvelope", "verificationMaterial"):
        odd += [json.dumps(good | {part: value}).encode() for value in (None, {}, [], "text", 1)]
    envelope = good["dsseEnvelope"]
    for change in ({"payload": "=="}, {"payload": "e30="}, {"payloadType": "text/plain"}, {"signatures": []}):
        odd.append(json.dumps(good | {"dsseEnvelope": envelope | change}).encode())
    for files in ({}, {"../up": "a" * 64}, {"/etc/passwd": "a" * 64}, {"a//b": "a" * 64}, {"a": "short"}):
        odd.append(json.dumps(bundle(files)).encode())
    odd.append(json.dumps(bundle(key="none of ours")).encode())
    for text in odd:
        with pytest.raises(ValueError, match=r"\S"):
            read_signature(text)
