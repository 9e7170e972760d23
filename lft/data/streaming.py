"""Sources as streams: rows are read as they come, nothing is prepared or kept, and each pass gives the same order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft.data import mixture
from lft.data.example import Example
from lft.data.formats import Verdict, to_example
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
from lft.data.rowfiles import columns_of, read_rows
from lft.data.sources import Notify, verdict_on
from lft.errors import InputError
from lft.recipe.rules import sources_of
from lft.recipe.schema import Data, Source

if TYPE_CHECKING:
    from lft.data.hub import HubRows


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, where it stands and in which file; the first of each file brings that file's columns."""

    where: str
    values: Mapping[str, Any]
    file: str
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Feed:
    """One source that can be opened again and again; ``judge`` tells the format of a file by its first row."""

    name: str
    weight: float
    identity: str
    verdict: Verdict
    rows: Callable[[], Iterator[_Row]]
    judge: Callable[[_Row], Verdict]

    def __iter__(self) -> Iterator[Example]:
        first = None
        for row in self.rows():
            if row.columns is not None:
                first = first or row.file
                self._require_same_format(row, first)
            yield to_example(row.values, self.verdict.format, where=row.where)

    def _require_same_format(self, row: _Row, first: str) -> None:
        found = self.judge(row).format
        if found != self.verdict.format:  # columns of the same name may mean another thing in another format
            what = f"this file is {found}, {first} is {self.verdict.format}"
            raise InputError(what, where=row.file, fix="give all files of a split the same columns")


class Stream:
    """The examples of one split, from the start at each ``iter``; the order is the same each time.

    A mixture draws the next source at random by the weights (from the seed); a source that has ended is dropped and the
    others go on with their weights until all have ended, so each row comes exactly once. Without weights (validation)
    one source follows the other. ``digest`` covers names, sizes and hub commits but not the content: that would mean
    reading it all first.
    """

    def __init__(self, feeds: Sequence[_Feed], seed: int, weighted: bool, wanted: str) -> None:
        self._feeds = tuple(feeds)
        self._seed = seed
        self._weighted = weighted
        self.verdicts = tuple(f"{feed.name}: {feed.verdict}" for feed in feeds)
        self.described = "; ".join(f"{feed.name} [{wanted}]: streamed, {feed.verdict.format}" for feed in feeds)
        parts = [[feed.identity, feed.weight, feed.verdict.format] for feed in feeds]
        self.digest = hashlib.sha256(json.dumps([parts, wanted, seed if weighted else None]).encode()).hexdigest()

    def __iter__(self) -> Iterator[Example]:
        if not self._weighted:
            for feed in self._feeds:
                yield from feed
            return
        live = {i: iter(feed) for i, feed in enumerate(self._feeds)}
        for draw in mixture.draws([feed.weight for feed in self._feeds], self._seed):
            while live:
                i = min(live, key=draw.__getitem__)
                example = next(live[i], None)
                if example is not None:
                    yield example
                    break
                del live[i]
            if not live:
                return


def stream_split(data: Data, part: Part, *, seed: int, notify: Notify) -> Stream | None:
    """A stream of the examples that ``data`` names for ``part``, or None where the recipe has no such split.

    Only the first rows of each source are read here, to know its format. Raises InputError as ``open_split`` does; a
    bad row is found when the stream reaches it.
    """
    wanted = wanted_of(data, part)
    if wanted is None:
        return None
    sources, feeds = sources_of(data), []
    for source in sources:
        try:
            feeds.append(_feed(source, data, wanted, notify))
        except NoSplit:
            if len(sources) == 1 or part == "train":
                raise
            notify(f"{source.path} has no split `{wanted.split}`: it takes no part in the validation")
    if not feeds:
        raise no_source_has(wanted, sources)
    return Stream(feeds, seed, weighted=part == "train" and len(feeds) > 1, wanted=wanted.split)


