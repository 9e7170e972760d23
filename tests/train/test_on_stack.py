"""A run on top of a stack: the stack's parts stay as they are, and an interrupted run goes on bit for bit."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lft.adapters.stacking import parts_of, pieces_of
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import adapter_folder_of
from lft.adapters.store.layout import open_store
from lft.adapters.store.stacks import add_stack, place_in
from lft.base.binding import Binding
from lft.cli.finetune import _with_folders
from lft.recipe import load_recipe
from lft.recipe.schema import Recipe
from lft.train.events import Event, Step
from lft.train.folder import RunFolder
from lft.train.inputs import prepare_inputs
from lft.train.run import finetune
from tests.runs import material, recipe, trained, weights


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Material, and a registry with ``lft/a``, ``lft/b`` and the stack ``lft/both``; their rows of [EOI] sum to 1."""
    folder = material(tmp_path_factory.mktemp("stacked"), train=8)
    store = open_store(folder / "registry")
    for name, seed in (("a", 1), ("b", 2)):
        chosen = recipe(folder, folder / "runs", train={"max_steps": 1, "seed": seed, "save_every": "end"})
        made = trained(chosen.model_copy(update={"name": name}), folder / "cache").outcome
        assert made.result is not None
        add_adapter(store, made.result, Origin(name=f"lft/{name}"))
    place = place_in(store, lambda text: adapter_folder_of(text, store))
    parts = parts_of(pieces_of("1.5*lft/a[0] - 0.5*lft/b"), "stack", "exact", place)
    add_stack(store, parts, "stack", "lft/both")
    return folder


def asked(home: Path, runs: Path) -> Recipe:
    return _with_folders(recipe(home, runs, method={"on_top_of": ["lft/both"]}))


def test_an_interrupted_run_on_a_stack_goes_on_bit_for_bit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFT_HOME", str(home))
    whole = trained(asked(home, tmp_path / "whole"), home / "cache").outcome

    def interrupt(event: Event) -> None:
        if isinstance(event, Step) and event.step == 1:
            signal.raise_signal(signal.SIGTERM)

    cut = finetune(prepare_inputs(asked(home, tmp_path / "cut"), home / "cache", lambda _: None), interrupt)
    assert cut.signal == signal.SIGTERM
    shutil.rmtree(home / "registry" / "checkouts")  # as a sweep does
    again = _with_folders(load_recipe(str(cut.folder / "recipe.yaml"), []).recipe)
    folder = RunFolder.open(cut.folder)
    resumed = finetune(
        prepare_inputs(again, home / "cache", lambda _: None, folder.read_lock()), lambda _: None, folder
    )
    assert resumed.result is not None
    assert whole.result is not None
    assert weights(resumed.result) == weights(whole.result)
    assert sorted(one.share for one in Binding.load(resumed.result).below) == ["-0.5", "1.5[0]"]
    assert Binding.load(resumed.result).below[0].sum == 1
    lock = folder.read_lock()
    assert sorted(one.share for one in lock.below) == ["-0.5", "1.5[0]"]
    other = replace(lock, below=tuple(replace(one, share="2") for one in lock.below))
    assert lock.changes(other) == ["shares_below"]  # the same adapters, and another run
    assert replace(lock, below=()).changes(other) == []  # older locks do not say
