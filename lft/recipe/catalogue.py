"""The recipes that come with lft: found by name, listed with what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lft.recipe.catalogue_files import recipe_files
from lft.recipe.load import load_recipe
from lft.recipe.problems import BadRecipe


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One recipe of the catalogue; a broken one has a ``problem`` and nothing else."""

    name: str
    path: Path
    note: str = ""  # first comment line
    model: str = ""
    method: str = ""
    dtype: str = ""
    quantize: str | None = None
    problem: str | None = None


def catalogue() -> list[CatalogueEntry]:
    """All recipes that come with lft, by name; a broken file is an entry that says so."""
    return [_entry(path) for path in recipe_files()]


def _entry(path: Path) -> CatalogueEntry:
    try:
        recipe = load_recipe(path).recipe
    except BadRecipe as error:
        return CatalogueEntry(path.stem, path, problem=str(error.problems[0]))
    return CatalogueEntry(
        path.stem,
        path,
        first_comment(path),
        recipe.base.model,
        recipe.method.kind,
        recipe.base.dtype,
        recipe.base.quantize,
    )


def first_comment(path: Path) -> str:
    """The comment on the first line of a recipe, without its mark."""
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    return first.lstrip("#").strip() if first.startswith("#") else ""
