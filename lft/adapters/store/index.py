"""A SQLite index of all versions, so that ten thousand are listed at once. It is never the truth.

Nobody writes it but its readers: before it is asked, the folders of manifests and refs are compared by their times
with those that it was made from, and what changed is read again. A folder's time changes with every name in it, so
versions, removals, tags and aliases are seen whoever made them (another process, a killed one, rsync). Where the index
is missing, damaged or may not be written it is made anew, in memory if need be.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from lft.adapters.store.layout import Store

SCHEMA: Final = 2
# The file is locked for long, may not be written, or the disk is full; any other error says that it is damaged.
_OUT_OF_REACH: Final = tuple(
    f"SQLITE_{what}" for what in ("BUSY", "LOCKED", "READONLY", "PERM", "CANTOPEN", "FULL", "IOERR")
)
_RACY_NS: Final = 2_000_000_000  # a folder changed within the clock's resolution keeps its time
_TABLES: Final = f"""
PRAGMA user_version = {SCHEMA};
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY, time INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
  name TEXT, version TEXT, major INTEGER, minor INTEGER, patch INTEGER, newest INTEGER, digest TEXT, weights TEXT,
  identity TEXT, kind TEXT, method TEXT, r INTEGER, base TEXT, size INTEGER, tags TEXT, aliases TEXT, problem TEXT,
  PRIMARY KEY (name, major, minor, patch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (name TEXT, version TEXT, key TEXT, value TEXT);
CREATE INDEX IF NOT EXISTS tags_by_value ON tags (key, value);
CREATE INDEX IF NOT EXISTS tags_by_name ON tags (name);
CREATE INDEX IF NOT EXISTS by_digest ON versions (digest);
CREATE INDEX IF NOT EXISTS by_weights ON versions (weights);
CREATE INDEX IF NOT EXISTS by_identity ON versions (identity);
"""


class Row(NamedTuple):
    """A version as the index knows it; ``problem`` says why its manifest cannot be read.

    A tuple: ten thousand of them are made four times as fast as frozen dataclasses.
    """

    name: str
    version: str
    newest: bool
    digest: str
    weights: str
    identity: str
    kind: str
    method: str
    r: int | None
    base: str
    size: int
    tags: Mapping[str, tuple[str, ...]]
    aliases: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which versions: all conditions hold. ``text`` is looked for in the name, ``base`` in the base's."""

    text: str = ""
    base: str = ""
    method: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    all_versions: bool = False


def listed(store: Store, query: Query | None = None) -> list[Row]:
    """The versions that match, by name and newest first: one SQL query."""
    asked = query or Query()
    where, values = _conditions(asked)
    columns = "name, version, newest, digest, weights, identity, kind, method, r, base, size, tags, aliases, problem"
    statement = f"SELECT {columns} FROM versions{where} ORDER BY name, major DESC, minor DESC, patch DESC"
    return [_row(found) for found in _asked(store, statement, values)]


def with_weights(store: Store, adapter: str) -> list[tuple[str, str, str]]:
    """``(digest, name, version)`` of the versions of an adapter, newest first.

    Args:
        store: the registry.
        adapter: its identity; or the sha256 of its tensors, as older records have it, which means nothing where
            adapters have the same tensors and do not do the same (``alike``).
    """
    found = _named(store, adapter)
    return [] if len({row[3] for row in found}) > 1 else [row[:3] for row in found]


def alike(store: Store, weights: str) -> list[str]:
    """``name:version`` of the versions whose tensors have this sha256, where they do not all do the same."""
    found = _named(store, weights)
    return [f"{name}:{version}" for _, name, version, _ in found] if len({row[3] for row in found}) > 1 else []


def _named(store: Store, adapter: str) -> list[tuple[str, str, str, str]]:
    return _asked(
        store,
        "SELECT digest, name, version, identity FROM versions WHERE identity = ?1 OR weights = ?1 "
        "ORDER BY major DESC, minor DESC, patch DESC",
        (adapter,),
    )


def reindex(store: Store) -> int:
    """Make the index anew from the manifests; how many versions there are."""
    _discard(store.index)
    return int(_asked(store, "SELECT count(*) FROM versions", ())[0][0])


def drift(store: Store) -> list[str]:
    """Names of which the index, as it stands, says something else than the manifests; none where there is no index."""
    if not store.index.exists():
        return []
    try:
        with closing(_opened(store.index)) as database:
            if _stale(database, _times(store)):
                return []  # it will be brought up to date before it is asked
            known = _contents(database)
    except sqlite3.Error:
        return []  # it will be made anew
    with closing(_in_memory(store)) as database:
        true = _contents(database)
    return sorted({name for name, *_ in known ^ true})


def _contents(database: sqlite3.Connection) -> set[tuple[Any, ...]]:
    return set(database.execute("SELECT * FROM versions"))


def _conditions(asked: Query) -> tuple[str, list[Any]]:
    found: list[str] = [] if asked.all_versions else ["newest = 1"]
    values: list[Any] = []
    for column, text in (("name", asked.text), ("base", asked.base)):
        if text:
            found.append(f"instr(lower({column}), ?) > 0")
            values.append(text.lower())
    if asked.method:
        found.append("instr(' ' || lower(method) || ' ', ' ' || ? || ' ') > 0")
        values.append(asked.method.lower())
    for key, wanted in asked.tags.items():
        for value in wanted:
            found.append("(name, version) IN (SELECT name, version FROM tags WHERE key = ? AND value = ?)")
            values += [key, value]
    return (" WHERE " + " AND ".join(found) if found else ""), values


def _row(found: tuple[Any, ...]) -> Row:
    name, version, newest, *plain, tags, aliases, problem = found
    return Row._make((name, version, newest == 1, *plain, _tags(tags), tuple(aliases.split()), problem))


@cache
def _tags(text: str) -> Mapping[str, tuple[str, ...]]:
    """Many versions have the same."""
    return {key: tuple(values) for key, values in json.loads(text).items()}


def _asked(store: Store, statement: str, values: Sequence[Any]) -> list[Any]:
    """What an index that says what the files say answers."""
    times = _times(store)
    for _ in range(2 if times else 0):  # an index of nothing is not worth a file
        try:
            with closing(_brought_up(_opened(store.index), store, times)) as database:
                return database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "SQLITE_BUSY").startswith(_OUT_OF_REACH):
                break
            _discard(store.index)
    with closing(_in_memory(store)) as database:
        return database.execute(statement, values).fetchall()


