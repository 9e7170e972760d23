"""What language a text is in, as far as its letters tell (py3langid)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

_WINDOW: Final = 1000  # characters from begin, middle and end: as sure as a whole book, and quicker
# Written languages so close that a detector's choice between them says nothing.
_CLOSE: Final = (
    frozenset({"no", "nb", "nn", "da"}),
    frozenset({"hr", "bs", "sr", "sh"}),
    frozenset({"id", "ms"}),
    frozenset({"zh", "yue", "wuu"}),
    frozenset({"es", "gl", "ext", "an"}),
    frozenset({"cs", "sk"}),
)


def detected(text: str) -> tuple[str, float]:
    """The language of a text (ISO 639) and how sure that is, 0 to 1; an empty name where no letter says anything.

    Texts under ten words are guesses; see docs/corpus-sources.md for how often it is right.
    """
    found, confidence = _identifier().classify(_window(text))
    return ("", 0.0) if found in ("und", "zxx") else (found, confidence)


def checkable(lang: str) -> bool:
    """Whether the detector knows a language."""
    return any(same_language(label, lang) for label in _labels())


def same_language(a: str, b: str) -> bool:
    """Whether two names mean one language, or two that a detector cannot tell apart."""
    return a == b or any(a in close and b in close for close in _CLOSE)


def _window(text: str) -> str:
    if len(text) <= 3 * _WINDOW:
        return text
    middle = (len(text) - _WINDOW) // 2
    return " ".join((text[:_WINDOW], text[middle : middle + _WINDOW], text[-_WINDOW:]))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=1)
def _labels() -> frozenset[str]:
    return frozenset(_identifier().labels)
