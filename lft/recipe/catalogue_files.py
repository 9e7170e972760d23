"""Where recipes lie: the `recipes/` folder of a checkout, or an installed package of them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import lft
from lft.recipe.problems import BadRecipe, Origin, Problem, listed, nearest, shown


def recipe_files() -> list[Path]:
    """The files of the catalogue, by name."""
    folder = catalogue_folder()
    return sorted(folder.glob("*.yaml")) if folder else []


def catalogue_folder() -> Path | None:
    """`recipes/` beside the package, else the package `lft_recipes`, else None."""
    checkout = Path(lft.__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "recipes").is_dir():  # not somebody's package `recipes`
        return checkout / "recipes"
    spec = find_spec("lft_recipes")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def find_recipe(name_or_path: str | Path) -> Path:
    """The file that is meant: an existing path, or the name of a recipe of the catalogue.

    Raises RecipeError (a BadRecipe) for anything else, with the nearest file or name.
    """
    path = Path(name_or_path)
    known = {file.stem: _from_here(file) for file in recipe_files()}
    if _exists(path):
        return known.get(str(name_or_path), path) if path.is_dir() else path
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    if path.suffix or len(path.parts) != 1:
        close = nearest(path.name, recipes_in(path.parent))
        raise _missing(name_or_path, "no such file", close and str(path.parent / close), ())
    raise _missing(name_or_path, "no such file, and no recipe of this name", nearest(path.name, known), known)


def recipes_in(folder: Path) -> list[str]:
    """Names of the recipe files in a folder; none when it cannot be looked into."""
    try:
        return sorted(file.name for file in folder.glob("*.y*ml"))
    except (OSError, ValueError):
        return []


def _from_here(path: Path) -> Path:
    """The path as a person in the current folder would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _missing(asked: str | Path, what: str, close: str | None, known: Iterable[str]) -> BadRecipe:
    names = listed(known, limit=30)
    hint = f"; nearest: {shown(close)}" if close else f"; there are {names}" if names else ""
    return BadRecipe([Problem(Origin(str(asked), 1, 1), what + hint)])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
