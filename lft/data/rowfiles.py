"""Files to rows: JSON, JSON lines and Parquet, read strictly, with the place of each row for error messages.

The readers are our own because an error has to name the file and the line, because a column may hold text in one row
and a list in the next, and because `datasets` may serve an older file of the same name from its cache.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from lft.data.formats import KNOWN_COLUMNS
from lft.errors import InputError

Kind = Literal["json", "jsonl", "parquet"]
_SUFFIX = re.compile(r"\.(json|jsonl|ndjson|parquet)(\.gz)?$", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r]*")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row: its place in the file (``:17`` or `` row 17``), its values, and the JSON text that they came from."""

    place: str
    values: Mapping[str, Any]
    text: str


class _Twice(ValueError):
    """A key that stands twice in one object."""


def kind_of(path: Path) -> Kind | None:
    """What ``path`` is by its name, None if it is nothing that can be read here."""
    found = _SUFFIX.search(path.name)
    if found is None or (found[1].lower() == "parquet" and found[2]):
        return None
    return {"json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}[found[1].lower()]  # type: ignore[return-value]


def read_rows(path: Path, name: str, columns: Collection[str] | None = KNOWN_COLUMNS) -> Iterator[RawRow]:
    """The rows of a .json, .jsonl or .parquet file, lazily where the file allows it (a JSON list is read whole).

    ``name`` is what errors call the file; of Parquet only ``columns`` are read, all of them if None. Raises InputError
    at the first place that is not clean data.
    """
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            "this kind of file is not read", where=name, fix="give .json, .jsonl (or either .gz) or .parquet"
        )
    empty = True
    try:
        for raw in _reader(path, kind, name, columns):
            empty = False
            yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"the gzip file is damaged or cut off ({error})", where=name, fix="fetch it again") from None
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror or error}", where=name, fix="check the file") from None
    if empty:
        raise InputError("it holds no rows", where=name, fix="check the file; each row is one JSON object")


def _reader(path: Path, kind: Kind, name: str, columns: Collection[str] | None) -> Iterator[RawRow]:
    if kind == "parquet":
        return _parquet_rows(path, name, columns)
    return _document_rows(path, name) if _is_document(path, kind, name) else _line_rows(path, name)


def columns_of(path: Path, first: RawRow) -> tuple[str, ...]:
    """Names of the columns: Parquet's schema, or the keys of the first row."""
    if kind_of(path) == "parquet":
        import pyarrow.parquet as pq

        return tuple(pq.read_schema(path).names)
    return tuple(first.values)


# --- JSON lines ----------------------------------------------------------------------------------------------------


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _line_rows(path: Path, name: str) -> Iterator[RawRow]:
    decoder = _decoder()
    with _open(path) as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(_BOM) if number == 1 else raw
            text = _utf8(line, f"{name}:{number}").strip(" \t\r\n")
            if text:
                where = f"{name}:{number}"
                yield RawRow(f":{number}", _object(_decoded(decoder, text, where), where), text)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        raise _Twice(next(k for k, _ in pairs if k in seen or seen.add(k)))  # type: ignore[func-returns-value]
    return values


def _decoded(decoder: json.JSONDecoder, text: str, where: str) -> Any:
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise _broken(error, text, where) from None


def _broken(error: ValueError | RecursionError, text: str, where: str) -> InputError:
    if isinstance(error, _Twice):
        return InputError(f"the key `{error}` stands twice in one object", where=where, fix="keep one of them")
    if isinstance(error, RecursionError):
        return InputError("the JSON is nested too deeply", where=where, fix="check the file")
    if "\0" in text:
        return InputError("it holds NUL bytes", where=where, fix="the file was cut off in a crash; write it again")
    if isinstance(error, json.JSONDecodeError):
        what = f"broken JSON: {error.msg} at column {error.colno}"
        return InputError(what, where=where, fix="repair the line; each line is one JSON object")
    return InputError(f"broken JSON: {error}", where=where, fix="repair the file")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else type(value).__name__
        raise InputError(f"a row must be an object, this is {kind}", where=where, fix='write {"input": …, "output": …}')
    return value


