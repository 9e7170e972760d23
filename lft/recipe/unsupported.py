"""Keys whose behaviour is not built yet: refused by name, never ignored. Building one removes its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lft.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A key, what a recipe asks of it that is not there (None when it asks for nothing), and a note."""

    key: str
    asked: Callable[[Recipe], str | None]
    note: str


def _when(asked: object, text: str) -> str | None:
    return text if asked else None


NOT_YET: Final = (
    Unsupported(
        "base.trust_remote_code", lambda recipe: _when(recipe.base.trust_remote_code, "true"), "comes with remote code"
    ),
    Unsupported(
        "base.dtype",
        lambda recipe: _when(recipe.base.dtype == "float16", "float16"),
        "needs loss scaling; bfloat16 and float32 do not",
    ),
)
