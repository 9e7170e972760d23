"""Commands as people type them, on a registry of small adapters that nothing was trained for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lft.adapters.store.layout import Store, open_store
from lft.base.binding import Binding
from lft.cli.main import run
from lft.files import seal
from tests.adapters.test_stacks import put
from tests.tiny import save_tiny, sentences


def registry_of(folder: Path, *names: str) -> Store:
    """A base and a registry in a folder: lft/NAME for each name, another one by its place, without rows of tokens."""
    save_tiny(folder / "base", "llama", hidden=64)
    store = open_store(folder / "registry")
    for seed, name in enumerate(names, 1):
        put(store, folder, name, seed, tokens=())
    return store


def louder(adapter: Path, folder: Path) -> Path:
    """A copy of an adapter with the same tensors and another scale."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 80}))
    seal(folder)
    return folder


def bound_anew(adapter: Path, folder: Path, **change: Any) -> Path:
    """A copy of an adapter whose binding says something else."""
    shutil.copytree(adapter, folder)
    replace(Binding.load(folder), **change).save(folder)
    seal(folder)
    return folder


def few_examples(file: Path) -> None:
    """Six pairs of sentences, a line each."""
    texts = iter(sentences(12))
    rows = [{"input": text, "output": next(texts)} for text in texts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Said(NamedTuple):
    """What a command printed: its output, and its messages."""

    out: str
    err: str


class Typed:
    """Commands of lft in a folder, with a registry of their own."""

    def __init__(
        self, home: Path, at: Path, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str] | None = None
    ) -> None:
        patch.setenv("LFT_HOME", str(home))
        patch.setenv("LFT_CACHE", str(home / "cache"))
        patch.chdir(at)
        self._captured = captured

    def __call__(self, *words: object, code: int = 0) -> Said:
        """Run one and check its exit code; a traceback is never right."""
        found = run([str(word) for word in words])
        said = Said(*self._captured.readouterr()) if self._captured else Said("", "")
        assert found == code, said.err
        assert "Traceback" not in said.err
        return said


def typed_once(home: Path, *commands: Sequence[object]) -> None:
    """Commands that set a module's folder up."""
    with pytest.MonkeyPatch.context() as patch:
        typed = Typed(home, home, patch)
        for words in commands:
            typed(*words)
