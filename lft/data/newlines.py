"""Line breaks for tokenizers that have none.

T5's vocabulary holds no line break, so a text of paragraphs comes out as one paragraph (the paper names it as a limit).
Two ways around it, chosen by ``data.newlines`` and stored in the prompt format:

    token    "\\n" is added to the tokenizer as one token; its row is trained and travels in the adapter
    marker   "\\n" is written as " [NL] " and read back; "[NL]" in a text becomes "[-NL]", that one "[--NL]", and so on

What such a tokenizer loses beside them (runs of spaces, tabs, unknown characters) cannot be mended here; it is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from lft.errors import InputError, RecipeError

Newlines = Literal["kept", "token", "marker"]
NEWLINE = "\n"
_WRITTEN = re.compile(r"\[(-*)NL\]")
_READ = re.compile(r" ?\[NL\] ?|\[-(-*)NL\]")
# What the next characters of a stream may still turn into a marker or take away.
_OPEN = re.compile(r" ?(?:\[-*(?:NL?)?)?$")


@dataclass(frozen=True, slots=True)
class Restored:
    """Text as it was meant, from text as a tokenizer decodes it."""

    newlines: Newlines

    def __call__(self, decoded: str) -> str:
        """The text of a whole answer."""
        return read(decoded, self.newlines)

    def settled(self, decoded: str) -> str:
        """The part of an unfinished answer that no further text can change."""
        return read(_OPEN.sub("", decoded) if self.newlines == "marker" else decoded, self.newlines)


def write(text: str, newlines: Newlines) -> str:
    """Text as the tokenizer gets it; ``read`` gives it back."""
    if newlines != "marker":
        return text
    return _WRITTEN.sub(r"[-\1NL]", text).replace(NEWLINE, " [NL] ")


def read(decoded: str, newlines: Newlines) -> str:
    """Undo ``write``, and for an added token the space that decoding puts before the word behind it."""
    if newlines == "token":
        return decoded.replace("\n ", "\n")
    return _READ.sub(_original, decoded) if newlines == "marker" else decoded


def _original(found: re.Match[str]) -> str:
    return NEWLINE if found[1] is None else f"[{found[1]}NL]"


def loses_newlines(tokenizer: Any) -> bool:
    """Whether a line break does not come back when text is encoded and decoded."""
    return NEWLINE not in _there_and_back(tokenizer, "a\nb")


def newlines_for(wanted: Literal["auto", "token", "marker"], tokenizer: Any) -> Newlines:
    """What ``data.newlines`` means for a tokenizer.

    Raises:
        RecipeError: a way is named, but the tokenizer has line breaks of its own.
        InputError: the tokenizer does not give the marker back.
    """
    if not loses_newlines(tokenizer):
        if wanted != "auto":
            raise RecipeError(
                f"{wanted} is not needed: this base's tokenizer has line breaks of its own",
                where="data.newlines",
                fix="remove the key",
            )
        return "kept"
    if wanted == "marker" and read(_there_and_back(tokenizer, write("a\nb", "marker")), "marker") != "a\nb":
        raise InputError(
            "this base's tokenizer does not keep the text [NL]", where="data.newlines", fix="use data.newlines: token"
        )
    return "token" if wanted == "auto" else wanted


def _there_and_back(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@dataclass(slots=True)
class Lost:
    """What a tokenizer could not keep of some texts.

    ``spaces``: white space that did not come back as it was. ``unknown``: unknown tokens, each for a stretch of
    characters. ``respelt``: texts of which other characters came back differently (NFKC makes three dots of ``…``).
    """

    spaces: int = 0
    unknown: int = 0
    respelt: int = 0


def lost(texts: Iterable[str], rows: Iterable[list[int]], tokenizer: Any, newlines: Newlines) -> Lost:
    """Compare texts (as ``write`` made them) with what their tokens decode to."""
    found = Lost()
    for text, ids in zip(texts, rows, strict=True):
        meant = read(text, newlines) if newlines == "marker" else text
        back = read(str(tokenizer.decode(ids, skip_special_tokens=True)), newlines)
        if back == meant:
            continue
        unknown = ids.count(tokenizer.unk_token_id)
        found.spaces += (_spaces(meant) - _spaces(back)).total()
        found.unknown += unknown
        found.respelt += not unknown and "".join(meant.split()) != "".join(back.split())
    return found


def _spaces(text: str) -> Counter[str]:
    return Counter(character for character in text if character.isspace())
