"""Text of a data set or a user is text: where it spells a special token (``</s>``, ``[EOI]``), it stays those letters.

A prompt format writes special tokens of its own around it, so one text holds both. ``protected`` marks the first kind
before they are joined, and ``encoded`` gives ids in which only the second kind became special tokens. Training and
generation both go through here; what holds no such text gets the very ids that the tokenizer gives.

    "Why </s> it stops [EOI]"   protected: only the last is one token   Why ▁ < / s > ▁it ▁stops [EOI]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from lft.errors import InputError

# A noncharacter of Unicode, reserved for uses like this one; where a text holds it all the same, it is doubled.
MARK = "\ufdd0"
_MARKED = re.compile(f"{MARK}({MARK}?)")
_Known = tuple[tuple[int, tuple[str, ...]], re.Pattern[str]]
_PATTERNS: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Special tokens and their ids: those with a role (EOS ...) and those only added as special.

    Gemma 3's and Phi 3's end of a turn are of the second kind, and [EOI] too; ``all_special_tokens`` lacks them.
    """
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    added = ((token.content, number) for number, token in tokenizer.added_tokens_decoder.items() if token.special)
    return dict([*named, *added])


def protected(text: str, tokenizer: Any) -> str:
    """Text with a mark inside each stretch that the tokenizer would read as a special token."""
    return _pattern(tokenizer).sub(lambda found: found[0][0] + MARK + found[0][1:], text)


def plain(text: str) -> str:
    """What was protected."""
    return _MARKED.sub(r"\1", text) if MARK in text else text


def count(text: str) -> int:
    """Number of protected special tokens in a text."""
    return sum(not found[1] for found in _MARKED.finditer(text)) if MARK in text else 0


def encoded(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    """Ids of texts, in which what was protected is no special token.

    Raises:
        InputError: a text is protected, and the tokenizer cannot tell which token came from where.
    """
    if not texts:
        return []
    clean = [plain(text) for text in texts]
    rows: list[list[int]] = tokenizer(clean, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
    for place, text in enumerate(texts):
        if count(text):
            rows[place] = _literal(tokenizer, text, add_special_tokens)
    return rows


def _pattern(tokenizer: Any) -> re.Pattern[str]:
    """Of a mark (which is doubled) and of all special tokens, the longest first; made anew when tokens were added."""
    state = (len(tokenizer), tuple(tokenizer.all_special_tokens))
    known = _PATTERNS.get(tokenizer)
    if known is None or known[0] != state:
        longest = sorted((text for text in special_tokens(tokenizer) if text), key=len, reverse=True)
        known = state, re.compile("|".join(map(re.escape, [MARK, *longest])))
        _PATTERNS[tokenizer] = known
    return known[1]


def _literal(tokenizer: Any, text: str, add_special_tokens: bool) -> list[int]:
    clean, places = plain(text), _places(text)
    if not tokenizer.is_fast:
        special = clean[places[0] : places[0] + 16]
        raise InputError(
            f"a text spells a special token ({special!r} ...), and this base's tokenizer (not a fast one) would read "
            "it as that token",
            fix="leave the text out, or choose a base with a tokenizer.json",
        )
    found = tokenizer(clean, add_special_tokens=add_special_tokens, return_offsets_mapping=True, verbose=False)
    special_ids = frozenset(special_tokens(tokenizer).values())
    ids: list[int] = []
    for number, (start, end) in zip(found["input_ids"], found["offset_mapping"], strict=True):
        if number in special_ids and any(start <= place < end for place in places):
            ids += _letters(tokenizer, clean[start:end], special_ids - {tokenizer.unk_token_id})
        else:
            ids.append(number)
    return ids


def _places(text: str) -> list[int]:
    """Where in the plain text the protected special tokens begin."""
    marks = enumerate(_MARKED.finditer(text))  # of one mark nothing stays in the plain text, of two marks one
    return [found.start() - gone - 1 for gone, found in marks if not found[1]]


def _letters(tokenizer: Any, text: str, special_ids: frozenset[int]) -> list[int]:
    """Ids of a special token's letters, which are not that token again; character by character if need be.

    T5's model finds </s> among its pieces also where it is told not to look for special tokens.
    """
    ids = _amid(tokenizer, text)
    if special_ids.isdisjoint(ids):
        return ids
    return [number for letter in text for number in _amid(tokenizer, letter)]


def _amid(tokenizer: Any, text: str) -> list[int]:
    """Ids of a stretch in the middle of a text (at its start, some tokenizers would add a space)."""
    settings: dict[str, bool] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    before: list[int] = tokenizer("a", **settings)["input_ids"]
    together: list[int] = tokenizer("a" + text, **settings)["input_ids"]
    if together[: len(before)] == before:
        return together[len(before) :]
    alone: list[int] = tokenizer(text, **settings)["input_ids"]
    return alone
