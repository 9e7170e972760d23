"""Rows of a suite's data: from files that ship with lft, files and folders of this machine, or the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from lft.data.locate import Located, NoSplit, Wanted, files_of, locate
from lft.data.rowfiles import read_rows
from lft.errors import InputError
from lft.evaluate.suite_schema import Part
from lft.files import sha256
from lft.recipe.problems import listed

SUITES: Final = Path(__file__).parent / "suites"
SHIPPED: Final = "suite://"


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One row: its place for messages, and its values."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Opened:
    """Rows of a part, lazily, and the place that they come from with its sha256 or commit."""

    rows: Iterator[SuiteRow]
    place: str


def located(part: Part) -> Located:
    """Where the rows of a part are.

    Raises:
        InputError: nothing can be meant by its path.
    """
    if not part.path.startswith(SHIPPED):
        return locate(part.path)
    path = SUITES / part.path.removeprefix(SHIPPED)
    if not path.is_file():
        there = listed(f"{SHIPPED}{one.name}" for one in sorted(SUITES.glob("*.jsonl")))
        raise InputError("no such file ships with lft", where=part.path, fix=f"there are {there}")
    return Located("files", part.path, path)


def rows_here(part: Part, place: Located) -> Opened:
    """Rows of files and folders of this machine.

    Raises:
        InputError: there is no such split, or (while they are read) a row cannot be read.
    """
    if place.kind == "saved" and place.path is not None:
        return _saved(part, place.path, place.name)
    try:
        paths, by_name = files_of(place, Wanted(part.split, "validation", (part.split,)))
    except NoSplit as error:
        raise _no_split(error) from None
    digest = hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()
    rows = chain.from_iterable(_file_rows(path, place, None if by_name else part.split) for path in paths)
    return Opened(islice(rows, part.scan), f"{part.path} sha256:{digest[:16]}")


def _file_rows(path: Path, place: Located, split: str | None) -> Iterator[SuiteRow]:
    """Rows of a file; those that say their split only if it is the one that is asked for."""
    name = place.shown(path)
    for row in read_rows(path, name, columns=None):
        if split is None or row.values.get("split") in (None, split):
            yield SuiteRow(f"{name}{row.place}", row.values)


def _saved(part: Part, path: Path, name: str) -> Opened:
    from lft.data.hub import saved_splits

    splits = saved_splits(path, name, every_column=True)
    if part.split not in splits:
        raise _not_there(part, name, splits)
    rows = splits[part.split]
    found = (SuiteRow(rows.where(i), rows.row(i)) for i in range(min(len(rows), part.scan or len(rows))))
    return Opened(found, f"{part.path} sha256:{rows.digest[:16]}")


def rows_of_hub(part: Part, notify: Any) -> Opened:
    """Rows of a hub data set, streamed: a suite looks at far fewer than there are.

    Raises:
        InputError: it cannot be reached, is gated, or has no such split.
    """
    from lft.data.hub import hub_streams

    splits, commit = hub_streams(part.path, part.revision, notify=notify, config=part.config)
    if part.split not in splits:
        raise _not_there(part, part.path, splits)
    rows = islice(splits[part.split](), part.scan)
    found = (SuiteRow(f"{part.path} row {number}", values) for number, values in enumerate(rows, 1))
    return Opened(found, f"{part.path}@{commit}")


def _not_there(part: Part, name: str, there: Iterable[str]) -> InputError:
    return InputError(
        f"no split `{part.split}`; there is {listed(sorted(there))}", where=name, fix="set split: to one of them"
    )


def _no_split(error: NoSplit) -> InputError:
    """The error without what it says about recipes."""
    return InputError(error.what, where=error.where, fix="set split: of this part of the suite to one that is there")
