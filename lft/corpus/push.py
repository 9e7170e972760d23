"""Pushing a data set to the hub: its rows as they are, card and build file as others may read them.

6-write ──▶ whole? ──▶ build file and card without this machine's paths ──▶ all searched ──▶ one commit
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.corpus.build import folder_of
from lft.corpus.card import use_line
from lft.corpus.dataset import BUILD_FILE, REPORT
from lft.corpus.licences import doubts
from lft.corpus.load import load_build
from lft.corpus.schema import Build
from lft.corpus.splits import SPLITS
from lft.corpus.step import STEP_FILE, read_records, saved_report
from lft.errors import InputError
from lft.files import broken_files, write_text
from lft.hub.access import HubRef
from lft.hub.commit import CARD, Pushed, Target, Upload, push_files, uploads_of
from lft.hub.secrets import Change, Search, is_local, require_clean, search_for
from lft.hub.waits import Notify
from lft.recipe.write import to_yaml

ROWS: Final = tuple(f"{split}.{kind}" for split in SPLITS for kind in ("jsonl", "parquet"))
_OURS: Final = frozenset((*ROWS, BUILD_FILE, REPORT))  # what a push of lft leaves there, beside the card
_TABLES: Final = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".arrow", ".jsonl.gz", ".json.gz", ".zst")
_PLACES: Final = ("where", "source", "subset")  # columns that say where a text is from; the others are texts
_NOWHERE: Final = "http://localhost/v1"
_AGAIN: Final = "build and push again"
_PATTERN: Final = re.compile(r"[*?\[{]")
_PASSWORD: Final = re.compile(r"//[^/\s]*@")  # of an address; it is printed nowhere


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be pushed.

    ``changes`` are values of the build file that others read otherwise; ``doubts`` say which rows' licences do not let
    them be passed on.
    """

    name: str
    rows: int
    uploads: tuple[Upload, ...]
    changes: tuple[Change, ...]
    card: str
    doubts: tuple[str, ...]


def prepare(folder: Path, ref: HubRef, draft: Path) -> Prepared:
    """The files of a data set as others may read them, searched for paths of this machine and for keys.

    In texts that people wrote a path counts only below the home folder or the build's: a page about Linux names
    /etc/passwd, and that says nothing about this machine.

    Args:
        folder: a build's, or the one in it that holds the data set.
        ref: where it will go, for the card.
        draft: an existing folder for what is written anew.

    Raises:
        InputError: no finished data set lies there, it is damaged, or a file holds a path or a key.
        RecipeError: its build file is of another version.
    """
    place = _dataset_in(folder)
    build = load_build(place / BUILD_FILE)
    shared, changes = as_shared(build)
    card = _card((place / CARD).read_text(encoding="utf-8"), build, shared, changes, ref)
    write_text(draft / CARD, card)
    write_text(draft / BUILD_FILE, to_yaml(shared))
    rows = {name: place / name for name in ROWS if (place / name).is_file()}
    report = {REPORT: place / REPORT}
    said = {CARD: draft / CARD, BUILD_FILE: draft / BUILD_FILE}
    private = (Path.home(), place.resolve().parent if place.name == folder_of(place, "write").name else place.resolve())
    require_clean(said, private, _AGAIN)
    _require_clean_texts(rows | report, search_for((one for one in private if len(one.parts) > 2), _AGAIN))
    figures = saved_report(place).figures
    uploads = uploads_of({**rows, **report, **said})
    return Prepared(build.name, figures["rows"], uploads, changes, card, tuple(doubts(figures["licence"])))


def push(prepared: Prepared, target: Target, notify: Notify) -> Pushed:
    """Make one commit of a prepared data set, and compare what the hub has then.

    Raises:
        InputError: the hub does not let us write, holds a data set of another maker there, was changed in the same
            moment, or has other bytes afterwards.
    """
    ours = {one.name for one in prepared.uploads}

    def stale(there: frozenset[str]) -> tuple[str, ...]:
        if BUILD_FILE not in there and any(name.endswith(_TABLES) for name in there):
            raise InputError(
                "this repository holds a data set that lft did not make",
                where=str(target.ref),
                fix="push to a repository of its own",
            )
        return tuple(sorted((there & _OURS) - ours))

    return push_files(prepared.uploads, target, f"{prepared.name}: {prepared.rows:,} rows with lft", stale, notify)


