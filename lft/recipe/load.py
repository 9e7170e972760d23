"""A recipe file and overrides into one frozen object, with the origin of each of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lft.recipe.catalogue_files import find_recipe
from lft.recipe.check import checked
from lft.recipe.closed import Closed, M, entry_at
from lft.recipe.document import MappingNode
from lft.recipe.layers import anchored, layered
from lft.recipe.problems import DEFAULT, BadRecipe, Origin, Problem
from lft.recipe.schema import Recipe
from lft.recipe.words import leaves


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked recipe; ``origins`` says for each dotted key (``train.learning_rate``) where its value came from."""

    recipe: Recipe
    origins: Mapping[str, Origin]


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, allow_unsupported: bool = False) -> Resolved:
    """The recipe of a file (or of the catalogue, by name) with ``key.path=value`` overrides on top.

    ``allow_unsupported`` lets through what can be planned but not run yet.
    Raises RecipeError (a BadRecipe that carries ``problems``) with everything that is wrong, one line each.
    """
    resolved, problems = _resolved(find_recipe(path), overrides, allow_unsupported)
    if resolved is None or problems:
        raise BadRecipe(problems)
    return resolved


def load_closed(path: Path, closed: Closed[M], overrides: Sequence[str] = ()) -> M:
    """What a file of another kind (a build, a suite, a rubric) says, with ``key.path=value`` overrides on top.

    Raises RecipeError (a BadRecipe that carries ``problems``) with everything that is wrong, one line each.
    """
    layers = layered(path, overrides)
    if layers.root is None:
        raise BadRecipe(layers.problems, closed.kind)
    found = closed.checked(layers.root, layers.whole)
    if problems := (*layers.problems, *found.problems):
        raise BadRecipe(problems, closed.kind)
    return found.value


def check_recipe(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Everything that is wrong with a recipe, in the order of the file; empty when it can be run."""
    try:
        load_recipe(path, overrides)
    except BadRecipe as error:
        return error.problems
    return ()


def _resolved(
    path: Path, overrides: Sequence[str], allow_unsupported: bool
) -> tuple[Resolved | None, tuple[Problem, ...]]:
    layers = layered(path, overrides)
    if layers.root is None:
        return None, layers.problems
    root = anchored(layers.root)
    recipe, problems = checked(root, layers.whole, allow_unsupported)
    return Resolved(recipe, MappingProxyType(_origins(recipe, root))), (*layers.problems, *problems)


def _origins(recipe: Recipe, root: MappingNode) -> dict[str, Origin]:
    """The origin of every value; a list is one value, each tag is one."""
    paths = [path for path in leaves(Recipe) if path != ("output", "tags")]
    paths += [("output", "tags", tag) for tag in recipe.output.tags] or [("output", "tags")]
    entries = {".".join(map(str, path)): entry_at(root, path) for path in paths}
    return {key: entry.node.at if entry else DEFAULT for key, entry in entries.items()}
