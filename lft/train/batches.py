"""Rows of packed sequences, and batches of rows.

A batch is always one row of N tokens without padding: the sequences of all its rows side by side, each attended to by
itself (``lft.train.attention``). Packing decides only which sequences share a row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import torch

from lft.data.example import Example
from lft.data.packing import pack
from lft.data.pairs import Pair
from lft.data.prepare import Prepared, encode_stream, require_supervision
from lft.data.tokens import Counts, Encoder, Tokens, changes

# Sequences looked at together when packing a stream; a few hundred fill rows as well as the whole set does.
STREAM_WINDOW = 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """One sequence of a row and the number of the example it came from."""

    tokens: Tokens | Pair
    example: int


Row = tuple[Segment, ...]


class PackedRows:
    """Rows of a prepared split. ``len()`` is the number of rows."""

    def __init__(self, prepared: Prepared, capacity: int | None) -> None:
        """Lay sequences into rows of ``capacity`` tokens; None gives each sequence a row of its own."""
        lengths = prepared.lengths
        self.prepared = prepared
        self.rows = pack(lengths, capacity) if capacity else [[index] for index in range(len(lengths))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return tuple(
            Segment(self.prepared.tokens(number), self.prepared.rows[number]["example"]) for number in self.rows[index]
        )


class StreamedRows:
    """Rows packed from a stream, a window of sequences at a time; starts over when the stream ends.

    ``encoder.counts`` tells what became of the examples read in the pass at hand (a window ahead of the training);
    ``notify`` is told the counts of each whole pass, and is set by whoever trains.
    """

    def __init__(self, stream: Iterable[Example], encoder: Encoder, capacity: int | None, seed: int) -> None:
        """``stream`` starts over each time it is iterated; rows are shuffled within a window by seed and pass.

        Iterating raises InputError at the end of a pass that had nothing to train on.
        """
        self.stream, self.encoder, self.capacity, self.seed = stream, encoder, capacity, seed
        self.passes = 0
        self.notify: Callable[[str], None] = lambda _: None

    def __iter__(self) -> Iterator[Row]:
        for epoch in count():
            # Each pass counts from zero: also because TRL looks at a first row and then starts over.
            self.passes, encoder = epoch, replace(self.encoder, counts=Counts())
            self.encoder = encoder
            for window in self._windows(encoder):
                yield from self._rows(window, epoch)
            if epoch and not encoder.counts.examples:
                return
            require_supervision(encoder.counts)  # else a run would go on for ever on nothing
            self.notify(f"train, pass {epoch + 1}: {described(encoder.counts)}")

    def so_far(self) -> str:
        """One line on the pass at hand."""
        return f"train, pass {self.passes + 1} as far as it was read: {described(self.encoder.counts)}"

    def _windows(self, encoder: Encoder) -> Iterator[list[Segment]]:
        stream = encode_stream(self.stream, encoder)
        while window := [Segment(tokens, number) for number, tokens in islice(stream, STREAM_WINDOW)]:
            yield window

    def _rows(self, window: Sequence[Segment], epoch: int) -> Iterator[Row]:
        lengths = [len(sequence.tokens) for sequence in window]
        rows = pack(lengths, self.capacity) if self.capacity else [[index] for index in range(len(lengths))]
        random.Random(f"{self.seed}/{epoch}/{window[0].example}").shuffle(rows)
        for row in rows:
            yield tuple(window[index] for index in row)


def described(counts: Counts) -> str:
    """Examples and tokens in words, and all that was changed or left out."""
    size = f"{counts.examples:,} examples, {counts.tokens:,} tokens"
    return "; ".join([f"{size} ({counts.supervised / max(counts.tokens, 1):.0%} supervised)", *changes(counts)])


def collate(items: Sequence[Mapping[str, Row]]) -> dict[str, Any]:
    """Rows to one batch.

    Args:
        items: each holds a row under ``row``.

    Returns:
        ``input_ids``, ``position_ids``, ``labels`` [1 x N]; ``segment_lengths``, a tuple of ints that sum to N;
        ``examples``, the numbers of the examples, for messages.
    """
    sequences = [sequence for item in items for sequence in item["row"]]
    ids = [token for sequence in sequences for token in sequence.tokens.input_ids]
    labels = [label for sequence in sequences for label in sequence.tokens.labels]
    positions = [place for sequence in sequences for place in range(len(sequence.tokens))]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "labels": torch.tensor([labels]),
        "segment_lengths": tuple(len(sequence.tokens) for sequence in sequences),
        "examples": tuple(sequence.example for sequence in sequences),
    }
