"""The very tokens, labels and pack boundaries that will be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lft.data.pairs import Pair
from lft.data.tokens import IGNORE, Tokens
from lft.literal import special_tokens

_SOON = 8  # tokens; a character has at most four bytes


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token: its id, its text as the tokenizer would decode it, and whether it is in the loss."""

    id: int
    text: str
    supervised: bool
    special: bool


def sides_of(tokens: Tokens | Pair) -> Iterator[tuple[str, Tokens]]:
    """A sequence as it is shown: whole and unnamed, or an encoder-decoder's two sides, each by its name."""
    if isinstance(tokens, Tokens):
        yield "", tokens
    else:
        yield "encoder", Tokens(tokens.input_ids, (IGNORE,) * len(tokens.input_ids))
        yield "decoder", Tokens(tokens.labels, tokens.labels)


def token_views(tokens: Tokens, tokenizer: Any) -> Iterator[TokenView]:
    """A sequence's tokens with the text that each adds to what stands before it.

    Bytes of a character that is not complete yet add nothing; the last of them adds the whole character. All texts
    together are the text of the sequence. The time is linear in its length.
    """
    ids, special = list(tokens.input_ids), frozenset(special_tokens(tokenizer).values())
    # ids[:done] are shown. What came last of them, ids[context:done], is decoded again before what follows: alone, a
    # word would lose its leading space, and a byte the others of its run.
    context, done, shown = 0, 0, ""
    for stop, (token, label) in enumerate(zip(ids, tokens.labels, strict=True), 1):
        new, last = "", stop == len(ids)
        if last or _due(stop - done):
            text = tokenizer.decode(ids[context:stop], skip_special_tokens=False)
            if last or (len(text) > len(shown) and not text.endswith("\ufffd")):
                new = text[len(shown) :]
                context, done = done, stop
                shown = tokenizer.decode(ids[context:done], skip_special_tokens=False)
        yield TokenView(token, new, label != IGNORE, token in special)


def _due(waiting: int) -> bool:
    """Whether to decode again; ever more rarely, so that a long stretch of broken text does not take its square."""
    return waiting <= _SOON or waiting & (waiting - 1) == 0
