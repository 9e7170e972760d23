"""Text to tokens and labels, with nothing lost in silence.

Labels are ``IGNORE`` everywhere but on the answers and their end-of-sequence token. Prompt and answer are tokenised so
that the prompt's tokens are exactly those that generation will see: an answer may never merge into its prompt.
An encoder-decoder's example is a ``Pair`` instead (``lft.data.pairs``): prompt and answer lie on two sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lft.data.example import Example
from lft.data.newlines import lost
from lft.data.pairs import Pair
from lft.data.prompts import Piece, PromptFormat, render
from lft.errors import InputError
from lft.literal import count, encoded, plain, special_tokens

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

    @property
    def extent(self) -> int:
        """What ``data.max_length`` bounds: prompt and answer together."""
        return len(self.input_ids)


@dataclass(slots=True)
class Counts:
    """What became of the examples; every number is printed.

    ``longest`` is what ``data.max_length`` is compared with: of a pair, the longer side. ``inputs_overlong`` and
    ``outputs_overlong`` tell the sides of overlong pairs apart, ``first_overlong`` is the number of the first example
    that is too long. ``spaces_lost``, ``unknown`` and ``respelt`` are what the tokenizer could not keep
    (``lft.data.newlines.Lost``), counted for tokenizers that have no line break. ``specials`` are stretches of text
    that spell a special token and were kept as text, ``empty_turns`` empty answers within a conversation (read, not
    trained), ``starts_masked`` answer tokens that ``overlong: split`` put first in a sequence, where nothing precedes
    them.
    """

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
    inputs_overlong: int = 0
    outputs_overlong: int = 0
    spaces_lost: int = 0
    unknown: int = 0
    respelt: int = 0
    first_overlong: int | None = None
    specials: int = 0
    empty_turns: int = 0
    starts_masked: int = 0


def changes(counts: Counts) -> list[str]:
    """What was changed or left out, in words; an empty list means nothing was."""
    told = {
        "dropped as too long": counts.dropped,
        "cut at max_length": counts.truncated,
        "split at max_length": counts.split,
        "first tokens of later parts not trained": counts.starts_masked,
        "with an empty output left out": counts.empty,
        "empty answers within conversations not trained": counts.empty_turns,
        "tokens cut off": counts.tokens_cut,
        "answers tokenised apart from their prompt": counts.retokenised,
        "special tokens in the texts kept as text": counts.specials,
        "inputs too long": counts.inputs_overlong,
        "outputs too long": counts.outputs_overlong,
        "spaces or tabs that the tokenizer does not keep": counts.spaces_lost,
        "stretches of characters unknown to the tokenizer": counts.unknown,
        "texts whose characters the tokenizer writes differently": counts.respelt,
    }
    return [f"{number:,} {text}" for text, number in told.items() if number]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Tokeniser, prompt format and length rule together: examples in, token sequences out."""

    tokenizer: Any
    form: PromptFormat
    max_length: int
    overlong: Overlong
    counts: Counts = field(default_factory=Counts)

    def encode(self, examples: Sequence[Example], first: int = 0) -> Iterator[tuple[int, Tokens | Pair]]:
        """Yield ``(example number, tokens)``; a long example may yield none or several.

        Args:
            examples: consecutive examples.
            first: number of the first one, for messages.

        Raises:
            InputError: an example does not fit the format, or is too long under ``overlong: error``.
        """
        pieces = [self._render(example, first + offset) for offset, example in enumerate(examples)]
        made = self._pairs(pieces) if self.form.encoder_decoder else self._tokenise(pieces)
        for offset, tokens in enumerate(made):
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
        if not example.output.strip():
            return ()
        self.counts.specials += sum(count(piece.text) for piece in pieces)
        self.counts.empty_turns += sum(turn.role == "assistant" and not turn.content.strip() for turn in example.turns)
        return pieces

    def _tokenise(self, examples: Sequence[tuple[Piece, ...]]) -> Iterator[Tokens | None]:
        """One fast-tokenizer call for all prefixes of all examples."""
        prefixes = ["".join(piece.text for piece in pieces[: n + 1]) for pieces in examples for n in range(len(pieces))]
        encoded = iter(self._ids(prefixes))
        for pieces in examples:
            upto = [next(encoded) for _ in pieces]
            if pieces:
                self._count_lost(["".join(piece.text for piece in pieces)], upto[-1:])
            yield self._join(pieces, upto) if pieces else None

    def _pairs(self, examples: Sequence[tuple[Piece, ...]]) -> Iterator[Pair | None]:
        """One fast-tokenizer call for both sides of all examples; each side is closed by EOS."""
        texts = [piece.text for pieces in examples for piece in pieces]
        rows = self._ids(texts)
        self._count_lost(texts, rows)
        sides = (tuple(row) for row in rows)
        for pieces in examples:
            yield Pair((*next(sides), self._eos()), (*next(sides), self._eos())) if pieces else None

    def _count_lost(self, texts: list[str], rows: list[list[int]]) -> None:
        if self.form.newlines == "kept":
            return
        found = lost(map(plain, texts), rows, self.tokenizer, self.form.newlines)
        self.counts.spaces_lost += found.spaces
        self.counts.unknown += found.unknown
        self.counts.respelt += found.respelt

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
        special = special and self.form.adds_special_tokens
        rows = encoded(self.tokenizer, texts, add_special_tokens=special)
        eos = self.tokenizer.eos_token_id
        # T5-like tokenizers close every text with EOS; here it belongs behind the answer only.
        closes = special and self.tokenizer("a", verbose=False)["input_ids"][-1:] == [eos]
        return [row[:-1] if closes else row for row in rows]

    def _fit(self, tokens: Tokens | Pair | None, number: int) -> Sequence[Tokens | Pair]:
        """Apply the length rule; every change is counted."""
        if tokens is None:
            self.counts.empty += 1
            return []
        self.counts.longest = max(self.counts.longest, tokens.extent)
        if tokens.extent <= self.max_length:
            return [tokens]
        self.counts.overlong += 1
        if self.counts.first_overlong is None:
            self.counts.first_overlong = number
        if isinstance(tokens, Pair):
            self.counts.inputs_overlong += len(tokens.input_ids) > self.max_length
            self.counts.outputs_overlong += len(tokens.labels) > self.max_length
        if self.overlong == "error":
            raise InputError(
                f"{tokens.extent:,} tokens, more than data.max_length {self.max_length:,}",
                where=f"example {number}",
                fix="raise data.max_length, or choose data.overlong: drop, truncate or split",
            )
        parts = [] if self.overlong == "drop" else self._cut(tokens)
        if not parts:
            self.counts.dropped += 1
        return parts

    def _cut(self, tokens: Tokens | Pair) -> Sequence[Tokens | Pair]:
        if isinstance(tokens, Pair):
            pair = tokens.cut(self.max_length)
            self.counts.tokens_cut += len(tokens) - len(pair)
            self.counts.truncated += 1
            return [pair]
        return self._windows(tokens)

    def _windows(self, tokens: Tokens) -> list[Tokens]:
        windows = [_window(tokens, start, self.max_length) for start in range(0, len(tokens), self.max_length)]
        kept = [window for window in windows[: 1 if self.overlong == "truncate" else None] if window.supervised]
        self.counts.tokens_cut += len(tokens) - sum(len(window) for window in kept)
        if self.overlong == "truncate":
            self.counts.truncated += bool(kept)
        else:
            self.counts.split += bool(kept)
            self.counts.starts_masked += sum(tokens.labels[n] != IGNORE for n in range(0, len(tokens), self.max_length))
        return kept

    def _count(self, part: Tokens | Pair) -> None:
        counts = self.counts
        counts.kept += 1
        counts.tokens += len(part)
        counts.supervised += part.supervised
        counts.eos_trained += part.labels[-1] in self._stop_ids()


def _window(tokens: Tokens, start: int, length: int) -> Tokens:
    """A stretch of a sequence; its first token has nothing before it, so it cannot be a label."""
    stop = start + length
    return Tokens(tokens.input_ids[start:stop], (IGNORE, *tokens.labels[start + 1 : stop]))
