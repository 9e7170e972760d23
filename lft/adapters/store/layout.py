"""Where everything of a registry lies.

    format                                    "1"
    blobs/sha256/ab/<64 hex>                  bytes, read-only, named by what they are
    manifests/<ns>/<name>/<version>.json      the manifest, a second name of its blob; written once
    manifests/<ns>/<name>/<version>.tags      tags given later; <version>.removed: the digest that a removed version had
    manifests/<ns>/<name>/<version>.scores    measured later
    manifests/<ns>/<name>/<version>.signatures  signatures of its files, one a line
    refs/<ns>/<name>/<alias>                  one line: the manifest's digest
    log/{aliases,tags,scores,signatures}.jsonl  every change, written before it is made
    tmp/<id>/                                 what one writer is writing, and its lease
    trash/<seconds>-<id>/<64 hex>             blobs that the first phase of gc took out
    checkouts/<64 hex>/                       versions as folders that plain `peft` loads; made again when missing
    locks/, index.sqlite                      may be deleted at any time

Blobs, manifests, tags, scores, signatures and refs are the truth. Nothing in a registry is a symbolic link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.store import disk
from lft.errors import InputError

FORMAT: Final = "1"


@dataclass(frozen=True, slots=True)
class Store:
    """Paths of a registry."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Folder of the folders of blobs."""
        return self.root / "blobs" / "sha256"

    @property
    def manifests(self) -> Path:
        """Folder of the namespaces."""
        return self.root / "manifests"

    @property
    def refs(self) -> Path:
        """Folder of the namespaces' aliases."""
        return self.root / "refs"

    @property
    def tmp(self) -> Path:
        """Folder of the writers' folders."""
        return self.root / "tmp"

    @property
    def trash(self) -> Path:
        """Folder of what gc took out."""
        return self.root / "trash"

    @property
    def checkouts(self) -> Path:
        """Folder of versions as folders."""
        return self.root / "checkouts"

    @property
    def index(self) -> Path:
        """The SQLite index."""
        return self.root / "index.sqlite"

    def blob(self, digest: str) -> Path:
        """Place of a blob."""
        return self.blobs / digest[:2] / digest

    def manifest(self, name: str, version: str) -> Path:
        """Place of a version's manifest; ``name`` is ``ns/name``."""
        return self.manifests / name / f"{version}.json"

    def tags(self, name: str, version: str) -> Path:
        """Place of the tags given to a version after it was stored."""
        return self.manifests / name / f"{version}.tags"

    def scores(self, name: str, version: str) -> Path:
        """Place of the scores measured of a version after it was stored."""
        return self.manifests / name / f"{version}.scores"

    def signatures(self, name: str, version: str) -> Path:
        """Place of the signatures of a version's files."""
        return self.manifests / name / f"{version}.signatures"

    def tombstone(self, name: str, version: str) -> Path:
        """Place of the digest that a removed version had."""
        return self.manifests / name / f"{version}.removed"

    def alias(self, name: str, alias: str) -> Path:
        """Place of an alias."""
        return self.refs / name / alias

    def log(self, what: str) -> Path:
        """Place of a log: ``aliases``, ``tags``, ``scores`` or ``signatures``."""
        return self.root / "log" / f"{what}.jsonl"


def open_store(root: Path) -> Store:
    """The registry in a folder; one that is not there yet is empty.

    Raises:
        InputError: the folder holds a registry of another format, or something else.
    """
    store = Store(root)
    written = _format(root)
    if written is None and (store.manifests.exists() or store.blobs.exists()):
        written = _format(root)  # it comes first, so one that was made since the first look says it by now
        if written is None:
            raise InputError(
                "this registry does not say its format",
                where=str(root),
                fix=f"write {FORMAT} into {root / 'format'} if it was made by lft",
            )
    if written not in (None, FORMAT):
        raise InputError(
            f"the registry has format {written[:20]!r}, this version knows {FORMAT}",
            where=str(root),
            fix="use a newer version of lft",
        )
    return store


def _format(root: Path) -> str | None:
    """What a registry says of itself; None where it says nothing."""
    try:
        return (root / "format").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the registry cannot be read ({error})", where=str(root)) from None


def prepare(store: Store) -> None:
    """Make a registry that may be written into."""
    if (store.root / "format").exists():
        return
    disk.make_folder(store.tmp)
    draft = store.tmp / f"format-{disk.unique()}"
    with disk.source(f"{FORMAT}\n") as text:
        disk.write_draft(text, draft)
    disk.take_place(draft, store.root / "format")


def folders_of_names(parent: Path) -> Iterator[tuple[str, Path]]:
    """``ns/name`` and the folder of each name below ``manifests`` or ``refs``, by name."""
    for space in _folders(parent):
        for folder in _folders(space):
            yield f"{space.name}/{folder.name}", folder


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
