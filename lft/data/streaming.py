"""Sources as streams: rows are read as they come, nothing is prepared or kept, and each pass gives the same order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    sources_of,
    wanted_of,
)
from lft.data.rowfiles import columns_of, read_rows
from lft.data.sources import Notify, verdict_on
from lft.errors import InputError
from lft.recipe.schema import Data, Source

Placed = tuple[str, Mapping[str, Any]]  # where a row stands, and the row


@dataclass(frozen=True, slots=True)
class _Feed:
    """One source that can be opened again and again."""

    name: str
    weight: float
    identity: str
    verdict: Verdict
    rows: Callable[[], Iterator[Placed]]

    def __iter__(self) -> Iterator[Example]:
        for where, row in self.rows():
            yield to_example(row, self.verdict.format, where=where)


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


def _feed(source: Source, data: Data, wanted: Wanted, notify: Notify) -> _Feed:
    located = locate(source.path)
    opened = (
        _open_files(located, wanted) if located.kind == "files" else _open_datasets(located, source, wanted, notify)
    )
    first = next(opened.rows(), None)
    if first is None:
        raise InputError(f"the split `{wanted.split}` holds no rows", where=source.path, fix="check the source")
    verdict = verdict_on(data, opened.columns or tuple(first[1]), first[1], source.path)
    return _Feed(source.path, source.weight, opened.identity, verdict, opened.rows)


@dataclass(frozen=True, slots=True)
class _Opener:
    """Rows that can be read again and again; ``columns`` is empty where only the first row tells them."""

    rows: Callable[[], Iterator[Placed]]
    columns: tuple[str, ...]
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
        return _Opener(lambda: ((split.where(i), split.row(i)) for i in range(len(split))), split.columns, split.digest)
    name = located.name
    return _Opener(lambda: ((f"{name} row {n}", row) for n, row in enumerate(split(), 1)), (), f"{name}@{commit}")


def _open_files(located: Located, wanted: Wanted) -> _Opener:
    paths, by_name = files_of(located, wanted)
    first = next(read_rows(paths[0], located.shown(paths[0])), None)
    columns = () if first is None else columns_of(paths[0], first)
    identity = json.dumps([[path.name, path.stat().st_size] for path in paths])
    return _Opener(lambda: _rows_of_files(located, paths, wanted, by_name), columns, identity)


def _rows_of_files(located: Located, paths: Sequence[Path], wanted: Wanted, by_name: bool) -> Iterator[Placed]:
    """Rows of the files in turn; unless the file names say the split, those whose `split` column does."""
    there: set[str] = set()
    divided: bool | None = None  # whether there is a `split` column: the first row decides
    for path in paths:
        name = located.shown(path)
        for raw in read_rows(path, name):
            where, split = name + raw.place, raw.values.get("split")
            if not by_name:
                divided = _still(divided, isinstance(split, str), where)
                there |= {str(split)} if divided else set()
            if by_name or (split if divided else "train") == wanted.split:
                yield where, raw.values
            elif not divided:
                raise no_split(located.name, wanted, ())
    if divided and wanted.split not in there:
        raise no_split(located.name, wanted, sorted(there))


def _still(divided: bool | None, now: bool, where: str) -> bool:
    if divided is not None and divided != now:
        what = f"`split` is {'set' if now else 'missing'} here, not so in the rows above"
        raise InputError(what, where=where, fix="name the split in each row or in none")
    return now
