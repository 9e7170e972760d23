"""Files of rows (JSON lines, JSON lists, CSV, Parquet): each row with its place, broken ones with the reason."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text
from lft.corpus.schema import Source
from lft.errors import InputError
from lft.recipe.problems import listed, nearest, shown

_PACKED: Final = re.compile(r"\.(gz|bz2|xz|zst)$")
_BY_DEFAULT: Final = ("text", "title", "url", "id")  # columns that are read by their own names if none is given
_LANG: Final = re.compile(r"^([a-z]{2,3})([-_].*)?$")
_CSV_FIELD: Final = 1 << 30  # characters; Python's own limit of 131,072 is less than some articles
_MORE: Final = "\x00more"
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


def _csv_rows(file: SourceFile, delimiter: str) -> Iterator[tuple[str, Row] | Dropped]:
    csv.field_size_limit(_CSV_FIELD)
    with file.lines() as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, restkey=_MORE, strict=True)
        for number, row in enumerate(reader, 1):
            place = f"#{number}"
            if _MORE in row or None in row.values():
                yield Dropped("a row has another number of fields than the first line", place, str(row))
            else:
                yield place, dict(row)


def _parquet_rows(file: SourceFile) -> Iterator[tuple[str, Row] | Dropped]:
    import pyarrow.parquet as pq

    with file.folder.open(file.path, "rb") as stream, pq.ParquetFile(stream) as table:
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield f"#{number}", row
