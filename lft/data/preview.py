"""The very tokens, labels and pack boundaries that will be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lft.data.tokens import IGNORE, Tokens


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token: its id, its text as the tokenizer would decode it, and whether it is in the loss."""

    id: int
    text: str
    supervised: bool
    special: bool


def token_views(tokens: Tokens, tokenizer: Any) -> Iterator[TokenView]:
    """A sequence's tokens with the text that each adds to what stands before it.

    Bytes of a character that is not complete yet add nothing; the last of them adds the whole character.
    """
    special = frozenset(tokenizer.all_special_ids)
    start, shown = 0, ""
    for place, (token, label) in enumerate(zip(tokens.input_ids, tokens.labels, strict=True)):
        text = tokenizer.decode(tokens.input_ids[start : place + 1], skip_special_tokens=False)
        new = "" if text.endswith("\ufffd") else text[len(shown) :]
        if new:
            # Decode anew from here on now and then, so that a long sequence stays linear; one token of context keeps
            # the leading space of the next word.
            start, shown = (
                (place, tokenizer.decode([token], skip_special_tokens=False)) if place - start > 8 else (start, text)
            )
        yield TokenView(token, new, label != IGNORE, token in special)
