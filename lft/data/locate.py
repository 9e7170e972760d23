"""Where a source is: a sample of the package, a file, a folder with splits, a saved data set, or the hub."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lft.data.rowfiles import kind_of
from lft.errors import InputError
from lft.recipe.schema import Data, Source

Part = Literal["train", "validation"]

SAMPLES = Path(__file__).parent / "samples"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_SHARD = re.compile(r"([-_.](\d+)(-of-\d+)?(-[0-9a-f]{6,})?)$")
_SPLIT_NAMES = frozenset({"train", "training", "validation", "valid", "val", "dev", "eval", "test"})
_NOT_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})


@dataclass(frozen=True, slots=True)
class Located:
    """A source found: ``path`` is a file or folder of this machine, None for the hub."""

    kind: Literal["files", "saved", "hub"]
    name: str
    path: Path | None = None

    def shown(self, file: Path) -> str:
        """How messages call ``file``: as the recipe does, with the path inside it where that is a folder."""
        if self.path is None or file == self.path:
            return self.name
        return f"{self.name.rstrip('/')}/{file.relative_to(self.path).as_posix()}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The split that is asked for: its name, the part it plays, and the names that the recipe gives to all parts."""

    split: str
    part: Part
    names: tuple[str, ...]


class NoSplit(InputError):
    """The source is fine but has no split of the name asked for."""


def wanted_of(data: Data, part: Part) -> Wanted | None:
    """The split that plays ``part``, None where the recipe has none (``null``)."""
    split = data.split.train if part == "train" else data.split.validation
    names = tuple(name for name in (data.split.train, data.split.validation) if name)
    return None if split is None else Wanted(split, part, names)


def locate(source: str) -> Located:
    """Find ``source``; a file or folder of this machine comes before a hub id of the same spelling.

    Relative paths start at the working directory. Raises InputError where nothing can be meant.
    """
    if source.startswith("sample://"):
        return _sample(source)
    if "://" in source:
        fix = "download it and give the file, or give a hub id user/name"
        raise InputError("data is read from this machine or the hub, not from an address", where=source, fix=fix)
    path = Path(source).expanduser()
    if path.is_dir():
        saved = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
        return Located("saved" if saved else "files", source, path)
    if path.is_file():
        if kind_of(path) is None:
            fix = "give .json, .jsonl (or either .gz) or .parquet"
            raise InputError(f"files of the kind `{path.suffix}` are not read", where=source, fix=fix)
        return Located("files", source, path)
    if _HUB_ID.match(source) and kind_of(path) is None:
        return Located("hub", source)
    raise _missing(source, path)


def files_of(located: Located, wanted: Wanted) -> tuple[tuple[Path, ...], bool]:
    """The files that hold the split, and whether their names say so (if not, their `split` column may)."""
    if located.path is None or located.path.is_file():
        return ((located.path,) if located.path else ()), False
    groups = _groups(located.path, located.name)
    if wanted.split in groups:
        return groups[wanted.split], True
    if len(groups) == 1 and not (_SPLIT_NAMES | set(wanted.names)) & set(groups):
        return next(iter(groups.values())), False
    raise no_split(located.name, wanted, sorted(groups))


def no_split(name: str, wanted: Wanted, there: Sequence[str]) -> NoSplit:
    """The error for a split that is not there: the names that are, and the nearest; none means an undivided file."""
    null = " (null trains without one)" if wanted.part == "validation" else ""
    if there:
        near = difflib.get_close_matches(wanted.split, there, n=1, cutoff=0.3)
        near = near or [other for other in there if other[:3] == wanted.split[:3]] or list(there)
        what = f"no split `{wanted.split}`; there is {', '.join(f'`{t}`' for t in there)}"
        return NoSplit(what, where=name, fix=f"set data.split.{wanted.part}: {near[0]}{null}")
    what = f"no split `{wanted.split}`: the rows are not divided, so all of them are `train`"
    fix = "set data.split.train: train"
    if wanted.part == "validation":
        fix = "set data.split.validation: null, or give a folder with train and validation files, or a `split` column"
    return NoSplit(what, where=name, fix=fix)


def no_source_has(wanted: Wanted, sources: Sequence[Source]) -> InputError:
    """The error for a mixture in which no source has the split."""
    fix = "set data.split.validation: null to train without one, or name a split that is there"
    return InputError(
        f"no source of the mixture has a split `{wanted.split}`",
        where=sources[0].path if sources else "data.train",
        fix=fix,
    )


def _groups(folder: Path, name: str) -> dict[str, tuple[Path, ...]]:
    """Data files by the split that their place says.

    ``train.jsonl``, ``train-00000-of-00002.parquet``, ``train/0.parquet`` and the same below ``data/`` are all `train`.
    """
    groups: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*"), key=_natural):
        inner = file.relative_to(folder).parts
        if not any(part.startswith(".") for part in inner) and _is_data(file):
            groups.setdefault(_split_of(inner), []).append(file)
    if not groups:
        raise InputError("the folder holds no data", where=name, fix="put .jsonl, .json or .parquet files into it")
    for split, files in groups.items():
        if len({kind_of(file) for file in files}) > 1:
            what = f"`{split}` is there in two kinds of files: {', '.join(file.name for file in files[:4])}"
            raise InputError(what, where=name, fix="keep one kind; the rows would count twice")
    return {split: tuple(files) for split, files in groups.items()}


def _sample(source: str) -> Located:
    path = SAMPLES / f"{source.removeprefix('sample://')}.jsonl"
    there = sorted(file.stem for file in SAMPLES.glob("*.jsonl"))
    if path.stem not in there:
        fix = f"there is {', '.join('sample://' + name for name in there) or 'none in this installation'}"
        raise InputError("no such sample", where=source, fix=fix)
    return Located("files", source, path)


def _missing(source: str, path: Path) -> InputError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    if near:
        return InputError("no such file", where=source, fix=f"did you mean {path.parent / near[0]}?")
    if path.parent != Path() and not path.parent.is_dir():
        return InputError("no such file", where=source, fix=f"the folder {path.parent} is not there either")
    return InputError("no such file or folder", where=source, fix="check the path; a hub data set is written user/name")


def _is_data(file: Path) -> bool:
    return kind_of(file) is not None and file.name not in _NOT_DATA and file.is_file()


def _split_of(inner: tuple[str, ...]) -> str:
    folders = [part for part in inner[:-1] if part != "data"]
    if folders:
        return folders[0]
    stem = re.sub(r"\.(json|jsonl|ndjson|parquet)(\.gz)?$", "", inner[-1], flags=re.IGNORECASE)
    return _SHARD.sub("", stem) or stem


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort key under which shard 10 comes after shard 9."""
    pieces = re.findall(r"\d+|\D+", file.as_posix())
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]
