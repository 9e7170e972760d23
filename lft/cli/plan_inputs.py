"""What `lft plan` looks up before it reckons: sizes of the base, amount of data, this machine. Never weights."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import lft
from lft.errors import InputError

if TYPE_CHECKING:
    from lft.plan.amount import Amount
    from lft.plan.hardware import Device
    from lft.plan.shape import ModelShape
    from lft.recipe.schema import Base, Data, Recipe

Notify = Callable[[str], None]

_SAMPLE: Final = "sample://"
_READ_AT_MOST: Final = 64 << 20  # bytes of a data file that are read; the rest is taken to be like them
_NO_SIZES: Final = "give a folder or hub id that has a config.json"


@dataclass(frozen=True, slots=True)
class FoundBase:
    """The base's shape, and where it was found, in words."""

    shape: ModelShape
    source: str


def find_base(base: Base, cache: Path, notify: Notify) -> FoundBase:
    """The shape of a base: from its files where they are on this machine, else from sizes alone; fetches no weights.

    Raises:
        InputError: no sizes can be found, they are of no known family, or config.json and weights differ.
    """
    from lft.plan.configs import known_config
    from lft.plan.families import shape_of

    folder = _folder(base, cache, notify)
    if folder is not None:
        return _from_folder(folder, base.model)
    known = known_config(base.model)
    if known is not None:
        return FoundBase(shape_of(known, base.model), "lft's table (the base is not on this machine)")
    if base.model.endswith(".gguf") or "://" in base.model:
        fix = "convert it once: lft finetune RECIPE --dry-run"
        raise InputError("this GGUF was not converted yet, so its sizes are not known", where=base.model, fix=fix)
    return FoundBase(shape_of(_from_hub(base, notify), base.model), "the hub's config.json (nothing else was fetched)")


def _folder(base: Base, cache: Path, notify: Notify) -> Path | None:
    """The model folder of a base that is on this machine, or None."""
    from lft.base.package import SCHEME, package_model
    from lft.base.resolve import resolve_base

    path = Path(base.model).expanduser()
    if base.model.startswith(SCHEME):
        try:
            path = package_model(base.model)
        except InputError:
            return None
    elif not path.exists():
        if base.model.startswith((".", "/", "~")) or base.model.endswith(".gguf"):
            resolve_base(base, cache, notify)  # raises, and names what lies there
        return _hub_folder(base)
    return _converted(path, cache) if path.is_file() else path


class _NotRemembered(Exception):
    """The digest of a file would have to be computed."""


def _converted(file: Path, cache: Path) -> Path | None:
    """The folder that a GGUF was converted to before; the file itself is not read."""
    from lft.base.files import remembered
    from lft.base.gguf import CONVERTER

    def compute() -> dict[str, str]:
        raise _NotRemembered

    try:
        digest = remembered(cache, "file", file, compute)["sha256"]
    except _NotRemembered:
        return None
    folder = cache / "base" / f"{digest}-{CONVERTER}"
    return folder if (folder / "config.json").exists() else None


