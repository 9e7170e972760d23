"""`lft recipes`: list, show, check, schema, new."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Recipes: list, show, check, schema, new.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="a file, or a name of `lft recipes list`")]
OverridesArgument = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="overrides of its keys")]


@app.command("list")
def list_() -> None:
    """List the recipes that come with lft."""
    from lft.recipe import catalogue

    entries = catalogue()
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        if entry.problem:
            print(f"{entry.name:<{width}}  broken: {entry.problem}")
            continue
        weights = f"{entry.dtype} as {entry.quantize}" if entry.quantize else entry.dtype
        print(f"{entry.name:<{width}}  {entry.model:<28}  {entry.method:<6}  {weights}")
        if purpose := entry.note.rpartition("   ")[2].strip():
            print(f"{'':<{width}}  {purpose}")
    if not entries:
        print("no recipes are installed; write one with `lft recipes new NAME`")


@app.command()
def show(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Print every value and where it came from."""
    from lft.recipe import load_recipe, to_yaml

    resolved = load_recipe(recipe, overrides or ())
    print(to_yaml(resolved.recipe, lambda key: str(resolved.origins[key])), end="")


@app.command()
def check(
    recipes: Annotated[
        list[str], typer.Argument(metavar="RECIPE... [KEY=VALUE]...", help="files or names, then overrides for all")
    ],
) -> None:
    """Name all that is wrong with recipes."""
    from lft.recipe import check_recipe

    files = [word for word in recipes if "=" not in word or Path(word).exists()]
    overrides = [word for word in recipes if word not in files]
    if not files:
        raise typer.BadParameter("name at least one recipe file")
    wrong = 0
    for file in files:
        problems = check_recipe(file, overrides)
        wrong += len(problems)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            print(f"{file}: ok")
    if wrong:
        raise typer.Exit(2)


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    import json

    from lft.recipe import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of the recipe; NAME.yaml is written here")],
    origin: Annotated[str, typer.Option("--from", metavar="RECIPE", help="recipe to start from")] = "quickstart",
) -> None:
    """Write a recipe with every key explained."""
    from lft.errors import RecipeError
    from lft.files import write_text
    from lft.recipe import described, load_recipe, to_yaml

    name = name.removesuffix(".yaml")
    recipe = load_recipe(origin, [f"name='{name}'", "output.adapter=null"]).recipe
    path = Path(f"{recipe.name}.yaml")
    if path.parent != Path("."):
        raise RecipeError("a new recipe is written into the current folder", where=name, fix="give a name without /")
    if path.exists() or path.is_symlink():
        raise RecipeError("this file exists already and is not overwritten", where=str(path), fix="choose another name")
    header = f"# lft finetune {path}            from {origin}\n"
    write_text(path, header + to_yaml(recipe, described))
    print(f"{path}: written; check it with `lft recipes check {path}`")
