"""The order in which rows are trained on: a function of seed and epoch, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from lft.data.tokens import IGNORE, Tokens
from lft.train.batches import PackedRows, Row, Segment, StreamedRows

# One token without a label: it costs next to nothing and adds nothing to loss or gradients.
BLANK: Row = (Segment(Tokens((0,), (IGNORE,)), -1),)


class RowOrder(Sampler[int]):  # type: ignore[misc]
    """Row numbers of one epoch in random order, then blanks up to a multiple of ``multiple``.

    Processes share an epoch by taking turns. With a number of rows that does not divide, libraries let some process
    see the first rows a second time; here it gets a blank row instead.
    """

    def __init__(self, rows: int, multiple: int, seed: int) -> None:
        self.rows, self.seed = rows, seed
        self.padded = -(-rows // multiple) * multiple
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer at the start of each epoch, also when it resumes into one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.padded

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed << 16) + self.epoch)
        yield from torch.randperm(self.rows, generator=generator).tolist()
        yield from range(self.rows, self.padded)


def as_dataset(rows: PackedRows | StreamedRows, multiple: int) -> Any:
    """Rows as the classes of ``datasets``, the only ones that TRL takes: numbers that become rows when asked for.

    Blank rows follow up to a multiple of ``multiple``; a stream has no end and needs none.
    """
    import datasets

    if isinstance(rows, StreamedRows):
        from datasets.iterable_dataset import ExamplesIterable

        # from_generator would pickle all that the rows hold, tokenizer and listeners, to make up a name.
        return datasets.IterableDataset(ExamplesIterable(lambda: enumerate({"row": row} for row in rows), {}))
    real, padded = len(rows), -(-len(rows) // multiple) * multiple
    numbers = datasets.Dataset.from_dict({"row": list(range(padded))})
    return numbers.with_transform(
        lambda batch: {"row": [rows[number] if number < real else BLANK for number in batch["row"]]}
    )
