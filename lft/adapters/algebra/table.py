"""The table of methods, complete: importing the functions' files is what fills it."""

from __future__ import annotations

from lft.adapters.algebra import compat, exact, sparse, subspace
from lft.adapters.algebra.method import METHODS, Method
from lft.errors import RecipeError
from lft.recipe.problems import listed, nearest, shown

__all__ = ["FILES", "METHODS", "require_method"]

FILES = (exact, subspace, sparse, compat)


def require_method(name: str) -> Method:
    """The method of a name. Raises RecipeError with the nearest name for one that is not known."""
    if name in METHODS:
        return METHODS[name]
    close = nearest(name, METHODS) or nearest(f"compat:{name}", METHODS)
    raise RecipeError(
        f"unknown merge method {shown(name)}",
        fix=f"nearest: {close}" if close else f"one of {listed(METHODS, limit=30)}",
    )
