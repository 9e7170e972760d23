"""`lft adapters pull` and `push`: what a person sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_client import Machine
from tests.hub_server import TOKEN, HubServer
from tests.peft_folders import write_adapter


@pytest.fixture
def here(tmp_path: Path):
    write_adapter(tmp_path / "repos/org/de")
    with HubServer(tmp_path / "repos") as server:
        yield Machine(server, tmp_path / "here")


def test_a_pull_says_what_came_and_what_to_do_next(here: Machine) -> None:
    (here.server.root / "org/de/adapter_model.bin").write_bytes(b"no")
    done = here.lft("pull", "org/de")
    assert done.code == 0
    first, *rest = done.out.splitlines()
    assert first.startswith("org/de:1.0.0: added (")
    assert here.server.commit("org/de")[:12] in first
    assert rest == [
        "org/de@main points to it",
        "base: lft/tiny",
        "not fetched, as not part of an adapter: adapter_model.bin",
        "  lft adapters show org/de:1.0.0",
        '  lft generate --adapter org/de:1.0.0 "your instruction"',
    ]
    assert done.err.splitlines() == [f"pulling org/de at {here.server.commit('org/de')[:12]} (0.0 MB)"]


def test_a_push_says_what_it_did_and_how_others_get_it(here: Machine) -> None:
    here.lft("pull", "org/de")
    done = here.lft("push", "org/de", "me/other", token=TOKEN)
    assert done.code == 0, done.err
    commit = here.server.commit("me/other")
    assert done.out.splitlines() == [
        f"org/de:1.0.0: pushed as commit {commit[:12]}; the hub has every byte of it",
        f"  {here.server.endpoint}/me/other/tree/main",
        "  lft adapters pull me/other --name org/de",
    ]
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("pushing 4 files")


def test_somebody_elses_card_is_not_replaced_without_a_word(here: Machine) -> None:
    (here.server.root / "org/de/README.md").write_text("# theirs")
    here.lft("pull", "org/de")
    done = here.lft("push", "org/de", "me/other", token=TOKEN)
    digest = here.lft("show", "org/de:1.0.1", "--json").said["digest"]
    assert done.out.splitlines()[:2] == [
        "README.md: the text is the card that is written now (here its maker's)",
        f"stored as org/de:1.0.1 (sha256:{digest[:12]}); that is what is pushed",
    ]
    assert "theirs" not in (here.server.root / "me/other/README.md").read_text()


def test_no_library_writes_beside_lft(here: Machine) -> None:
    here.server.faults.statuses["org/de"] = [503]
    here.server.faults.cut["org/de"] = 400
    done = here.lft("pull", "org/de", HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert done.code == 3
    assert len(done.err.splitlines()) == 3  # what is pulled, the error, what to do
    assert "\r" not in done.err


def test_wrong_words_are_told_before_anything_is_asked(here: Machine) -> None:
    here.lft("pull", "org/de")
    here.server.requests.clear()
    assert "user/name" in here.lft("pull", "de").one_message
    assert "user/name" in here.lft("push", "org/de", "de").one_message
    assert "given twice" in here.lft("push", "org/de", "me/de@a", "--revision", "b").one_message
    assert "there is no org/other" in here.lft("push", "org/other", "me/de").one_message
    assert here.server.requests == []