def use_of(ref: HubRef) -> str:
    """How a pushed data set is trained on."""
    is_main = ref.revision in (None, "main")
    return use_line(ref.repo if is_main else f"[{{path: {ref.repo}, revision: {ref.revision}}}]")


def as_shared(build: Build) -> tuple[Build, tuple[Change, ...]]:
    """A build without this machine's paths and without addresses that only its network knows, and what is changed."""
    changes: list[Change] = []

    def walked(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: walked(one, f"{key}.{name}" if key else name) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [walked(one, f"{key}[{at}]") for at, one in enumerate(value)]
        if not isinstance(value, str):
            return value
        after = _address(value) if key.endswith(".backend.url") else _short(value) if is_local(value) else value
        if after != value:
            changes.append(Change(BUILD_FILE, key, _PASSWORD.sub("//…@", value), after))
        return after

    made = Build.model_validate(walked(build.model_dump(), ""))
    return made, tuple(changes)


def _dataset_in(folder: Path) -> Path:
    """The folder of a finished data set. Raises InputError where there is none, or it is damaged."""
    places = [one for one in (folder_of(folder, "write"), folder) if (one / BUILD_FILE).is_file()]
    places = [one for one in places if (one / STEP_FILE).is_file()]
    if not places:
        raise InputError(
            "no finished data set lies here", where=str(folder), fix="lft corpus build FILE makes one; give its folder"
        )
    # its owner may have written into the card
    if broken := [one for one in broken_files(places[0]) if one != f"{CARD} is damaged"]:
        what = f"the data set is not as it was written: {'; '.join(broken)}"
        raise InputError(what, where=str(places[0]), fix="remove this folder, then lft corpus build again")
    return places[0]


def _short(path: str) -> str:
    """A path from its last part on; where it is a pattern, from the last part before that."""
    parts = [part for part in re.split(r"[/\\]", path) if part]
    first = next((at for at, part in enumerate(parts) if _PATTERN.search(part)), len(parts))
    return "/".join((".", *parts[max(first - 1, 0) :]))


def _address(url: str) -> str:
    """An endpoint's address where others could reach it too, else none of anybody's."""
    said = urllib.parse.urlsplit(url)
    host = said.hostname or ""
    try:
        known = ipaddress.ip_address(host).is_global
    except ValueError:
        known = "." in host and not host.endswith((".local", ".internal", ".lan", ".corp"))
    return url if known and "@" not in said.netloc else _NOWHERE


def _card(text: str, build: Build, shared: Build, changes: tuple[Change, ...], ref: HubRef) -> str:
    text = text.replace(to_yaml(build).rstrip(), to_yaml(shared).rstrip())
    for change in sorted(changes, key=lambda one: -len(one.before)):
        if len(change.before) > 3:  # a model's folder is named in the words above the build file too
            text = text.replace(change.before, str(change.after))
    return text.replace(use_line(f"./{build.name}"), use_of(ref))


def _require_clean_texts(files: dict[str, Path], search: Search) -> None:
    for name, path in files.items():
        if name == REPORT:
            content = path.read_bytes()
            search.folder(name, content)
            search.keys(name, content)
            continue
        for number, row in enumerate(_rows(path), 1):
            for text in row.values():
                if isinstance(text, str):
                    content = text.encode("utf-8", "surrogatepass")
                    search.folder(name, content, number)
                    search.keys(name, content, number)
            search.anywhere(name, "\n".join(str(row.get(column)) for column in _PLACES), number)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, a batch at a time."""
    if path.suffix == ".jsonl":
        yield from read_records(path)
        return
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(1000):
            yield from batch.to_pylist()
