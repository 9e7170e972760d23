"""Files of pairs, one JSON object a line: read as often as they are gone through, never held."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

from lft.corpus.document import Pair
from lft.corpus.step import read_records
from lft.errors import InputError
from lft.files import new_file


class Pairs:
    """The pairs of a file, in its order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Pair]:
        return map(Pair.of, read_records(self._path))


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """A file of pairs in the order in which they come; how many they were."""
    count = 0
    with new_file(path) as draft, draft.open("wb") as stream:
        for pair in pairs:
            stream.write(_line(pair))
            count += 1
    return count


def write_sorted(path: Path, pairs: Iterable[Pair]) -> None:
    """A file of pairs sorted by id. Memory holds ids and places, not texts.

    Raises:
        InputError: two pairs have the same id.
    """
    places: list[tuple[str, int, int]] = []
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        for pair in pairs:
            line = _line(pair)
            places.append((pair.id, spool.tell(), len(line)))
            spool.write(line)
        places.sort()
        _require_distinct(places)
        with new_file(path) as draft, draft.open("wb") as stream:
            _copy(spool, stream, places)


def _line(pair: Pair) -> bytes:
    record = pair.record()
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and UTF-8 cannot
        return json.dumps(record).encode() + b"\n"


def _copy(spool: IO[bytes], stream: IO[bytes], places: list[tuple[str, int, int]]) -> None:
    for _, start, length in places:
        spool.seek(start)
        stream.write(spool.read(length))


def _require_distinct(places: list[tuple[str, int, int]]) -> None:
    for one, other in pairwise(places):
        if one[0] == other[0]:
            raise InputError(
                "two documents have the same id", where=one[0], fix="give the source's documents other ids"
            )
