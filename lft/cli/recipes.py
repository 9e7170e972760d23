"""`lft recipes`: list, show, check, schema, new."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from lft.recipe.catalogue import CatalogueEntry

_COLUMNS: Final = 80

app = typer.Typer(
    help="Recipes: list, show, check, schema, new.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="a file, or a name of `lft recipes list`")]
OverridesArgument = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="overrides of its keys")]


@app.command("list")
def list_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="only recipes with these words")
    ] = None,
) -> None:
    """List the recipes that come with lft, all or those with some words: `list llama nf4`."""
    from lft.errors import RecipeError
    from lft.recipe import catalogue

    entries = catalogue()
    kept = [entry for entry in entries if all(word.lower() in _searched(entry) for word in words or ())]
    if entries and not kept:
        what = f"no recipe has {' and '.join(words or ())} in its name, base, method or purpose"
        raise RecipeError(what, fix="`lft recipes list` shows them all")
    width = max((len(entry.name) for entry in kept), default=0)
    base = max((len(entry.model) for entry in kept), default=0)
    for entry in kept:
        _print_entry(entry, width, base)
    if not entries:
        print("no recipes are installed; write one with `lft recipes new NAME`")


def _method(entry: CatalogueEntry) -> str:
    return f"{entry.method}+{entry.quantize}" if entry.quantize else entry.method


def _searched(entry: CatalogueEntry) -> str:
    return f"{entry.name} {entry.model} {_method(entry)} {entry.note} {entry.problem or ''}".lower()


def _print_entry(entry: CatalogueEntry, width: int, base: int) -> None:
    """One line, or two where what it is for would not fit into 80 columns."""
    if entry.problem:
        print(f"{entry.name:<{width}}  broken: {entry.problem}")
        return
    start = f"{entry.name:<{width}}  {entry.model:<{base}}  {_method(entry):<8}"
    purpose = entry.note.rpartition("   ")[2].strip()
    if len(start) + 2 + len(purpose) <= _COLUMNS:
        print(f"{start}  {purpose}".rstrip())
    else:
        print(f"{start.rstrip()}\n{'':<{width}}  {purpose}")


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