def _hub_folder(base: Base) -> Path | None:
    """The newest cached snapshot of a hub model: models--user--name/snapshots/COMMIT, the hub library's layout."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{base.model.replace('/', '--')}"
    revision = base.revision or "main"
    reference = repository / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def _from_folder(folder: Path, written: str) -> FoundBase:
    from lft.base.files import read_json
    from lft.base.headers import BITS, INDEX, SINGLE, read_headers
    from lft.plan.families import shape_of
    from lft.plan.headers import with_files

    if not (folder / "config.json").exists():
        raise InputError("this folder is not a model: it has no config.json", where=written, fix=_NO_SIZES)
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError("config.json does not hold a map", where=str(folder), fix="fetch the file again")
    shape = shape_of(config, str(folder / "config.json"))
    if not any((folder / name).exists() for name in (SINGLE, INDEX)):
        return FoundBase(shape, "its config.json alone")
    tensors = ((one.name, one.shape, BITS[one.dtype]) for one in read_headers(folder))
    return FoundBase(with_files(shape, tensors, written), "its files")


def _from_hub(base: Base, notify: Notify) -> Mapping[str, Any]:
    from huggingface_hub import hf_hub_download

    from lft.base.files import read_json

    notify(f"asking the hub for config.json of {base.model}")
    try:
        config = read_json(Path(hf_hub_download(base.model, "config.json", revision=base.revision)))
    except InputError:
        raise
    except Exception as error:  # the hub library has one for each of a dozen mishaps; here they all mean one thing
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the sizes of this base are not known: it is not on this machine, not in lft's table, and the hub gave no "
            f"config.json ({type(error).__name__}: {reason[:160]})",
            where=base.model,
            fix=_NO_SIZES,
        ) from error
    if not isinstance(config, dict):
        raise InputError("config.json does not hold a map", where=base.model)
    return config


def find_amount(data: Data, tokens: int | None, *, pairs: bool) -> Amount | None:
    """How much there is to train on: as said, counted in files that are here, or as the data set's card says."""
    from lft.plan.amount import Amount, estimated, published

    if tokens is not None:
        rows = max(-(-tokens // data.max_length), 1)
        return Amount(rows, tokens, rows, "as --tokens says, full rows")
    sources = (data.train,) if isinstance(data.train, str) else tuple(source.path for source in data.train)
    files = [_data_file(source, data.split.train) for source in sources]
    if any(file is None for file in files):
        return published(data, pairs=pairs)
    counts = [_measured(file, data.split.train) for file in files if file is not None]
    examples, characters = sum(count[0] for count in counts), sum(count[1] for count in counts)
    source = "rows and characters of the files"
    return estimated(data, examples, characters, source, pairs=pairs) if examples else None


def _data_file(source: str, split: str) -> Path | None:
    """The JSON file of a source that is on this machine."""
    if source.startswith(_SAMPLE):
        path = Path(lft.__file__).parent / "data" / "samples" / f"{source.removeprefix(_SAMPLE)}.jsonl"
        return path if path.is_file() else None
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.glob("*.json*") if split in p.stem)
        return found[0] if len(found) == 1 else None
    return path if path.is_file() and path.suffix in (".json", ".jsonl") else None


def _measured(file: Path, split: str) -> tuple[int, int]:
    """Examples of a split and characters of their texts; a large file is judged by its beginning."""
    rows = characters = 0
    for row in _rows(file):
        if isinstance(row, dict) and row.get("split", split) == split:
            rows += 1
            characters += _characters({key: value for key, value in row.items() if key != "split"})
    share = min(_READ_AT_MOST / max(file.stat().st_size, 1), 1.0) if file.suffix == ".jsonl" else 1.0
    return round(rows / share), round(characters / share)


def _rows(file: Path) -> Iterator[Any]:
    """The rows of a JSON file; none where it is damaged, which training says better."""
    try:
        if file.suffix == ".jsonl":
            with file.open("rb") as lines:
                for line in lines.readlines(_READ_AT_MOST):
                    yield json.loads(line)
        elif file.stat().st_size <= 8 * _READ_AT_MOST:
            content = json.loads(file.read_bytes())
            yield from content if isinstance(content, list) else []
    except (OSError, ValueError):
        return


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_characters(one) for one in value.values())
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def count_amount(recipe: Recipe, cache: Path, notify: Notify) -> Amount:
    """The very rows of `lft finetune`, tokenised or from the token cache: exact, and slow to begin.

    Raises:
        RecipeError: the data is streamed, so there is nothing to count.
    """
    from lft.errors import RecipeError
    from lft.plan.amount import counted

    if recipe.data.streaming:
        raise RecipeError("a stream has no length, so --count has nothing to count", fix="leave --count out")
    from lft.cli.common import quiet_libraries

    quiet_libraries()
    from lft.train.inputs import open_base, train_rows

    _, tokenizer, form = open_base(recipe, cache, notify)
    rows: Any = train_rows(recipe, tokenizer, form, cache, notify)[0]
    return counted(recipe.data, rows.prepared.lengths, len(rows))


def this_device() -> Device:
    """The device of this machine, as its driver reports it; the processor where there is none."""
    from lft.plan.hardware import MIB, cpu_device, nearest_device

    if Path("/dev/nvidiactl").exists():
        command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        try:
            first = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[
                0
            ]
            name, memory = first.rsplit(",", 1)
            return nearest_device(name.strip(), int(memory) * MIB)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            pass  # a driver that does not answer: the processor is what is left
    return cpu_device(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.cpu_count() or 1)
