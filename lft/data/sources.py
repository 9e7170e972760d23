"""Sources to examples: files, folders, saved and hub data sets, and weighted mixtures of them.

A source is opened once into rows that lie on disk (memory-mapped), its format is decided by its columns, and each row
is read strictly when it is asked for. ``streaming.py`` does the same without preparing anything.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lft.data import mixture
from lft.data.example import Example
from lft.data.formats import Format, Verdict, detect, named, to_example
from lft.data.locate import (
    Located,
    NoSplit,
    Part,
    Wanted,
    files_of,
    locate,
    no_source_has,
    no_split,
    wanted_of,
)
from lft.errors import InputError
from lft.recipe.rules import sources_of
from lft.recipe.schema import Data, Source

Notify = Callable[[str], None]


class Rows(Protocol):
    """Rows of one file or data set, wherever they lie."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def digest(self) -> str:
        """Stands for the content."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, also those that no format reads."""

    def __len__(self) -> int: ...

    def row(self, i: int) -> Mapping[str, Any]:
        """The values of row ``i``."""

    def where(self, i: int) -> str:
        """File and line of row ``i``."""


# Rows, and the numbers of those that belong to a split (None: all).
Numbered = tuple[Rows, NDArray[np.int64] | None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of one file that belong to a split (all where ``numbers`` is None), and their format."""

    rows: Rows
    numbers: NDArray[np.int64] | None
    format: Format

    def __len__(self) -> int:
        return len(self.rows) if self.numbers is None else len(self.numbers)

    def number(self, i: int) -> int:
        """Number in the file of the i-th row chosen."""
        return i if self.numbers is None else int(self.numbers[i])


class Examples:
    """The examples of one split, read from disk when asked for.

    ``digest`` is a sha256 over the content of the sources, the rows chosen, their order and their format; ``verdicts``
    says for each source which format it has and why; ``described`` is one line for a log.
    """

    def __init__(
        self, chosen: Sequence[Chosen], order: NDArray[np.int64] | None, verdicts: Sequence[str], described: str
    ) -> None:
        self._chosen = tuple(chosen)
        self._ends = list(accumulate(len(part) for part in chosen))
        self._order = order
        self.verdicts = tuple(verdicts)
        self.described = described
        self.digest = _digest(chosen, order)

    def __len__(self) -> int:
        return self._ends[-1] if self._order is None else len(self._order)

    def __getitem__(self, i: int) -> Example:
        """Example ``i``; InputError names file and line if its row is not what the format needs."""
        part, number = self._find(i)
        return to_example(part.rows.row(number), part.format, where=part.rows.where(number))

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def where(self, i: int) -> str:
        """File and line of example ``i``."""
        part, number = self._find(i)
        return part.rows.where(number)

    def _find(self, i: int) -> tuple[Chosen, int]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"example {i} of {len(self)}")
        i = i % len(self)
        at = i if self._order is None else int(self._order[i])
        index = bisect_right(self._ends, at)
        part = self._chosen[index]
        return part, part.number(at - (self._ends[index] - len(part)))


def open_split(data: Data, part: Part, *, seed: int, notify: Notify, cache: Path) -> Examples | None:
    """The examples that ``data`` names for ``part``, or None where the recipe has no such split (``null``).

    A mixture is interleaved by its weights without repeating a row (see ``mixture.py``); its validation split is the
    union of those of its sources. Relative paths start at the working directory. ``cache`` keeps converted files by the
    sha256 of their content. Raises InputError: missing source or split, unreadable data, unknown columns, no rows.
    """
    wanted = wanted_of(data, part)
    if wanted is None:
        return None
    sources, opened = sources_of(data), []
    for source in sources:
        try:
            opened.append(_opened(source, data, wanted, notify, cache))
        except NoSplit:
            if len(sources) == 1 or part == "train":
                raise
            notify(f"{source.path} has no split `{wanted.split}`: it takes no part in the validation")
    if not opened:
        raise no_source_has(wanted, sources)
    order, taken = None, [len(one) for one in opened]
    if part == "train" and len(opened) > 1:
        order, taken = _mixed(opened, seed, notify)
    described = "; ".join(
        f"{one.name} [{wanted.split}]: {count:,} examples, {one.verdict.format}"
        for one, count in zip(opened, taken, strict=True)
    )
    chosen = [files for one in opened for files in one.chosen]
    return Examples(chosen, order, [f"{one.name}: {one.verdict}" for one in opened], described)


def verdict_on(data: Data, columns: Sequence[str], first: Mapping[str, Any], where: str) -> Verdict:
    """The format of a source: the recipe's, checked against the columns, or the one that its columns show."""
    if data.format == "auto":
        return detect(columns, first, where=where)
    return named(data.format, columns, where=where)


# --- one source ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opened:
    name: str
    weight: float
    chosen: tuple[Chosen, ...]
    verdict: Verdict

    def __len__(self) -> int:
        return sum(len(part) for part in self.chosen)


def _opened(source: Source, data: Data, wanted: Wanted, notify: Notify, cache: Path) -> _Opened:
    """The split of one source; NoSplit where it is fine but has none of that name."""
    located = locate(source.path)
    if located.kind == "files":
        found = _from_files(located, wanted, notify, cache)
    else:
        found = [(_from_datasets(located, source, wanted, notify), None)]
    found = [(rows, numbers) for rows, numbers in found if len(rows if numbers is None else numbers)]
    if not found:
        raise InputError(f"the split `{wanted.split}` holds no rows", where=source.path, fix="check the source")
    verdict = _common_verdict(found, data)
    chosen = tuple(Chosen(rows, numbers, verdict.format) for rows, numbers in found)
    return _Opened(located.name, source.weight, chosen, verdict)


def _from_datasets(located: Located, source: Source, wanted: Wanted, notify: Notify) -> Rows:
    from lft.data import hub  # imports `datasets`, which takes over a second

    if located.path is not None:
        splits = hub.saved_splits(located.path, located.name)
    else:
        splits = hub.hub_splits(source.path, source.revision, notify=notify)
    if wanted.split not in splits:
        raise no_split(located.name, wanted, sorted(splits))
    return splits[wanted.split]


def _from_files(located: Located, wanted: Wanted, notify: Notify, cache: Path) -> list[Numbered]:
    from lft.data.rowstore import open_rows

    paths, by_name = files_of(located, wanted)
    files = [open_rows(path, name=located.shown(path), cache=cache, notify=notify) for path in paths]
    if by_name:
        return [(rows, None) for rows in files]
    there = {name for rows in files for name in rows.split_names()}
    if wanted.split not in (there or {"train"}):
        raise no_split(located.name, wanted, sorted(there))
    undivided = next((rows for rows in files if not rows.split_names()), None)
    if there and undivided is not None:
        what = "this file has no `split` column, others of its folder have one"
        raise InputError(what, where=undivided.name, fix="name the split in all files or in none")
    return [(rows, rows.rows_of(wanted.split) if there else None) for rows in files]


def _common_verdict(found: list[Numbered], data: Data) -> Verdict:
    verdicts = []
    for rows, numbers in found:
        first = rows.row(0 if numbers is None else int(numbers[0]))
        verdicts.append(verdict_on(data, rows.columns, first, rows.name))
        if verdicts[-1].format != verdicts[0].format:
            what = f"this file is {verdicts[-1].format}, {found[0][0].name} is {verdicts[0].format}"
            raise InputError(what, where=rows.name, fix="give all files of a split the same columns")
    return verdicts[0]


# --- mixtures and digests ------------------------------------------------------------------------------------------


def _mixed(opened: Sequence[_Opened], seed: int, notify: Notify) -> tuple[NDArray[np.int64], list[int]]:
    lengths, weights = [len(one) for one in opened], [one.weight for one in opened]
    taken = mixture.counts(lengths, weights)
    for one, length, count in zip(opened, lengths, taken, strict=True):
        if count == 0:
            fix = "raise its weight, or give the scarcest source more rows"
            raise InputError(f"its weight of {one.weight:g} leaves it no row", where=one.name, fix=fix)
        if count < length:
            notify(f"{one.name}: {count:,} of {length:,} rows used, as its weight of {one.weight:g} asks")
    return mixture.interleave(lengths, weights, seed), list(taken)


def _digest(chosen: Sequence[Chosen], order: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256()
    for part in chosen:
        numbers = None if part.numbers is None else hashlib.sha256(part.numbers.astype("<i8").tobytes()).hexdigest()
        digest.update(json.dumps([part.rows.digest, len(part), part.format, numbers]).encode())
    if order is not None:
        digest.update(order.astype("<i8").tobytes())
    return digest.hexdigest()
