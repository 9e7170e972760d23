"""Whether a registry is what it says: every blob, every manifest and all that it names, every mark, the index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lft.adapters.store import blobs, index, leases
from lft.adapters.store.layout import Store, folders_of_names
from lft.adapters.store.lockfile import file_problems
from lft.adapters.store.manifest import STACKS, WEIGHTS, Manifest
from lft.adapters.store.marks import alias_digest, scores, signatures, tags
from lft.adapters.store.names import is_version
from lft.adapters.store.versions import by_digest, files, version
from lft.base.headers import read_header
from lft.errors import InputError
from lft.files import json_lines

_MARKS = {".tags": tags, ".scores": scores, ".signatures": signatures}
_SUFFIXES = (".json", ".removed", *_MARKS)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: what, and where."""

    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, what is wrong, and what is worth knowing but right."""

    versions: int
    aliases: int
    blobs: int
    bytes: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def check(store: Store, *, quick: bool = False) -> Report:
    """Look at everything in a registry.

    Args:
        store: the registry.
        quick: of files only sizes and the weights' headers; otherwise every byte is read.
    """
    there = blobs.listed(store)
    names = [(name, path) for name, _ in folders_of_names(store.manifests) for path in files(store.manifests / name)]
    refs = [(name, path.name) for name, _ in folders_of_names(store.refs) for path in files(store.refs / name)]
    findings = [
        *_links(store),
        *(finding for path in there for finding in _blob(path, quick)),
        *(finding for name, path in names for finding in _version_file(store, name, path, quick)),
        *(finding for name, alias in refs for finding in _alias(store, name, alias)),
        *(Finding("the index says something else: lft adapters reindex", name) for name in index.drift(store)),
    ]
    return Report(
        sum(path.suffix == ".json" for _, path in names),
        len(refs),
        len(there),
        sum(path.stat().st_size for path in there if path.exists()),
        tuple(findings),
        tuple(_notes(store)),
    )


def _links(store: Store) -> Iterator[Finding]:
    """Nothing in a registry is a symbolic link, except what its owner put it behind."""
    for folder, below, names in os.walk(store.root):
        for name in (*below, *names):
            path = Path(folder) / name
            if path.is_symlink():
                yield Finding("a symbolic link", str(path))


def _blob(path: Path, quick: bool) -> Iterator[Finding]:
    if not path.is_file() or path.parent.name != path.name[:2] or len(path.name) != 64:
        yield Finding("no blob", str(path))
    elif not quick and path.exists() and not blobs.is_whole(path, path.name):
        yield Finding("damaged: its sha256 is another one", str(path))


def _version_file(store: Store, name: str, path: Path, quick: bool) -> Iterator[Finding]:
    if path.suffix not in _SUFFIXES or not is_version(path.stem):
        yield Finding("nothing that belongs here", str(path))
        return
    if path.suffix == ".removed":
        return
    if path.suffix in _MARKS and not store.manifest(name, path.stem).exists():
        return  # a removal that was killed before it was done with them
    try:
        stored = version(store, name, path.stem)
    except InputError as error:
        if path.exists():  # else it was removed in this moment
            yield Finding(error.what, str(path))
        return
    if path.suffix in _MARKS:
        yield from _marks(store, stored.manifest, path)
        return
    label = f"{stored} ({path})"
    try:
        by_digest(store, stored.digest)
    except InputError as error:
        yield Finding(f"its manifest among the blobs: {error.what}", label)
    yield from _closure(store, stored.manifest, label, quick)


def _closure(store: Store, manifest: Manifest, label: str, quick: bool) -> Iterator[Finding]:
    """All that a manifest names; the whole pass over the blobs has read their bytes already."""
    for problem in file_problems(store, manifest, whole=False):
        yield Finding(problem, label)
    for digest in manifest.blobs:
        try:
            blobs.find(store, digest)
        except InputError as error:
            yield Finding(error.what, label)
    for parent in manifest.parents:
        try:
            by_digest(store, parent)
        except InputError as error:
            yield Finding(f"what it was made from: {error.what}", label)
    if quick and manifest.kind not in STACKS:
        try:
            read_header(blobs.find(store, manifest.weights))
        except InputError as error:
            yield Finding(f"{WEIGHTS}: {error.what}", label)


def _marks(store: Store, manifest: Manifest, path: Path) -> Iterator[Finding]:
    try:
        _MARKS[path.suffix](store, manifest)
    except InputError as error:
        yield Finding(error.what, str(path))


def _alias(store: Store, name: str, alias: str) -> Iterator[Finding]:
    where = str(store.alias(name, alias))
    digest = alias_digest(store, name, alias)
    if digest is None:  # removed in this moment
        return
    try:
        stored = by_digest(store, digest)
    except InputError as error:
        yield Finding(f"{name}@{alias}: {error.what}", where)
        return
    if stored.manifest.name != name:
        yield Finding(f"{name}@{alias} points to {stored}", where)


def _notes(store: Store) -> Iterator[str]:
    if count := leases.left_behind(store):
        yield f"{count} killed writers left drafts: lft adapters gc removes them"
    torn = sum(json_lines(store.log(what))[1] for what in ("aliases", "tags", "signatures"))
    if torn:
        yield f"{torn} lines of the logs are not whole: a process was killed while it wrote them"
