"""An adapter names no place of the machine that trained it, and is used there all the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.adapters.load import load_adapted
from lft.base.binding import Binding
from lft.base.places import remember, remembered
from lft.errors import InputError
from lft.files import seal, sha256
from lft.recipe.schema import Recipe
from lft.train.run import Outcome
from tests.runs import material, recipe, trained


def quick(home: Path, name: str, **method: object) -> Recipe:
    ends = {"max_steps": 1, "save_every": 1, "micro_batch_size": 1}
    return recipe(home, home / "runs", method=method, train=ends).model_copy(update={"name": name})


def made(home: Path, chosen: Recipe) -> Outcome:
    return trained(chosen, home / "cache").outcome


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is called after nobody: a base, ``low``, and ``top`` on it."""
    folder = material(tmp_path_factory.mktemp("somebodys-home"), train=4)
    low = made(folder, quick(folder, "low"))
    top = made(folder, quick(folder, "top", on_top_of=(str(low.folder),)))
    for one, name in ((low, "low"), (top, "top")):
        one.folder.rename(folder / name)
    remember(folder / "cache", Binding.load(folder / "top/adapter").below[0].weights, folder / "low/adapter")
    return folder


def telling(folder: Path, home: Path) -> list[str]:
    """Files of a folder that hold a path of the machine."""
    return [path.name for path in folder.iterdir() if path.is_file() and str(home).encode() in path.read_bytes()]


def test_no_file_of_an_adapter_or_model_says_where_it_was_trained(home: Path) -> None:
    full = made(home, quick(home, "full", kind="full"))
    prompt = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "the cat", "num_virtual_tokens": 2}
    tuned = made(home, quick(home, "prompt", kind="prompt_tuning", options=prompt))
    assert full.result is not None
    assert tuned.result is not None
    for folder in (home / "low/adapter", home / "top/adapter", full.result, tuned.result):
        assert telling(folder, home) == []
    said = json.loads((home / "top/adapter/lft.json").read_text())
    assert said["base"] == "./llama"
    assert len(said["weights"]) == 64
    assert [one["path"] for one in said["below"]] == ["./low"]
    load_adapted(tuned.result, home / "cache", lambda _: None)
    assert json.loads((home / "top/adapter/adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_an_adapter_in_its_run_finds_its_base_in_the_runs_recipe(home: Path, tmp_path: Path) -> None:
    """Also where nothing else is known of this machine: its cache is empty."""
    load_adapted(home / "low/adapter", tmp_path / "cache", lambda _: None)
    checkpoint = next((home / "low/checkpoints").iterdir())
    load_adapted(checkpoint, tmp_path / "cache2", lambda _: None)


def test_a_copy_finds_base_and_lower_adapter_where_this_machine_last_saw_them(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / "top/adapter", tmp_path / "copy")
    load_adapted(copy, home / "cache", lambda _: None)


def test_a_lower_adapter_that_an_earlier_version_recorded_and_remembered_by_its_tensors_is_found(
    home: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(home / "top/adapter", tmp_path / "copy")
    said = json.loads((copy / "lft.json").read_text())
    tensors = sha256(home / "low/adapter/adapter_model.safetensors")
    said["below"][0]["weights"], said["format"] = tensors, 3
    (copy / "lft.json").write_text(json.dumps(said))
    seal(copy)
    remember(tmp_path / "cache", tensors, home / "low/adapter")
    load_adapted(copy, tmp_path / "cache", lambda _: None, base=str(home / "llama"))


def test_a_base_that_nothing_here_knows_is_asked_for_and_then_known(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / "low/adapter", tmp_path / "copy")
    with pytest.raises(InputError, match=r"a base in a folder called llama \(weights [0-9a-f]{12}\)") as caught:
        load_adapted(copy, tmp_path / "cache", lambda _: None)
    assert "--base FOLDER" in str(caught.value)
    for base in (str(home / "llama"), None):
        load_adapted(copy, tmp_path / "cache", lambda _: None, base=base)


def test_a_lower_adapter_that_nothing_here_knows_names_the_registry(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"on top of an adapter that is gone: \./low") as caught:
        load_adapted(home / "top/adapter", tmp_path / "cache", lambda _: None)
    assert "lft adapters add" in str(caught.value)


def test_only_digests_are_looked_up_and_only_what_is_still_there_is_found(tmp_path: Path) -> None:
    cache, place = tmp_path / "cache", tmp_path / "place"
    place.mkdir()
    (tmp_path / "secret.json").write_text(json.dumps({"path": str(place)}))
    (cache / "places").mkdir(parents=True)
    assert remembered(cache, "../../secret") is None
    remember(cache, "a" * 64, place)
    assert remembered(cache, "a" * 64) == place
    place.rmdir()
    assert remembered(cache, "a" * 64) is None
