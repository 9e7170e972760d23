"""The recipes of the paper: each model by each method, said once, fit for its base, in a table that is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lft.recipe.catalogue_files import recipe_files
from lft.recipe.schema import Recipe
from scripts import recipes_table

ROOT = Path(__file__).parents[2]
PAPER = ("t5-xl", "opt-125m", "opt-350m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "llama7b")
TODAY = ("llama3.1-8b", "qwen2.5-1.5b", "mistral-7b", "gemma-2-2b")
RECIPES: dict[str, Recipe] = {path.stem: recipes_table.recipe_of(path) for path in recipe_files()}
# Longest sequence of a base, as its config.json says (max_position_embeddings); T5's positions are relative.
CONTEXT = {"opt": 2048, "llama7b": 2048, "gemma-2": 8192, "mistral": 32768, "llama3.1": 131072, "qwen2.5": 131072}


def test_every_model_of_the_paper_has_every_method() -> None:
    assert {f"{model}-{method}" for model in PAPER for method in ("full", "lora", "qlora")} <= set(RECIPES)
    assert {f"{model}-{method}" for model in TODAY for method in ("lora", "qlora")} <= set(RECIPES)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"quickstart"}))
def test_a_recipe_does_what_its_name_says(name: str) -> None:
    recipe, method = RECIPES[name], name.rpartition("-")[2]
    assert recipe.name == name
    assert recipe.method.kind == ("full" if method == "full" else "lora")
    assert recipe.base.quantize == ("nf4" if method == "qlora" else None)
    assert recipe.launch.engine in (("zero2", "zero3") if method == "full" else ("none",))
    assert recipe.base.dtype == "bfloat16"
    assert recipe.train.global_batch_size % (recipe.launch.gpus * recipe.launch.nodes) == 0
    assert recipe.output.adapter == (None if method == "full" else f"longform/{name.removesuffix('-lora')}-en")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_sequences_fit_into_the_context_of_the_base(name: str) -> None:
    context = next((length for family, length in CONTEXT.items() if name.startswith(family)), None)
    if context is not None:
        assert RECIPES[name].data.max_length <= context


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("t5")])
def test_t5_gets_the_bare_instruction_unpacked_with_its_line_breaks(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.base.model == "google/t5-xl-lm-adapt"
    assert (recipe.data.prompt, recipe.data.packing, recipe.data.newlines) == ("plain", False, "token")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("opt", "t5"))])
def test_bases_whose_main_branch_holds_pickles_are_taken_where_they_are_safetensors(name: str) -> None:
    assert re.fullmatch(r"refs/pr/\d+", RECIPES[name].base.revision or "")


@pytest.mark.parametrize("model", [*PAPER, *TODAY])
def test_the_methods_of_a_model_agree_on_everything_that_is_not_the_method(model: str) -> None:
    kinds = [RECIPES[name] for name in RECIPES if name.startswith(f"{model}-")]
    assert len({(recipe.base.model, recipe.base.revision) for recipe in kinds}) == 1
    assert len({recipe.data.model_dump_json() for recipe in kinds}) == 1
    assert len({(recipe.train.epochs, recipe.train.global_batch_size, recipe.train.seed) for recipe in kinds}) == 1


@pytest.mark.parametrize("path", recipe_files(), ids=lambda path: path.stem)
def test_recipes_are_no_near_copies(path: Path) -> None:
    """Only three stand alone; any other says at most what differs."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if path.stem in ("quickstart", "llama7b-lora", "llama7b-full"):
        assert not text.startswith("extends")
    else:
        assert lines[0].startswith("extends: ")
        assert len(lines) <= 16
    if path.stem.endswith("-qlora"):
        assert len(lines) == 6


@pytest.mark.parametrize("path", recipe_files(), ids=lambda path: path.stem)
def test_a_head_says_which_hardware_in_the_words_of_lft_plan(path: Path) -> None:
    from lft.plan.hardware import parse_hardware

    row = recipes_table.row(path)
    if path.stem != "quickstart":
        fleet = parse_hardware(row.hardware)
        assert fleet.gpus == row.recipe.launch.gpus
        assert fleet.device.bfloat16
    assert row.values


def test_the_table_of_recipes_is_up_to_date() -> None:
    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert table == recipes_table.table(), "run python scripts/recipes_table.py"
    for path in recipe_files():
        assert f"[{path.stem}]({path.name})" in table


def test_the_table_of_a_changed_recipe_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in recipe_files():
        text = path.read_text(encoding="utf-8").replace("learning_rate: 2.0e-4", "learning_rate: 3.0e-4")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    before = recipes_table.table()
    monkeypatch.setattr(recipes_table, "RECIPES", tmp_path)
    assert recipes_table.table() == before.replace("| 2e-4 |", "| 3e-4 |")


@pytest.mark.parametrize("path", [path for path in recipe_files() if path.stem != "quickstart"], ids=lambda p: p.stem)
def test_the_memory_in_a_head_is_what_lft_plan_computes_and_fits(path: Path) -> None:
    planned = recipes_table.planned(path)
    assert recipes_table.row(path).memory == f"{planned} GiB", "run python scripts/recipes_table.py --memory"
