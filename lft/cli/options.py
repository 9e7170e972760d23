"""What somebody typed as options, checked as a file would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


@contextmanager
def typed(model: type[BaseModel], options: Mapping[str, str]) -> Iterator[None]:
    """A block that makes a model of what was typed; ``options`` says which option a key came from.

    Raises:
        RecipeError: a value is none that the key may have, in the words of its schema.
    """
    from pydantic import ValidationError

    from lft.errors import RecipeError
    from lft.recipe.problems import shown
    from lft.recipe.words import Words

    try:
        yield
    except ValidationError as error:
        odd, words = error.errors()[0], Words(model)
        key = str(odd["loc"][0])
        expected = words.expectation(words.fragment_at((key,)))
        raise RecipeError(f"expected {expected}, got {shown(str(odd['input']))}", where=options.get(key, key)) from None
