"""A recipe against its closed schema, its rules and PEFT's options."""

from __future__ import annotations

from typing import Final

from lft.recipe.closed import Checked, Closed, origin_of_first
from lft.recipe.document import MappingNode
from lft.recipe.peft_options import option_faults
from lft.recipe.problems import Problem
from lft.recipe.rules import RULES
from lft.recipe.schema import Recipe
from lft.recipe.unsupported import NOT_YET

# The second value stands in for the required keys while the rest of a broken recipe is looked at; nobody sees it.
RECIPE: Final = Closed(Recipe, "recipe", {"name": "x", "base": {"model": "x"}, "data": {"train": "x"}}, RULES)


def checked(
    root: MappingNode, whole: bool = True, allow_unsupported: bool = False
) -> tuple[Recipe, tuple[Problem, ...]]:
    """The recipe that the tree describes and everything that is wrong with it.

    With problems the recipe has stand-ins where it is wrong and is not for use. ``allow_unsupported`` lets through what
    this version cannot run yet, for planning; for ``whole`` see ``Closed.checked``.
    """
    found = RECIPE.checked(root, whole)
    problems = (*found.problems, *_bad_options(found, root))
    return found.value, (*problems, *(() if allow_unsupported else _not_yet(found, root)))


def _bad_options(found: Checked[Recipe], root: MappingNode) -> list[Problem]:
    """PEFT's options, each at its own place; the kind decides which there are."""
    if found.wrong & {"method", "method.kind", "method.options"}:
        return []
    return [
        Problem(origin_of_first((".".join(("method", *fault.path)), "method.options", "method.kind"), root), fault.what)
        for fault in option_faults(found.value.method)
    ]


def _not_yet(found: Checked[Recipe], root: MappingNode) -> list[Problem]:
    return [
        Problem(
            origin_of_first((item.key,), root),
            f"{item.key}: {asked} is not yet supported by this version ({item.note})",
        )
        for item in NOT_YET
        if item.key not in found.wrong and (asked := item.asked(found.value)) is not None
    ]
