"""Files of rows (JSON lines, JSON lists, CSV, Parquet): each row with its place, broken ones with the reason."""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text
from lft.corpus.schema import Source
from lft.errors import InputError
from lft.recipe.problems import listed, nearest, shown

_PACKED: Final = re.compile(r"\.(gz|bz2|xz|zst)$")
_BY_DEFAULT: Final = ("text", "title", "url", "id")  # columns that are read by their own names if none is given
_LANG: Final = re.compile(r"^([a-z]{2,3})([-_].*)?$")
_CSV_FIELD: Final = 1 << 30  # characters; Python's own limit of 131,072 is less than some articles
_CSV_ROW: Final = 1 << 22  # characters of a row's lines but the last: a quote without an end would take the whole file
Row = dict[str, Any]


def rows(file: SourceFile) -> Iterator[tuple[str, Row] | Dropped]:
    """The rows of a file with their places (`#17`, counted from 1), lazily; a JSON list is read whole."""
    name = _PACKED.sub("", file.path).lower()
    if name.endswith((".csv", ".tsv")):
        return _csv_rows(file, "\t" if name.endswith(".tsv") else ",")
    if name.endswith(".parquet"):
        return _parquet_rows(file)
    return _json_list(file) if name.endswith(".json") and _is_list(file) else _json_lines(file)


def column_row(row: Row, place: str, source: Source, _lang: str) -> Iterator[Item]:
    """A row whose columns the build file names."""
    columns = {name: name for name in _BY_DEFAULT} | source.columns
    value = {name: row.get(column) for name, column in columns.items()}
    text = as_text(value.get("text"))
    if not text.strip():
        yield Dropped("no text", place, str(row))
        return
    lang = _LANG.match(as_text(value.get("lang")).strip().lower())
    if "lang" in source.columns and (lang is None or lang[1] not in source.langs):
        yield Dropped("its row says a language that is not among langs", place, as_text(value.get("lang")))
        return
    licence = as_text(value.get("licence")).strip()
    if not (licence or source.licence):
        yield Dropped("its row says no licence", place, text)
        return
    yield Found(
        text=text,
        place=f"#{as_text(value['id'])}" if as_text(value["id"]) else place,
        url=as_text(value["url"]),
        title=as_text(value["title"]),
        question=as_text(value.get("question")),
        subset=as_text(value.get("subset")),
        style="human" if as_text(value.get("question")).strip() else None,
        score=_number(value.get("score")),
        lang=lang[1] if lang else "",
        licence=licence,
    )


def require_columns(there: Sequence[str], source: Source, needed: Sequence[str], where: str) -> None:
    """Raise InputError unless a row has the columns that will be read, naming the nearest that it has."""
    for column in needed:
        if column not in there:
            near = nearest(column, there)
            what = f"sources: {source.name}: no column {shown(column)}"
            hint = f"; nearest: {shown(near)}" if near else f"; there are {listed(there)}"
            raise InputError(what + hint, where=where, fix="name the columns under columns:, as {text: body}")


def needed_columns(source: Source) -> tuple[str, ...]:
    """The columns without which a row of a ``columns`` source cannot be read."""
    return tuple(({"text": "text"} | source.columns).values())


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None


def _json_lines(file: SourceFile) -> Iterator[tuple[str, Row] | Dropped]:
    with file.binary() as stream:
        for number, line in enumerate(stream, 1):
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                yield _json_row(line, f"#{number}")


def _json_row(line: bytes, place: str) -> tuple[str, Row] | Dropped:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Dropped("a line is not UTF-8", place, line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Dropped("a line is no JSON", place, line.decode("utf-8", "replace"))
    return (place, row) if isinstance(row, dict) else Dropped("a line is no JSON object", place, str(row))


def _is_list(file: SourceFile) -> bool:
    with file.binary() as stream:
        return stream.read(64).lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"[")


def _json_list(file: SourceFile) -> Iterator[tuple[str, Row] | Dropped]:
    for number, row in enumerate(json.loads(file.text()), 1):
        place = f"#{number}"
        yield (place, row) if isinstance(row, dict) else Dropped("a row is no JSON object", place, str(row))


class _Lines:
    """Lines of a file of which those of a torn row can be gone over again, from the second one on."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._again = iter(lines), deque[str]()
        self.row: list[str] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size > _CSV_ROW:
            raise csv.Error("a row has no end")
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        self._size += len(line)
        return line

    def begin(self) -> None:
        """A new row."""
        self.row, self._size = [], 0

    def back(self) -> str:
        """The first line of a row; the others come again."""
        self._again.extendleft(reversed(self.row[1:]))
        return self.row[0]


def _csv_rows(file: SourceFile, delimiter: str) -> Iterator[tuple[str, Row] | Dropped]:
    """Rows as long as their first one; where a quote has no end, only the line in which it stands is lost."""
    csv.field_size_limit(_CSV_FIELD)
    with file.lines() as stream:
        lines = _Lines(stream)
        names: list[str] | None = None
        number = 0
        for row in _csv_fields(lines, delimiter):
            if names is None and not isinstance(row, str):
                names = row
                continue
            number += 1
            place = f"#{number}"
            if isinstance(row, str):
                yield Dropped("a line has a quote that does not end where its field does", place, row)
            elif names is None or len(row) != len(names):
                yield Dropped("a row has another number of fields than the first line", place, str(row))
            else:
                yield place, dict(zip(names, row, strict=True))


def _csv_fields(lines: _Lines, delimiter: str) -> Iterator[list[str] | str]:
    """The fields of each row that is not empty, or a line that is the first of no whole row."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            row = next(reader, None)
        except csv.Error:
            yield lines.back()
            continue
        if row is None:
            return
        if row:
            yield row


def _parquet_rows(file: SourceFile) -> Iterator[tuple[str, Row] | Dropped]:
    import pyarrow.parquet as pq

    with file.folder.open(file.path, "rb") as stream, pq.ParquetFile(stream) as table:
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield f"#{number}", row
