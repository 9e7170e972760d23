"""What language a text looks like."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

_WINDOW: Final = 1000  # characters from begin, middle and end: as sure as a whole book, and quicker
_NO_LANGUAGE: Final = ("und", "zxx")


def detected(text: str) -> tuple[str, float]:
    """The language of a text (ISO 639) and how sure that is, 0 to 1; an empty name where no letter says anything.

    Texts under ten words are guesses; see docs/corpus-sources.md for how often it is right.
    """
    found, confidence = _identifier().classify(_window(text))
    return ("", 0.0) if found in _NO_LANGUAGE else (found, confidence)


def _window(text: str) -> str:
    if len(text) <= 3 * _WINDOW:
        return text
    middle = (len(text) - _WINDOW) // 2
    return " ".join((text[:_WINDOW], text[middle : middle + _WINDOW], text[-_WINDOW:]))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
