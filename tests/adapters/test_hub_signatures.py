"""Signatures go to the hub with an adapter and come back with it; what they are worth is asked where they are used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.adapters.signature import SIGNATURE_FILE, Signature
from lft.adapters.store.layout import open_store
from lft.adapters.store.leases import leased
from lft.adapters.store.marks import keep_signature, signatures
from lft.adapters.store.versions import version
from lft.cli.main import run
from tests.adapters.test_hub_push import here, push, server, stored, there
from tests.hub_client import Machine
from tests.signing import claimed, keys

__all__ = ["here", "server", "there"]
NAME = "me/de"


def known(machine: Machine, name: str = NAME) -> tuple[Signature, ...]:
    store = open_store(machine.registry)
    return signatures(store, version(store, name, "1.0.0").manifest)


def keep(machine: Machine, signature: Signature) -> None:
    store = open_store(machine.registry)
    with leased(store) as lease:
        keep_signature(lease, version(store, NAME, "1.0.0"), signature, renewed=True)


def test_a_signature_goes_with_its_adapter_from_machine_to_machine(server, here, there):
    stored(here)
    keep(here, claimed())
    rehearsed = push(here, "--dry-run", "--json").said
    pushed = push(here, "--json").said
    for said in (rehearsed, pushed):
        assert SIGNATURE_FILE in {one["path"] for one in said["files"]}
    pulled = there.lft("pull", NAME, "--json").said
    assert pulled["digest"] == pushed["digest"]
    assert known(there) == (claimed(),)
    assert there.lft("fsck").code == 0


def test_a_signature_made_later_comes_with_the_next_pull(server, here, there):
    stored(here)
    push(here)
    there.lft("pull", NAME)
    assert known(there) == ()
    keep(here, claimed())
    push(here)
    again = there.lft("pull", NAME, "--json").said
    assert again["new"] is False
    assert known(there) == (claimed(),)


def test_of_several_signatures_the_last_one_made_here_goes_and_that_is_said(server, here, there):
    stored(here)
    keep(here, claimed(key="1" * 64))
    keep(here, claimed(key="2" * 64))
    assert "of its 2 signatures" in push(here).out
    there.lft("pull", NAME)
    assert known(there) == (claimed(key="2" * 64),)


def test_an_adapter_without_signature_does_not_keep_that_of_an_earlier_push(server, here):
    stored(here)
    keep(here, claimed())
    push(here)
    store = open_store(here.registry)
    store.signatures(NAME, "1.0.0").unlink()
    assert push(here, "--json").said["removed"] == [SIGNATURE_FILE]


def test_a_signature_over_other_bytes_than_are_pushed_stays_here_and_that_is_said(server, here):
    folder = stored(here, config={"base_model_name_or_path": "/home/somebody/base"})
    assert folder.is_dir()
    keep(here, claimed())
    done = push(here, "--base", "org/base")
    assert done.code == 0, done.err
    assert "its signature is over other bytes" in done.out
    assert not (server.root / NAME / SIGNATURE_FILE).exists()


def test_what_is_no_signature_is_not_kept_and_the_adapter_comes_without_it(server, here, there):
    stored(here)
    keep(here, claimed())
    push(here)
    (server.root / NAME / SIGNATURE_FILE).write_text('{"not": "a signature"}')
    done = there.lft("pull", NAME)
    assert done.code == 0, done.err
    assert f"{SIGNATURE_FILE} is not kept" in done.err
    assert known(there) == ()


def test_what_was_signed_here_is_verified_there_under_another_name_too(
    server, here, there, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("model_signing", reason="pip install 'lft[sign]'", exc_type=ImportError)
    pair = keys(tmp_path)
    stored(here)
    monkeypatch.setenv("LFT_HOME", str(here.home / "lft"))
    assert run(["adapters", "sign", NAME, "--key", str(pair.private)]) == 0
    push(here)
    there.lft("pull", NAME)
    there.lft("pull", NAME, "--name", "you/de")
    monkeypatch.setenv("LFT_HOME", str(there.home / "lft"))
    for name in (NAME, "you/de"):
        assert run(["adapters", "verify", name, "--key", str(pair.public)]) == 0, name
    assert capsys.readouterr().out.count("made for") == 1
    assert json.loads(known(there)[0].text)


def test_model_signing_itself_verifies_what_lies_on_the_hub_and_finds_a_change_there(
    server, here, there, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("model_signing", reason="pip install 'lft[sign]'", exc_type=ImportError)
    from model_signing import verifying

    pair = keys(tmp_path)
    stored(here)
    monkeypatch.setenv("LFT_HOME", str(here.home / "lft"))
    assert run(["adapters", "sign", NAME, "--key", str(pair.private)]) == 0
    push(here)
    folder = Path(shutil.copytree(server.root / NAME, tmp_path / "downloaded"))
    assert {"README.md", "lft-manifest.json", SIGNATURE_FILE} <= {path.name for path in folder.iterdir()}
    verifying.Config().use_elliptic_key_verifier(public_key=pair.public).verify(folder, folder / SIGNATURE_FILE)
    config = server.root / NAME / "adapter_config.json"
    config.write_text(config.read_text() + "\n")
    there.lft("pull", NAME)
    monkeypatch.setenv("LFT_HOME", str(there.home / "lft"))
    assert run(["adapters", "verify", NAME, "--key", str(pair.public)]) == 3
    assert "adapter_config.json was changed" in capsys.readouterr().err
