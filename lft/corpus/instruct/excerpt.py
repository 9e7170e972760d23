"""Of a long document, its beginning and its end, with a mark where something is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

GAP: Final = "\n\n[…]\n\n"
_HEAD: Final = 2 / 3  # of the room; what a text is about, it says at its beginning
_NEAR: Final = 60  # characters in which a word's border is looked for


def excerpt(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """A text of at most so many tokens, cut between words; a text that fits stays as it is."""
    text = text.strip()
    whole = count(text)
    if whole <= tokens:
        return text
    room = len(text) * tokens // whole
    while room > 2 * _NEAR:
        found = _cut(text, room - len(GAP))
        if count(found) <= tokens:
            return found
        room = room * 9 // 10
    return text[: max(room, 1)]


def _cut(text: str, room: int) -> str:
    first = int(room * _HEAD)
    head, tail = text[:first], text[len(text) - (room - first) :]
    end = max((place for place in range(len(head) - _NEAR, len(head)) if head[place].isspace()), default=len(head))
    start = next((place for place in range(_NEAR) if tail[place].isspace()), 0)
    return head[:end].rstrip() + GAP + tail[start:].lstrip()
