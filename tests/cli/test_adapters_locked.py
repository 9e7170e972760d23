"""`--locked`: names are what the lock file pins, whatever they mean by now; everything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.layout import open_store
from lft.adapters.store.lookup import resolve
from tests.typed import Typed, few_examples, louder, registry_of, typed_once

Says = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with lft/de:1.0.0 and lft/en:1.0.0 locked, and a lft/de:1.0.1 that is newer."""
    folder = tmp_path_factory.mktemp("home")
    store = registry_of(folder, "de", "en")
    few_examples(folder / "few.jsonl")
    typed_once(folder, ("adapters", "lock", "lft/de", "lft/en"))
    newer = add_adapter(store, louder(folder / "de", folder / "louder"), Origin("lft/de")).stored
    assert str(newer) == "lft/de:1.0.1"
    return folder


@pytest.fixture
def says(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Run lft beside the lock file: what it prints, or the errors where it is to fail."""
    typed = Typed(home, home, monkeypatch, capsys)

    def call(*words: object, code: int = 0) -> str:
        said = typed(*words, code=code)
        return said.err if code else said.out

    return call


def parent(home: Path, name: str) -> str:
    """The digest of what a stored stack or merge was made from."""
    return resolve(open_store(home / "registry"), name).manifest.parents[0]


def pinned(home: Path) -> str:
    return resolve(open_store(home / "registry"), "lft/de:1.0.0").digest


def test_a_stack_is_made_of_what_is_locked(home: Path, says: Says) -> None:
    says("adapters", "stack", "0.5*lft/de", "--name", "me/now")
    says("adapters", "stack", "0.5*lft/de", "--name", "me/then", "--locked")
    assert (parent(home, "me/then") == pinned(home), parent(home, "me/now") == pinned(home)) == (True, False)


def test_a_merge_is_made_of_what_is_locked(home: Path, says: Says) -> None:
    says("adapters", "merge", "0.5*lft/de", "--name", "me/merge-now")
    says("adapters", "merge", "0.5*lft/de", "--name", "me/merge-then", "--lock-file", home / "adapters/lft.lock")
    assert (parent(home, "me/merge-then") == pinned(home), parent(home, "me/merge-now") == pinned(home)) == (
        True,
        False,
    )


def test_what_is_compared_is_what_is_locked(says: Says) -> None:
    now, then, first = (
        says("adapters", "advise", *words, "lft/en").replace(":1.0.0", "").split()
        for words in (("lft/de",), ("lft/de", "--locked"), ("lft/de:1.0.0",))
    )
    assert then == first
    assert now != first


def test_weights_are_searched_for_what_is_locked_and_the_merge_to_type_is_locked_too(says: Says) -> None:
    said = [
        says("adapters", "search", *words, "--data", "few.jsonl", "--trials", "2", "--examples", "2")
        for words in (("lft/de",), ("lft/de", "--locked"), ("lft/de:1.0.0",))
    ]
    now, then, first = (text.splitlines()[0] for text in said)
    assert then == first
    assert now != first
    assert " --locked --name" in said[1]


def test_an_export_is_of_what_is_locked(home: Path, says: Says, tmp_path: Path) -> None:
    for name, more in (("now", ()), ("then", ("--locked",)), ("first", ())):
        asked = "lft/de:1.0.0" if name == "first" else "lft/de"
        says("adapters", "export", asked, "--to", "peft", "--out", tmp_path / name, "--base", home / "base", *more)
    now, then, first = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in ("now", "then", "first"))
    assert then == first
    assert now != first


@pytest.mark.parametrize("command", [["generate", "a red cat"], ["chat"]])
def test_what_is_asked_is_what_is_locked(
    home: Path, says: Says, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def stop(folder: Path, *_: object) -> None:
        seen.append(folder)
        raise SystemExit(7)

    monkeypatch.setattr("lft.evaluate.answer.open_answerer", stop)
    for more in (["lft/de"], ["lft/de", "--locked"], ["lft/de:1.0.0", "--locked"]):
        with pytest.raises(SystemExit):
            says(*command, "--adapter", *more)
    assert [path.name == pinned(home) for path in seen] == [False, True, True]
    assert "lft/de:1.0.1 is not locked" in says(*command, "--adapter", "lft/de:1.0.1", "--locked", code=3)
    assert "a run is not locked" in says(*command, "--run", "de", "--locked", code=2)


def test_several_that_answer_together_are_what_is_locked(home: Path, says: Says) -> None:
    short = ("--greedy", "--max-new-tokens", "2", "a red cat")
    says("generate", "--adapter", "lft/de*0.5", "--adapter", "lft/en*0.5", "--locked", *short)
    refused = says("generate", "--adapter", "lft/de*0.5", "--adapter", "en*0.5", "--locked", *short, code=3)
    assert "a folder is not locked" in refused


@pytest.mark.parametrize(
    "command",
    [
        ("merge", "lft/x", "--name", "me/x"),
        ("advise", "lft/x"),
        ("search", "lft/x", "--data", "few.jsonl"),
        ("stack", "lft/x", "--name", "me/x"),
        ("export", "lft/x", "--to", "peft", "--out", "out"),
    ],
)
def test_what_is_not_locked_is_refused_and_the_hub_is_not_asked(
    says: Says, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lft.adapters.hub.pull", lambda *_: pytest.fail("asked"))
    assert "lft/x is not locked; the lock has lft/de, lft/en" in says("adapters", *command, "--locked", code=3)
    missing = says("adapters", *command, "--lock-file", "none.lock", code=3)
    assert "there is no lock file" in missing


def test_what_is_locked_and_not_here_is_named(home: Path, says: Says, tmp_path: Path) -> None:
    lock = json.loads((home / "adapters/lft.lock").read_text())
    lock["adapters"][0]["digest"] = "9" * 64
    (tmp_path / "other.lock").write_text(json.dumps(lock))
    found = says(
        "adapters", "export", "lft/de", "--to", "peft", "--out", "out", "--lock-file", tmp_path / "other.lock", code=3
    )
    assert "lft/de is locked to lft/de:1.0.0 (sha256:999999999999), which this registry does not have whole" in found
