"""Text to tokens and labels, with nothing lost in silence.

Labels are ``IGNORE`` everywhere but on the answers and their end-of-sequence token. Prompt and answer are tokenised so
that the prompt's tokens are exactly those that generation will see: an answer may never merge into its prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lft.data.example import Example
from lft.data.prompts import Piece, PromptFormat, render, special_tokens
from lft.errors import InputError

IGNORE = -100
Overlong = Literal["error", "drop", "truncate", "split"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One example as tokens.

    ``input_ids`` and ``labels`` have the same length T; ``labels[t]`` is ``input_ids[t]`` or ``IGNORE`` (the shift by
    one happens in the loss). ``labels[0]`` is always ``IGNORE``: nothing predicts the first token.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def supervised(self) -> int:
        """Number of tokens in the loss."""
        return sum(label != IGNORE for label in self.labels)


@dataclass(slots=True)
class Counts:
    """What became of the examples; every number is printed."""

    examples: int = 0
    kept: int = 0
    tokens: int = 0
    supervised: int = 0
    eos_trained: int = 0
    overlong: int = 0
    dropped: int = 0
    truncated: int = 0
    tokens_cut: int = 0
    split: int = 0
    empty: int = 0
    retokenised: int = 0
    longest: int = 0


@dataclass(frozen=True, slots=True)
class Encoder:
    """Tokeniser, prompt format and length rule together: examples in, token sequences out."""

    tokenizer: Any
    form: PromptFormat
    max_length: int
    overlong: Overlong
    counts: Counts = field(default_factory=Counts)

    def encode(self, examples: Sequence[Example], first: int = 0) -> Iterator[tuple[int, Tokens]]:
        """Yield ``(example number, tokens)``; a long example may yield none or several.

        Args:
            examples: consecutive examples.
            first: number of the first one, for messages.

        Raises:
            InputError: an example does not fit the format, or is too long under ``overlong: error``.
        """
        pieces = [self._render(example, first + offset) for offset, example in enumerate(examples)]
        for offset, tokens in enumerate(self._tokenise(pieces)):
            self.counts.examples += 1
            for part in self._fit(tokens, first + offset):
                self._count(part)
                yield first + offset, part

    def _render(self, example: Example, number: int) -> tuple[Piece, ...]:
        """The example's text; no pieces where there is no output (in chat its stop token alone would be trained on)."""
        try:
            pieces = render(self.form, example, self.tokenizer)
        except InputError as error:
            raise InputError(error.what, where=f"example {number}", fix=error.fix) from None
        return pieces if example.output.strip() else ()

    def _tokenise(self, examples: Sequence[tuple[Piece, ...]]) -> Iterator[Tokens | None]:
        """One fast-tokenizer call for all prefixes of all examples."""
        prefixes = ["".join(piece.text for piece in pieces[: n + 1]) for pieces in examples for n in range(len(pieces))]
        encoded = iter(self._ids(prefixes))
        for pieces in examples:
            upto = [next(encoded) for _ in pieces]
            yield self._join(pieces, upto) if pieces else None

    def _join(self, pieces: Sequence[Piece], upto: Sequence[list[int]]) -> Tokens:
        ids: list[int] = []
        labels: list[int] = []
        for piece, whole in zip(pieces, upto, strict=True):
            if whole[: len(ids)] == ids:
                new = whole[len(ids) :]
            else:  # the text merges across the border: keep the prompt's own tokens, and say so
                new = self._ids([piece.text], special=False)[0]
                self.counts.retokenised += 1
            ids += new
            labels += new if piece.supervised else [IGNORE] * len(new)
        if self.form.name != "chat" or labels[-1] not in self._stop_ids():
            eos = self._eos()
            ids.append(eos)
            labels.append(eos)
        labels[0] = IGNORE
        return Tokens(tuple(ids), tuple(labels))

    def _eos(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "the base's tokenizer has no end-of-sequence token, so a model could not learn to stop",
                fix="name its eos_token in tokenizer_config.json, or choose another base",
            )
        return int(self.tokenizer.eos_token_id)

    def _stop_ids(self) -> frozenset[int]:
        """What may end an answer: EOS, and in chat whatever special token the template closes a turn with."""
        tokenizer = self.tokenizer
        turn_ends = set(special_tokens(tokenizer).values()) if self.form.name == "chat" else set()
        return frozenset(turn_ends - {tokenizer.unk_token_id, tokenizer.bos_token_id} | {tokenizer.eos_token_id})

    def _ids(self, texts: list[str], special: bool = True) -> list[list[int]]:
        if not texts:
            return []
        special = special and self.form.adds_special_tokens
        rows = self.tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
        eos = self.tokenizer.eos_token_id
        # T5-like tokenizers close every text with EOS; here it belongs behind the answer only.
        closes = special and self.tokenizer("a", verbose=False)["input_ids"][-1:] == [eos]
        return [row[:-1] if closes else row for row in rows]

    def _fit(self, tokens: Tokens | None, number: int) -> list[Tokens]:
        """Apply the length rule; every change is counted."""
        if tokens is None:
            self.counts.empty += 1
            return []
        self.counts.longest = max(self.counts.longest, len(tokens))
        if len(tokens) <= self.max_length:
            return [tokens]
        self.counts.overlong += 1
        if self.overlong == "error":
            raise InputError(
                f"{len(tokens):,} tokens, more than data.max_length {self.max_length:,}",
                where=f"example {number}",
                fix="raise data.max_length, or choose data.overlong: drop, truncate or split",
            )
        parts = [] if self.overlong == "drop" else self._cut(tokens)
        if not parts:
            self.counts.dropped += 1
        return parts

    def _cut(self, tokens: Tokens) -> list[Tokens]:
        windows = [_window(tokens, start, self.max_length) for start in range(0, len(tokens), self.max_length)]
        kept = [window for window in windows[: 1 if self.overlong == "truncate" else None] if window.supervised]
        self.counts.tokens_cut += len(tokens) - sum(len(window) for window in kept)
        if self.overlong == "truncate":
            self.counts.truncated += bool(kept)
        else:
            self.counts.split += bool(kept)
        return kept

    def _count(self, part: Tokens) -> None:
        counts = self.counts
        counts.kept += 1
        counts.tokens += len(part)
        counts.supervised += part.supervised
        counts.eos_trained += part.labels[-1] in self._stop_ids()


def _window(tokens: Tokens, start: int, length: int) -> Tokens:
    """A stretch of a sequence; its first token has nothing before it, so it cannot be a label."""
    stop = start + length
    return Tokens(tokens.input_ids[start:stop], (IGNORE, *tokens.labels[start + 1 : stop]))
