"""How many sentences a text has, and whether that is certain: a clause about length must be true.

A full stop ends a sentence where white space and something that may begin one follow. What looks the same without
being it (initials, "etc.", German ordinals, a quoted question) makes the count uncertain, and so do headings and list
items that end without a mark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import Final

_END: Final = re.compile(r"(?P<mark>[.!?…‽]+|[。！？]+)(?P<close>[\"'”’»›)\]*_“]*)(?P<gap>\s+|$|(?<=[。！？]))")
_STARTS: Final = re.compile(r"[\"'“‘«‹„¿¡(\[*_—–-]*\s*(?P<first>\w)?")
_TERMINAL: Final = re.compile(r"[.!?…‽。！？][\"'”’»›)\]*_“]*$")
_BULLET: Final = re.compile(r"\s*(?:[-*•–—‣]|\(?\d{1,3}[.)]|[a-z][.)])\s+")
_BLANK: Final = re.compile(r"\n[^\S\n]*\n\s*")
_LAST_WORD: Final = re.compile(r"[\w.,:’'-]*\w?$")
_FRENCH_SPACE: Final = re.compile(r"(?<=«)\s+|\s+(?=»)")  # « as it is set there »

# Never the end of a sentence when a name or a noun follows.
_INSIDE: Final = {
    "en": "mr mrs ms dr prof st mt rev gen sen rep capt e.g i.e vs cf no fig approx",
    "de": "hr fr dr prof st z.b d.h u.a o.ä ca bzw nr abb vgl evtl ggf inkl tel str s",
    "es": "sr sra srta dr dra prof p.ej ee núm pág fig aprox d dña ud uds",
    "fr": "m mm mr dr pr st ste p.ex cf fig env n°",
    "ru": "г-н г-жа т.е т.к см ул им напр проф акад стр рис табл",
}
# May end a sentence or not.
_EITHER: Final = {
    "en": "etc inc ltd co corp jr sr a.m p.m u.s u.k",
    "de": "usw etc u.s.w",
    "es": "etc uu s.a",
    "fr": "etc",
    "ru": "т.д т.п г гг в вв др пр руб млн млрд тыс",
}
_NEVER: Final = {lang: frozenset(words.split()) for lang, words in _INSIDE.items()}
_MAYBE: Final = {lang: frozenset(words.split()) for lang, words in _EITHER.items()}


@dataclass(frozen=True, slots=True)
class Sentences:
    """How many there are, and whether every reader would count as many."""

    count: int
    certain: bool


def paragraphs(text: str) -> list[str]:
    """What empty lines divide."""
    return [part for part in _BLANK.split(text.strip()) if part.strip()]


def sentences(text: str, lang: str) -> Sentences:
    """The sentences of a text in a language (ISO 639-1); a line of its own is at least one."""
    found = [_in_block(block, lang) for block in _blocks(text)]
    return Sentences(sum(one.count for one in found), all(one.certain for one in found) and bool(found))


def _blocks(text: str) -> list[str]:
    """Stretches that no sentence crosses: paragraphs, list items, and lines unless these were only wrapped."""
    parts, wrapped = paragraphs(text), _is_wrapped(text)
    blocks: list[str] = []
    for part in parts:
        lines = [line for line in part.split("\n") if line.strip()]
        for place, line in enumerate(lines):
            if wrapped and place and not _BULLET.match(line):
                blocks[-1] += " " + line.strip()
            else:
                blocks.append(_BULLET.sub("", line, count=1).strip() if _BULLET.match(line) else line.strip())
    return [block for block in blocks if any(letter.isalnum() for letter in block)]


def _is_wrapped(text: str) -> bool:
    """Whether lines break where they are full, as in e-mails."""
    inner = [line for part in paragraphs(text) for line in part.split("\n")[:-1] if line.strip()]
    if not inner:
        return False
    open_ended = sum(not _TERMINAL.search(line.rstrip()) for line in inner)
    return max(map(len, inner)) <= 100 and median(map(len, inner)) >= 45 and open_ended >= 0.7 * len(inner)


def _in_block(block: str, lang: str) -> Sentences:
    count, certain, last = 0, True, 0
    block = _FRENCH_SPACE.sub("", block) if lang == "fr" else block
    for found in _END.finditer(block):
        before, after = block[last : found.start()], block[found.end() :]
        verdict = _verdict(before, found, after, lang)
        if verdict is None:
            certain = False
        elif verdict:
            count, last = count + 1, found.end()
    rest = any(letter.isalnum() for letter in block[last:])
    return Sentences(count + rest, certain and not rest)


def _verdict(before: str, found: re.Match[str], after: str, lang: str) -> bool | None:
    """Whether a sentence ends here; None where nobody can tell."""
    if not after:
        return True
    starts = _STARTS.match(after)
    first = (starts["first"] if starts else None) or ""
    if first.islower():
        return False
    mark, word = found["mark"], _LAST_WORD.search(before.replace(". ", "."))
    if mark != ".":
        return None if found["close"] and mark not in "。！？" else True
    last = (word[0] if word else "").casefold()
    following = re.split(r"[\s.]", after, maxsplit=1)[0].casefold()
    if not _NEVER.get(lang, frozenset()).isdisjoint((last, f"{last}.{following}")):  # z. B. has two stops
        return False
    initial = len(last.rpartition(".")[2]) == 1 and last[-1].isalpha()
    ordinal = lang == "de" and last.isdigit() and len(last) <= 2
    return None if initial or ordinal or last in _MAYBE.get(lang, ()) else True
