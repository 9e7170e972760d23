"""The row store: each data file is turned once into an Arrow file that is named by the sha256 of what it came from.

A row is kept as JSON text, not in typed columns: columns of mixed types stay as they are, and the first bad value is
reported with its row instead of a cast error. The store is memory-mapped, so its size does not matter.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lft.data.rowfiles import RawRow, columns_of, kind_of, read_rows
from lft.errors import InputError, MachineError
from lft.files import disk_errors, sha256

Notify = Callable[[str], None]

_VERSION = 1  # of the stored file; a change of reader or layout must raise it
_SCHEMA = pa.schema([("place", pa.string()), ("split", pa.string()), ("row", pa.large_string())])
_BATCH_ROWS, _BATCH_CHARS = 2000, 16 << 20
_WORTH_SAYING = 256 << 20  # bytes


@dataclass(frozen=True, slots=True)
class RowFile:
    """The rows of one file, memory-mapped; ``digest`` is the sha256 of that file."""

    name: str
    digest: str
    columns: tuple[str, ...]
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, i: int) -> dict[str, Any]:
        """Row ``i`` as it stands in the file."""
        return json.loads(self.table["row"][i].as_py())  # type: ignore[no-any-return]

    def where(self, i: int) -> str:
        """File and line (or row) of row ``i``, for messages."""
        return f"{self.name}{self.table['place'][i].as_py()}"

    def split_names(self) -> tuple[str, ...]:
        """Values of the `split` column, none where there is no such column; InputError if some rows have no split."""
        split = self.table["split"]
        if split.null_count == len(self):
            return ()
        if split.null_count:
            at = int(pc.index(pc.is_null(split), True).as_py())
            raise InputError(
                "`split` is missing here", where=self.where(at), fix="name the split in each row or in none"
            )
        return tuple(sorted(pc.unique(split).to_pylist()))

    def rows_of(self, split: str) -> NDArray[np.int64]:
        """Numbers of the rows whose `split` column says ``split``."""
        return np.flatnonzero(pc.equal(self.table["split"], split).to_numpy()).astype(np.int64)


def open_rows(path: Path, *, name: str, cache: Path, notify: Notify) -> RowFile:
    """The rows of ``path``, converted into ``cache`` unless a file of the same content was before.

    Raises InputError for bad data and MachineError where the cache cannot be written.
    """
    before = _stat(path, name)
    digest = _digest(path, name)
    stored = cache / "rows" / f"{digest}-{kind_of(path)}-v{_VERSION}.arrow"
    found = _opened(stored)
    if found is None:
        if before.st_size > _WORTH_SAYING:
            notify(f"{name}: reading {before.st_size / 1e9:.1f} GB once; the next run takes it from the cache")
        try:
            _convert(path, stored, name)
        except OSError as error:
            what = f"the row cache cannot be written: {error.strerror}"
            raise MachineError(what, where=str(stored.parent), fix="choose another cache folder") from None
        after = _stat(path, name)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            stored.unlink(missing_ok=True)
            raise InputError("the file changed while it was read", where=name, fix="start again when it is complete")
        found = _opened(stored)
    if found is None:
        raise MachineError(f"the row store {stored} cannot be read back", fix="remove it; check the disk")
    columns = tuple(json.loads(found.schema.metadata[b"columns"]))
    return RowFile(name=name, digest=digest, columns=columns, table=found)


def _stat(path: Path, name: str) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}", where=name, fix="check the file") from None


def _digest(path: Path, name: str) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}", where=name, fix="check the file") from None


def _opened(stored: Path) -> pa.Table | None:
    """The store's table, or None where there is no whole one (it is then converted again)."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(stored))).read_all()
    except (OSError, pa.ArrowInvalid):
        return None


def _convert(path: Path, stored: Path, name: str) -> None:
    rows = read_rows(path, name)
    first = next(rows)  # a file without rows is an error of the reader
    columns = json.dumps(columns_of(path, first)).encode()
    schema = _SCHEMA.with_metadata({b"columns": columns})
    with disk_errors(stored.parent):  # the reader turns its own into InputError: what is left is the cache's
        stored.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=stored.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as sink:
                with pa.ipc.new_file(sink, schema) as writer:
                    for batch in _batches(chain([first], rows)):
                        writer.write_batch(batch)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(temporary, stored)
        except BaseException:
            os.unlink(temporary)
            raise


def _batches(rows: Iterator[RawRow]) -> Iterator[pa.RecordBatch]:
    held: list[RawRow] = []
    chars = 0
    for row in rows:
        held.append(row)
        chars += len(row.text)
        if len(held) >= _BATCH_ROWS or chars >= _BATCH_CHARS:
            yield _batch(held)
            held, chars = [], 0
    if held:
        yield _batch(held)


def _batch(rows: list[RawRow]) -> pa.RecordBatch:
    splits = (row.values.get("split") for row in rows)
    return pa.record_batch(
        [
            pa.array([row.place for row in rows], pa.string()),
            pa.array([split if isinstance(split, str) else None for split in splits], pa.string()),
            pa.array([row.text for row in rows], pa.large_string()),
        ],
        schema=_SCHEMA,
    )
