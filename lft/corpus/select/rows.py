"""What selection remembers of each document: 38 bytes, not its text.

A document's place in these rows is its place in the sorted input files, whoever of the tasks reads it. Whatever is
decided between documents follows ``draw``, a hash of the document's id and the build's seed, so it does not depend on
their order, on files or on tasks.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from lft.corpus.document import Document
from lft.corpus.select.words import word_hashes
from lft.errors import InputError

Rows = NDArray[Any]
LENGTHS: Final = ("short", "medium", "long", "very-long")
_BOUNDS: Final = (100, 500, 2000)  # words
ROW: Final = np.dtype(
    [
        ("draw", "<u8"),
        ("key", "<u8"),  # hash of the words: equal for texts that are equal up to case, space and punctuation
        ("key2", "<u8"),
        ("letters", "<u4"),
        ("source", "<u2"),
        ("lang", "S7"),
        ("length", "u1"),
    ]
)
_PACKED: Final = struct.Struct("<QQQIH7sB")  # one of ROW
_ALL_ONES: Final = (1 << 64) - 1
_INPUT: Final = re.compile(r"\d{5,}\.jsonl(\.gz)?")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which task has which files, and where each file's documents stand among all rows.

    ``offsets`` has one entry more than ``files``: the last is the number of documents.
    """

    files: tuple[Path, ...]
    tasks: int
    offsets: NDArray[np.int64]

    def rows_of(self, task: int) -> NDArray[np.int64]:
        """The rows that a task sees, in the order in which it sees them."""
        ranges = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in files_of(task, self.tasks, len(self.files))]
        return np.concatenate([np.zeros(0, np.int64), *ranges])


def input_files(documents: Path) -> tuple[Path, ...]:
    """The files of documents below a folder, in order of their paths.

    Raises:
        InputError: there are none.
    """
    found = sorted(path for path in documents.rglob("*.jsonl*") if _INPUT.fullmatch(path.name))
    if not found:
        raise InputError(
            "there are no documents (no <source>/00000.jsonl)", where=str(documents), fix="read them first"
        )
    return tuple(found)


def files_of(task: int, tasks: int, files: int) -> range:
    """Numbers of the files that a task works on."""
    return range(task, files, tasks)


def row_of(document: Document, source: int, seed: int) -> bytes:
    """One row, see ``ROW``; ``source`` is the place of the document's source in the build file."""
    key = xxhash.xxh3_128_intdigest(word_hashes(document.text).tobytes())
    count = document.words
    return _PACKED.pack(
        draw_of(document.id, seed),
        key & _ALL_ONES,
        key >> 64,
        min(len(document.text), _ALL_ONES >> 32),
        source,
        document.lang.encode("ascii", "replace"),
        sum(count >= bound for bound in _BOUNDS),
    )


def draw_of(id: str, seed: int) -> int:
    """A document's lot: 64 bits of a hash of its id and the build's seed."""
    return xxhash.xxh3_64_intdigest(id.encode("utf-8", "surrogatepass"), seed=seed & _ALL_ONES)


def gathered(folder: Path, files: tuple[Path, ...], tasks: int) -> tuple[Rows, Layout]:
    """The rows that tasks have written, one file of rows for each input file."""
    parts = [np.fromfile(folder / f"{i:05d}.rows", dtype=ROW) for i in range(len(files))]
    offsets = np.cumsum([0, *(part.size for part in parts)], dtype=np.int64)
    return np.concatenate(parts), Layout(files, tasks, offsets)


def preferred(rows: Rows, *groups: Sequence[Any] | NDArray[Any]) -> NDArray[np.intp]:
    """An order in which each group's members stand together, and the one that should stay comes first.

    That is the one whose source stands first in the build file; of those the longest; of those the one with the least
    lot. ``groups`` are the keys that make a group, most significant first.
    """
    longest_first = -rows["letters"].astype(np.int64)
    return np.lexsort((rows["draw"], longest_first, rows["source"], *reversed(groups)))
