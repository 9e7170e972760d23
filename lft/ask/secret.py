"""A key that cannot be printed by accident."""

from __future__ import annotations

from typing import Final

from lft.errors import RecipeError

_TELLING: Final = 16  # characters from which a key is no ordinary word (local servers take "x" or "EMPTY")


class Secret:
    """Holds a key; shown, logged, compared or pickled it is never more than ``***``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.strip()
        if not self._value or not self._value.isascii() or not self._value.isprintable():
            raise RecipeError(
                "the key is empty or holds characters that no key has", fix="set its environment variable again"
            )

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")

    def header(self) -> str:
        """What the Authorization header says."""
        return f"Bearer {self._value}"

    def hidden(self, text: str) -> str:
        """A text without the key in it."""
        return text.replace(self._value, "***")

    def hidden_in_reply(self, text: str) -> str:
        """The same for a model's words, in which a very short key may be an ordinary word."""
        return self.hidden(text) if len(self._value) >= _TELLING else text
