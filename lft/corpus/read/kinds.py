"""Each kind of source and its reader."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from typing import Final

from lft.corpus.read.found import Dropped, FileReader, Item, RowReader, SourceFile
from lft.corpus.read.gec import gec_row, read_m2
from lft.corpus.read.mail import read_email
from lft.corpus.read.mallard import read_mallard
from lft.corpus.read.plain import read_html, read_markdown, read_text
from lft.corpus.read.rows import Row, column_row, needed_columns, require_columns, rows
from lft.corpus.read.stackexchange import read_stackexchange
from lft.corpus.read.tasks import read_bigbench, read_natural_instructions
from lft.corpus.read.web import c4_row, scitldr_row
from lft.corpus.read.wikihow import wikihow_row, wikihow_rows
from lft.corpus.read.wikipedia import read_dump, wikipedia_row
from lft.corpus.schema import Source

Rows = Iterator[tuple[str, Row] | Dropped]

_FILES: Final[dict[str, FileReader]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "mallard": read_mallard,
    "stackexchange": read_stackexchange,
    "natural-instructions": read_natural_instructions,
    "bigbench": read_bigbench,
    "email": read_email,
    "wikipedia": read_dump,
}
_ROWS: Final[dict[str, RowReader]] = {
    "jsonl": column_row,
    "csv": column_row,
    "parquet": column_row,
    "c4": c4_row,
    "scitldr": scitldr_row,
    "wikipedia": wikipedia_row,
    "wikihow": wikihow_row,
    "bea-gec": gec_row,
}
_NEEDED: Final = {
    "c4": ("text",),
    "scitldr": ("source",),
    "wikipedia": ("text",),
    "wikihow": ("title",),
    "bea-gec": ("text", "edits"),
}
_BY_SUFFIX: Final[dict[tuple[str, str], FileReader]] = {("bea-gec", ".m2"): read_m2}
_ROW_FILES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst")


def items_of(file: SourceFile, source: Source) -> Iterator[Item]:
    """What is in a file. What cannot be read of it is one item that says so; what came before stays.

    Raises:
        InputError: its rows have not the columns that the build file names.
    """
    try:
        yield from _items(file, source)
    except UnicodeDecodeError as error:
        yield Dropped("the file is not UTF-8", text=str(error))
    except _unreadable() as error:
        yield Dropped("the file cannot be read", text=f"{type(error).__name__}: {error}")


def row_items(found: Rows, source: Source, where: str, lang: str) -> Iterator[Item]:
    """What is in rows of a language. Raises InputError where the first one lacks a column that is read."""
    checked = _checked(found, source, where)
    if source.kind == "wikihow":
        yield from wikihow_rows(checked, source, lang)
        return
    reader = _ROWS[source.kind]
    for one in checked:
        if isinstance(one, Dropped):
            yield one
        else:
            yield from reader(one[1], one[0], source, lang)


def has_rows(path: str, source: Source) -> bool:
    """Whether a file of a source is rows of columns."""
    return source.kind in _ROWS and _suffix(path) in _ROW_FILES


def _items(file: SourceFile, source: Source) -> Iterator[Item]:
    if has_rows(file.path, source) or source.kind in ("jsonl", "csv", "parquet"):
        return row_items(rows(file), source, file.path, file.lang)
    reader = _BY_SUFFIX.get((source.kind, _suffix(file.path))) or _FILES.get(source.kind)
    if reader is None:
        return iter([Dropped(f"a file that kind {source.kind} does not read, by its name")])
    return reader(file, source)


def _checked(found: Rows, source: Source, where: str) -> Rows:
    needed = _NEEDED.get(source.kind) or needed_columns(source)
    first = True
    for one in found:
        if first and not isinstance(one, Dropped):
            require_columns(list(one[1]), source, needed, where)
            first = False
        yield one


def _suffix(path: str) -> str:
    name = path.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    dot = name.rfind(".")
    return name[dot:] if dot > name.rfind("/") else ""


def _unreadable() -> tuple[type[Exception], ...]:
    """What Python and the libraries under the readers raise for files that are not what they seem."""
    from lxml import etree
    from pyarrow.lib import ArrowException

    return (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, etree.LxmlError, ArrowException)
