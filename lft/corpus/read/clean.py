"""What machines did to a text is undone; what its author wrote stays: quotes, dashes, spelling, indents."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

_OVERSTRUCK: Final = re.compile(r".\x08")  # bold and underline of a line printer: c BACKSPACE c
_ODD: Final = re.compile(r"[\x1b\x80-\x9f\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u00ad]")
# groff breaks words with U+2010, which nobody types; a hyphen-minus at a line's end may be the author's own
_BROKEN_WORD: Final = re.compile(r"(?<=\w)\u2010[ \t]*\n[ \t]*(?=\w)")
_LINE_END: Final = re.compile(r"[ \t]+$", re.MULTILINE)
_EMPTY_LINES: Final = re.compile(r"\n{3,}")
_SPACE: Final = re.compile(r"\s+")

_NAVIGATION_SAID: Final = (
    "prev previous next up top home index contents back menu search skip to main content table of back to top "
    "sign in log in share print edit zurück weiter vor nach oben hoch inhalt inhaltsverzeichnis startseite anfang "
    "suche anmelden anterior siguiente subir arriba inicio contenido índice buscar précédent suivant niveau supérieur "
    "sommaire accueil retour haut de page table des matières rechercher пред след назад вперёд вперед наверх уровень "
    "выше начало содержание глава оглавление поиск"
)
_NAVIGATION: Final = frozenset(_NAVIGATION_SAID.split())
_ARROWS: Final = re.compile(r"[«»‹›<>|•·←→↑↓/:.\u00a0 \t-]+")
_NAVIGATION_WORDS: Final = 8  # a longer line is a sentence


def clean(text: str) -> str:
    """Mojibake, control characters, line ends, broken words and superfluous white space put right."""
    text = _OVERSTRUCK.sub("", text) if "\x08" in text else text
    text = _fixed(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _BROKEN_WORD.sub("", _CONTROL.sub("", text))
    return _EMPTY_LINES.sub("\n\n", _LINE_END.sub("", text)).strip()


def clean_line(text: str) -> str:
    """The same for a title: one line."""
    return _SPACE.sub(" ", clean(text))


def without_navigation(text: str) -> str:
    """The text of a web page without the lines that only lead elsewhere (Prev, Next, Table of Contents)."""
    return "\n".join(line for line in text.split("\n") if not is_navigation(line))


def is_navigation(line: str) -> bool:
    """Whether a line holds nothing but words of navigation (in five languages) and arrows."""
    words = [word for word in _ARROWS.split(line.casefold()) if word]
    return 0 < len(words) <= _NAVIGATION_WORDS and all(word in _NAVIGATION for word in words)


def printable(text: str) -> str:
    """A text that can be written as UTF-8, whatever is in it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fixed(text: str) -> str:
    """Mojibake, escapes of terminals and halves of surrogates repaired; texts without any pass at once."""
    import ftfy
    import ftfy.badness

    if not _ODD.search(text) and (text.isascii() or not ftfy.badness.is_bad(text)):
        return text
    return ftfy.fix_text(text, _settings())  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _settings() -> Any:
    import ftfy

    # the rest of what ftfy can do changes what was meant: curly quotes, ligatures, &lt; in a text about HTML
    return ftfy.TextFixerConfig(
        unescape_html=False,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        normalization=None,
        explain=False,
    )