def _utf8(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError("the file is UTF-16", where=where, fix="save it as UTF-8") from None
        byte, at = raw[error.start], error.start
        what = f"not UTF-8: byte 0x{byte:02x} at byte {at + 1} of the line"
        raise InputError(
            what, where=where, fix="save it as UTF-8 (iconv -f LATIN1 -t UTF-8, if it is Latin-1)"
        ) from None


# --- one JSON document ---------------------------------------------------------------------------------------------


def _is_document(path: Path, kind: Kind, name: str) -> bool:
    """Whether the file is one JSON value; files of JSON lines named .json, and lists named .jsonl, are common."""
    with _open(path) as file:
        first = next((line for raw in file if (line := raw.removeprefix(_BOM).strip())), b"")
    if not first or first.startswith(b"["):
        return first.startswith(b"[")
    if kind == "jsonl":
        return False
    try:
        value = json.loads(_utf8(first, name))
    except (ValueError, RecursionError):
        return True
    return isinstance(value, dict) and isinstance(value.get("data"), list)


def _document_rows(path: Path, name: str) -> Iterator[RawRow]:
    with _open(path) as file:
        raw = file.read().removeprefix(_BOM)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        start = raw.rfind(b"\n", 0, error.start) + 1
        line = raw.count(b"\n", 0, start) + 1
        text = _utf8(raw[start:], f"{name}:{line}")
    del raw
    if text.lstrip(" \t\r\n").startswith("["):
        yield from _list_rows(text, name)
        return
    try:
        value = _decoder().decode(text)
    except (ValueError, RecursionError) as error:
        raise _broken(error, text, _at(error, name, name)) from None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list):
        what = "it is one JSON object, not a list of rows"
        raise InputError(what, where=name, fix='make it a list of objects, {"data": [...]}, or one object a line')
    for number, item in enumerate(data, 1):
        yield RawRow(f" row {number}", _object(item, f"{name} row {number}"), json.dumps(item))


def _list_rows(text: str, name: str) -> Iterator[RawRow]:
    """The objects of a JSON list one by one: the text is held once, never all of its objects."""
    decoder = _decoder()
    at, line, counted = _after_space(text, text.index("[") + 1), 1, 0
    closed = text[at : at + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, at), at
        where = f"{name}:{line}"
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _broken(error, text, _at(error, name, where)) from None
        yield RawRow(f":{line}", _object(value, where), text[at:end])
        at = _after_space(text, end)
        closed = text[at : at + 1] == "]"
        if not closed and text[at : at + 1] != ",":
            what = "broken JSON: after this row a comma or the end of the list is missing"
            raise InputError(what, where=where, fix="repair the file; it may have been cut off")
        at = at if closed else _after_space(text, at + 1)
    if _after_space(text, at + 1) != len(text):
        line += text.count("\n", counted, at)
        what = "broken JSON: more text after the end of the list"
        raise InputError(what, where=f"{name}:{line}", fix="make it one list")


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _at(error: Exception, name: str, otherwise: str) -> str:
    return f"{name}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else otherwise


# --- Parquet -------------------------------------------------------------------------------------------------------


def _parquet_rows(path: Path, name: str, columns: Collection[str] | None) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = next((c for c in names if names.count(c) > 1), None)
            if twice is not None:
                raise InputError(f"the column `{twice}` stands twice", where=name, fix="rename one of them")
            # Columns that no format reads (images, vectors) stay on disk.
            wanted = [c for c in names if columns is None or c in columns]
            number = 0
            for batch in file.iter_batches(batch_size=1000, columns=wanted):
                for number, values in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    yield RawRow(f" row {number}", values, json.dumps(values, default=str))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        what = f"not a whole Parquet file: {str(error).splitlines()[0]}"
        raise InputError(what, where=name, fix="fetch or write it again") from None