class Held:
    """A stream read to its end and kept in memory; ``digest`` is a sha256 over its examples."""

    def __init__(self, stream: Stream) -> None:
        self._examples = tuple(stream)
        self.verdicts = stream.verdicts
        digest = hashlib.sha256()
        for example in self._examples:
            digest.update(json.dumps(astuple(example)).encode())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._examples)


def held_split(data: Data, part: Part, *, notify: Notify) -> Held | None:
    """The whole of a split that is small beside the training split, without preparing that one; the sources in turn.

    Raises as ``stream_split`` does, and for a bad row.
    """
    stream = stream_split(data, part, seed=0, notify=notify)
    return None if stream is None else Held(stream)


def _feed(source: Source, data: Data, wanted: Wanted, notify: Notify) -> _Feed:
    located = locate(source.path)
    opened = (
        _open_files(located, wanted) if located.kind == "files" else _open_datasets(located, source, wanted, notify)
    )
    first = next(opened.rows(), None)
    if first is None:
        raise InputError(f"the split `{wanted.split}` holds no rows", where=source.path, fix="check the source")

    def judge(row: _Row) -> Verdict:
        return verdict_on(data, row.columns or (), row.values, row.file)

    return _Feed(source.path, source.weight, opened.identity, judge(first), opened.rows, judge)


@dataclass(frozen=True, slots=True)
class _Opener:
    """Rows that can be read again and again."""

    rows: Callable[[], Iterator[_Row]]
    identity: str


def _open_datasets(located: Located, source: Source, wanted: Wanted, notify: Notify) -> _Opener:
    from lft.data import hub  # imports `datasets`, which takes over a second

    if located.path is not None:
        splits: Mapping[str, Any] = hub.saved_splits(located.path, located.name)
        commit = ""
    else:
        splits, commit = hub.hub_streams(source.path, source.revision, notify=notify)
    if wanted.split not in splits:
        raise no_split(located.name, wanted, sorted(splits))
    split = splits[wanted.split]
    if isinstance(split, hub.HubRows):
        return _Opener(lambda: _rows_of_saved(split), split.digest)
    return _Opener(lambda: _rows_of_hub(located.name, split()), f"{located.name}@{commit}")


def _rows_of_saved(split: HubRows) -> Iterator[_Row]:
    for i in range(len(split)):
        yield _Row(split.where(i), split.row(i), split.name, None if i else split.columns)


def _rows_of_hub(name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[_Row]:
    for number, values in enumerate(rows, 1):
        yield _Row(f"{name} row {number}", values, name, tuple(values) if number == 1 else None)


def _open_files(located: Located, wanted: Wanted) -> _Opener:
    paths, by_name = files_of(located, wanted)
    identity = json.dumps([[path.name, path.stat().st_size] for path in paths])
    return _Opener(lambda: _rows_of_files(located, paths, wanted, by_name), identity)


def _rows_of_files(located: Located, paths: Sequence[Path], wanted: Wanted, by_name: bool) -> Iterator[_Row]:
    """Rows of the files in turn; unless the file names say the split, those whose `split` column does."""
    there: set[str] = set()
    divided: bool | None = None  # whether there is a `split` column: the first row decides
    for path in paths:
        name = located.shown(path)
        rows = read_rows(path, name)
        first = next(rows)  # a file without rows is an error of the reader
        columns: tuple[str, ...] | None = columns_of(path, first)
        for raw in chain([first], rows):
            where, split = name + raw.place, raw.values.get("split")
            if not by_name:
                divided = _still(divided, isinstance(split, str), where)
                there |= {str(split)} if divided else set()
            if by_name or (split if divided else "train") == wanted.split:
                yield _Row(where, raw.values, name, columns)
                columns = None
            elif not divided:
                raise no_split(located.name, wanted, ())
    if divided and wanted.split not in there:
        raise no_split(located.name, wanted, sorted(there))


def _still(divided: bool | None, now: bool, where: str) -> bool:
    if divided is not None and divided != now:
        what = f"`split` is {'set' if now else 'missing'} here, not so in the rows above"
        raise InputError(what, where=where, fix="name the split in each row or in none")
    return now
