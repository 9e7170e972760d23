"""What to do: the closed schema, YAML with line numbers, overrides, the catalogue."""

from lft.recipe.catalogue import CatalogueEntry, catalogue
from lft.recipe.catalogue_files import find_recipe
from lft.recipe.load import Resolved, check_recipe, load_recipe
from lft.recipe.problems import BadRecipe, Origin, Problem
from lft.recipe.schema import Recipe
from lft.recipe.write import described, json_schema, to_yaml

__all__ = [
    "BadRecipe",
    "CatalogueEntry",
    "Origin",
    "Problem",
    "Recipe",
    "Resolved",
    "catalogue",
    "check_recipe",
    "described",
    "find_recipe",
    "json_schema",
    "load_recipe",
    "to_yaml",
]
