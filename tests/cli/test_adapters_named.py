"""A folder and a name that are written alike: a path begins as one, and what could be both is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import adapter_folder_of, means_folder, stack_folders
from lft.adapters.store.lockfile import make_lock
from lft.cli.main import run
from lft.errors import InputError
from tests.registry import adapter, new_store, pointed

Says = Callable[..., str]
BOTH = "me/x is a folder here, and a name in the registry"


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Run lft where the folder me/x lies, with a registry that has another adapter of the name me/x."""
    monkeypatch.setenv("LFT_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    add_adapter(new_store(tmp_path), adapter(tmp_path / "stored", 1), Origin("me/x"))
    adapter(tmp_path / "me/x", 2)
    adapter(tmp_path / "me/only-here", 3)

    def call(*words: str, code: int = 0) -> str:
        found = run(list(words))
        out = capsys.readouterr()
        assert found == code, out.err
        assert "Traceback" not in out.err
        return out.err if code else out.out

    return call


@pytest.mark.parametrize("written", ["./me/x", "../{here}/me/x", "~/me/x", "{home}/me/x"])
def test_what_begins_as_a_path_is_a_folder(says: Says, tmp_path: Path, written: str) -> None:
    store = new_store(tmp_path)
    folder = adapter_folder_of(written.format(here=tmp_path.name, home=tmp_path), store)
    assert folder.resolve() == tmp_path / "me/x"


@pytest.mark.parametrize("written", ["me/x:1.0.0", "me/x@prod", "sha256:{digest}", "me/x@sha256:{digest}"])
def test_more_than_a_name_is_a_version(says: Says, tmp_path: Path, written: str) -> None:
    store = new_store(tmp_path)
    stored = add_adapter(store, tmp_path / "stored", Origin("me/x")).stored
    pointed(store, "prod", stored, "me/x")
    assert adapter_folder_of(written.format(digest=stored.digest), store).name == stored.digest


@pytest.mark.parametrize(
    "command",
    [
        ("adapters", "verify", "me/x"),
        ("adapters", "merge", "0.5*me/x", "--name", "me/y"),
        ("adapters", "stack", "0.5*me/x", "--name", "me/y"),
        ("adapters", "export", "me/x", "--to", "peft", "--out", "out"),
        ("generate", "--adapter", "me/x", "a red cat"),
        ("generate", "--adapter", "me/x*0.5", "a red cat"),
        ("chat", "--adapter", "me/x"),
    ],
)
def test_what_is_both_is_refused_with_both_ways_to_write_it(says: Says, command: tuple[str, ...]) -> None:
    message = says(*command, code=3)
    assert BOTH in message
    assert "write ./me/x for the folder, or me/x:1.0.0 for the version" in message


def test_what_is_one_of_both_needs_no_more(says: Says, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert means_folder("me/only-here", store)
    assert not means_folder("me/neither", store)
    assert adapter_folder_of("me/only-here", store) == Path("me/only-here")
    (tmp_path / "local-name").mkdir()
    assert means_folder("local-name", store)
    add_adapter(store, tmp_path / "stored", Origin("local-name"))
    with pytest.raises(InputError, match=r"write \./local-name for the folder, or local/local-name:1\.0\.0"):
        means_folder("local-name", store)


def test_what_a_training_lies_on_is_no_guess(says: Says, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert stack_folders(["./me/x"], store, tmp_path / "cache") == ("./me/x",)
    with pytest.raises(InputError, match=BOTH):
        stack_folders(["me/x"], store, tmp_path / "cache")


def test_a_lock_knows_names_alone(says: Says, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    lock = make_lock(store, ["me/x"])
    assert adapter_folder_of("me/x", store, lock).parent == store.checkouts
    for written in ("./me/x", "me/only-here"):
        with pytest.raises(InputError, match="a folder is not locked"):
            adapter_folder_of(written, store, lock)


@pytest.mark.parametrize("written", ["./nowhere", "~nobody/x", "~/nowhere", "/nowhere/x"])
def test_a_path_that_leads_nowhere_is_no_name(says: Says, written: str) -> None:
    assert "there is no such adapter" in says("adapters", "verify", written, code=3)
    assert "there is no such adapter" in says("generate", "--adapter", written, "a red cat", code=3)
