"""Where a source is: files of this disk or of any file system of fsspec, with a language each, or a hub data set."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from lft.corpus.read.found import Dropped
from lft.corpus.schema import Source
from lft.errors import InputError
from lft.recipe.problems import nearest, shown

_MAGIC: Final = re.compile(r"[*?\[]")
_HUB_ID: Final = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_PACKED: Final = re.compile(r"\.(gz|bz2|xz|zst)$")
_PAGE: Final = re.compile(r"^(?P<stem>.+?)(?:\.(?P<lang>[a-z]{2}))?\.x?html?(?:\.(?P<after>[a-z]{2}))?$")
HUB_KINDS: Final = frozenset({"jsonl", "csv", "parquet", "c4", "wikipedia", "wikihow", "scitldr"})
_ROWS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "text": (".txt", ".text"),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm", ".xhtml"),
    "mallard": (".page",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "c4": _ROWS,
    "scitldr": _ROWS,
    "wikihow": _ROWS,
    "wikipedia": (*_ROWS, ".txt", ""),  # wikiextractor's files are called wiki_00
    "stackexchange": ("Posts.xml",),
    "natural-instructions": (".json",),
    "bigbench": (".json",),
    "bea-gec": (".json", ".jsonl", ".m2"),
    "email": (),  # maildirs and the Enron folders name messages by numbers
}


@dataclass(frozen=True, slots=True)
class Listed:
    """The files of a source under one language; ``others`` are files of the folder that its kind does not read."""

    root: str
    lang: str
    files: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    others: int = 0


def is_hub(source: Source) -> bool:
    """Whether a source names a hub data set: user/name, of a kind that has rows, and nothing here is called so."""
    paths = [source.path.replace("{lang}", lang) for lang in source.langs]
    named = all(_HUB_ID.match(path) and not os.path.exists(path) for path in paths)
    return source.kind in HUB_KINDS and named and _kind_suffix(paths[0]) == ""


def listed(source: Source) -> tuple[Listed, ...]:
    """A source's files, by name, for each of its languages; for the first alone if its rows say what they are in.

    Raises:
        InputError: the path is not there, or holds nothing of this kind.
    """
    return tuple(_of_language(source, lang) for lang in places(source))


def places(source: Source) -> tuple[str, ...]:
    """The languages that have a place each: {lang} in the path (or in the hub's configuration)."""
    return source.langs if "{lang}" in f"{source.path} {source.config}" else source.langs[:1]


def _of_language(source: Source, lang: str) -> Listed:
    from datatrove.io import get_datafolder

    path = _with_language(source, lang)
    root, pattern = _cut(path)
    folder = get_datafolder(root)
    found: list[str] = folder.list_files(glob_pattern=pattern) if pattern else _beneath(folder)
    if not found:
        raise _missing(source, path)
    # who writes a pattern or one file has chosen; from a folder the kind takes what it reads
    fits = [name for name in found if not _hidden(name)] if pattern else readable(source.kind, found)
    if not fits:
        raise InputError(
            f"sources: {source.name}: none of its {len(found)} files is one that kind {source.kind} reads "
            f"({', '.join(SUFFIXES[source.kind]) or 'any name'})",
            where=path,
            fix="give a pattern such as folder/**/*.txt, or another kind",
        )
    odd = [Dropped("its file name cannot be written in a list", name) for name in fits if not _listable(name)]
    fits = [name for name in fits if _listable(name)]
    kept, doubles = _without_doubles(fits, lang) if source.kind == "html" else (fits, [])
    return Listed(root, lang, tuple(kept), (*odd, *doubles), len(found) - len(fits) - len(odd))


def _with_language(source: Source, lang: str) -> str:
    path = source.path.replace("{lang}", lang)
    untranslated = source.path.replace("{lang}", "C")  # Mallard's English is under C
    if source.kind == "mallard" and lang == "en" and not os.path.exists(path) and os.path.exists(untranslated):
        return untranslated
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _cut(path: str) -> tuple[str, str]:
    """A folder, and the pattern or file name below it (empty: all that is in it)."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if _MAGIC.search(part):
            return "/".join(parts[:i]) or "/", "/".join(parts[i:])
    if "://" not in path and os.path.isfile(path):
        return os.path.dirname(path), _literal(os.path.basename(path))
    if "://" in path and "." in parts[-1]:  # a remote name with a suffix is a file
        return "/".join(parts[:-1]), _literal(parts[-1])
    return path, ""


def _kind_suffix(path: str) -> str:
    """The suffix of a data file that a path ends in: docs/rows.jsonl is no hub id, though it could be one."""
    plain = _PACKED.sub("", path).lower()
    return next((one for one in _ROWS if plain.endswith(one)), "")


def _literal(name: str) -> str:
    """A pattern that one name fits; without any magic datatrove would put a star in front."""
    escaped = re.sub(r"[*?\[]", r"[\g<0>]", name)
    return escaped if escaped != name else f"[{name[0]}]{name[1:]}"


def _beneath(folder: Any) -> list[str]:
    try:
        return list(folder.list_files())
    except FileNotFoundError:
        return []


def _listable(name: str) -> bool:
    return name == name.strip() and name.isprintable()


def readable(kind: str, names: Iterable[str]) -> list[str]:
    """The files of a folder that a kind of source reads, by their names."""
    return [name for name in names if not _hidden(name) and _reads(kind, name)]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _reads(kind: str, name: str) -> bool:
    plain = PurePosixPath(_PACKED.sub("", name))
    wanted = SUFFIXES[kind]
    return not wanted or plain.suffix in wanted or plain.name in wanted or plain.name.endswith("-Posts.xml")


def _missing(source: Source, path: str) -> InputError:
    what = f"sources: {source.name}: there is nothing at this path"
    if source.kind in HUB_KINDS and "{lang}" not in source.path:
        fix = "check the spelling; a hub data set is user/name"
    else:
        fix = "check the spelling; relative paths start where lft is started"
    near = None if "://" in path else _nearest_path(path)
    return InputError(f"{what}; nearest: {shown(near, 4096)}" if near else what, where=path, fix=fix)


def _nearest_path(path: str) -> str | None:
    """The path with its first part that is not there replaced by the most similar one that is."""
    there = "/"
    for part in PurePosixPath(path).parts[1:]:
        after = os.path.join(there, part)
        if not os.path.exists(after):
            if _MAGIC.search(part):
                return None
            close = nearest(part, os.listdir(there)) if os.path.isdir(there) else None
            return os.path.join(there, close) if close else None
        there = after
    return None


def _without_doubles(names: Sequence[str], lang: str) -> tuple[list[str], list[Dropped]]:
    """Of page.html, page.en.html and page.de.html (also page.html.en) the one in the language that is wanted."""
    pages: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, plain = name.rpartition("/")
        found = _PAGE.match(plain)
        stem, its = (found["stem"], found["lang"] or found["after"] or "") if found else (plain, "")
        pages.setdefault(f"{folder}/{stem}", {})[its] = name
    kept, dropped = [], []
    for versions in pages.values():
        wanted = lang if lang in versions else ""
        # one file whose name seems to end in a language is just called so (tutorial.cs.html)
        chosen = versions.get(wanted) or (next(iter(versions.values())) if len(versions) == 1 else None)
        if chosen:
            kept.append(chosen)
        dropped += [
            Dropped("the same page in another file" if its == "" else "a page in another language, by its name", name)
            for its, name in versions.items()
            if name != chosen
        ]
    return sorted(kept), dropped
