"""An adapter of the registry is used by its name: generation, training on top of it, plain peft."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from lft.adapters.load import load_adapted
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import adapter_folder_of, finder, stack_folders
from lft.adapters.store.layout import Store, open_store
from lft.base.attach import lower_adapters
from lft.cli.main import run
from lft.errors import InputError
from lft.files import seal
from tests.adapters.test_stacked_adapters import adapter, fresh, identity, logits
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a registry with ``lft/low`` and ``lft/top`` on top of it; their folders are gone."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny(folder / "base", "llama", hidden=64)
    adapter(folder, "low", seed=1)
    adapter(folder, "top", seed=2, below=("low",))
    store = open_store(folder / "registry")
    for name in ("low", "top"):
        add_adapter(store, folder / name, Origin(name=f"lft/{name}"))
        shutil.move(folder / name, folder / "was" / name)
    return folder


@pytest.fixture
def store(world: Path) -> Store:
    return open_store(world / "registry")


def folder_of(store: Store, name: str) -> Path:
    return adapter_folder_of(name, store)


def test_a_stack_whose_folders_are_gone_computes_what_it_did(world: Path, store: Store, tmp_path: Path) -> None:
    top = folder_of(store, "lft/top")
    loaded = load_adapted(top, world / "cache", lambda _: None, find=finder(store))
    eoi = loaded.tokenizer.convert_tokens_to_ids("[EOI]")
    merged, _, _ = fresh(world)
    for name in ("low", "top"):
        merged = PeftModel.from_pretrained(merged, str(world / "was" / name)).merge_and_unload()
    assert torch.allclose(logits(loaded.model, eoi), logits(merged, eoi), rtol=0, atol=2e-6)
    with pytest.raises(InputError, match="on top of an adapter that is gone"):
        load_adapted(top, world / "cache", lambda _: None)


def test_a_checkout_is_what_plain_peft_loads(world: Path, store: Store) -> None:
    here = []
    for folder in (folder_of(store, "lft/low"), world / "was" / "low"):
        model, tokenizer, _ = fresh(world)
        eoi = tokenizer.convert_tokens_to_ids("[EOI]")
        here.append(logits(PeftModel.from_pretrained(model, str(folder)), eoi))
    assert torch.equal(*here)


def test_training_on_top_of_a_name_finds_all_that_lies_below_it(world: Path, store: Store) -> None:
    folders = stack_folders(["lft/top"], store, world / "cache")
    assert [Path(folder).parent for folder in folders] == [store.checkouts] * 2
    lowers = lower_adapters(folders, identity(world))
    assert [lower.folder for lower in lowers] == [folder_of(store, "lft/low"), folder_of(store, "lft/top")]


def test_a_recipe_may_name_adapters_of_the_registry(world: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from lft.cli.finetune import _with_folders
    from lft.recipe.schema import Recipe

    monkeypatch.setenv("LFT_HOME", str(world))
    plain = {"name": "x", "base": {"model": "b"}, "data": {"train": "d"}}
    there = str(world / "was" / "low")
    chosen = Recipe.model_validate({**plain, "method": {"on_top_of": ["lft/low:1.0.0", there]}})
    assert _with_folders(chosen).method.on_top_of == (str(folder_of(store, "lft/low")), there)
    assert _with_folders(Recipe.model_validate(plain)) == Recipe.model_validate(plain)
    with pytest.raises(InputError, match="neither a folder nor a name in the registry"):
        _with_folders(Recipe.model_validate({**plain, "method": {"on_top_of": ["lft/none"]}}))


def test_generate_takes_a_name(
    world: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from lft.data.prompts import PROMPT_FILE, prompt_format

    folder = tmp_path / "prompted"
    shutil.copytree(world / "was" / "top", folder)
    form = prompt_format("plain", "text", fresh(world)[1])
    (folder / PROMPT_FILE).write_text(form.to_json())
    seal(folder)
    add_adapter(store, folder, Origin(name="lft/prompted"))
    shutil.rmtree(folder)
    monkeypatch.setenv("LFT_HOME", str(world))
    monkeypatch.setenv("LFT_CACHE", str(world / "cache"))
    for name in ("lft/prompted", "lft/prompted:1.0.0"):
        code = run(["generate", "--adapter", name, "--greedy", "--max-new-tokens", "4", "a red cat"])
        said = capsys.readouterr()
        assert (code, bool(said.out.strip())) == (0, True), said.err
    assert run(["generate", "--adapter", "lft/none", "a red cat"]) == 3
    assert "neither a folder nor a name in the registry" in capsys.readouterr().err