def _in_memory(store: Store) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.executescript(_TABLES)
    return _brought_up(database, store, _times(store))


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10.0)
    try:
        known = database.execute("PRAGMA user_version").fetchone()[0]
        if known == 0:
            database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")
        elif known != SCHEMA:
            raise sqlite3.DatabaseError("an index of another version")
    except BaseException:
        database.close()
        raise
    return database


def _brought_up(database: sqlite3.Connection, store: Store, times: dict[str, int]) -> sqlite3.Connection:
    try:
        known = dict(database.execute("SELECT path, time FROM folders"))
        if known != times:
            database.execute("BEGIN IMMEDIATE")
            names = {path.partition("/")[2] for path in _changed(known, times)}
            for name in sorted(names):
                _read_again(database, store, name)
            settled = _settled(times)
            database.execute("DELETE FROM folders")
            database.executemany("INSERT INTO folders VALUES (?, ?)", settled.items())
            database.commit()
    except BaseException:
        database.close()
        raise
    return database


def _stale(database: sqlite3.Connection, times: dict[str, int]) -> bool:
    return dict(database.execute("SELECT path, time FROM folders")) != times


def _changed(known: Mapping[str, int], times: Mapping[str, int]) -> Iterator[str]:
    for path in known.keys() | times.keys():
        if known.get(path) != times.get(path):
            yield path


def _settled(times: Mapping[str, int]) -> dict[str, int]:
    """Times that can be trusted; a folder that changed just now will be read again."""
    limit = time.time_ns() - _RACY_NS
    return {path: at if at < limit else 0 for path, at in times.items()}


def _times(store: Store) -> dict[str, int]:
    """Times of the folders of all names: ``manifests/ns/name`` and ``refs/ns/name``."""
    return {f"{parent.name}/{name}": at for parent in (store.manifests, store.refs) for name, at in _below(parent)}


def _below(parent: Path) -> Iterator[tuple[str, int]]:
    for space in _scan(parent):
        for folder in _scan(space.path):
            with suppress(FileNotFoundError):
                yield f"{space.name}/{folder.name}", folder.stat(follow_symlinks=False).st_mtime_ns


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read_again(database: sqlite3.Connection, store: Store, name: str) -> None:
    from lft.adapters.store.summary import summaries

    database.execute("DELETE FROM versions WHERE name = ?", (name,))
    database.execute("DELETE FROM tags WHERE name = ?", (name,))
    for row in summaries(store, name):
        columns: Iterable[Any] = (
            name, row.version, *map(int, row.version.split(".")), row.newest, row.digest, row.weights, row.identity,
            row.kind, row.method, row.r, row.base, row.size, json.dumps(row.tags, ensure_ascii=False),
            " ".join(row.aliases), row.problem,
        )  # fmt: skip
        database.execute(f"INSERT INTO versions VALUES ({','.join('?' * 17)})", tuple(columns))
        pairs = [(name, row.version, key, value) for key, values in row.tags.items() for value in values]
        database.executemany("INSERT INTO tags VALUES (?, ?, ?, ?)", pairs)


def _discard(path: Path) -> None:
    for one in _files_of(path):
        with suppress(OSError):
            one.unlink(missing_ok=True)


def _files_of(path: Path) -> tuple[Path, ...]:
    return path, path.with_name(f"{path.name}-journal"), path.with_name(f"{path.name}-wal")
