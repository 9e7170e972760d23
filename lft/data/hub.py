"""Data sets of the hub and those saved by `datasets`: opened by commit, with one clear error for each way to fail."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.data.formats import KNOWN_COLUMNS
from lft.errors import InputError, MachineError
from lft.hub.access import COMMIT
from lft.hub.waits import ANSWER, is_unreachable, limit_waits, patiently

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HubRows:
    """One split of a `datasets` data set, as rows; ``digest`` stands for its content."""

    name: str
    digest: str
    columns: tuple[str, ...]
    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    def row(self, i: int) -> dict[str, Any]:
        """Row ``i`` with the columns that some format reads."""
        return dict(self.dataset[i])

    def where(self, i: int) -> str:
        """Data set and row ``i`` (counted from 1), for messages."""
        return f"{self.name} row {i + 1}"


def saved_splits(path: Path, name: str, every_column: bool = False) -> dict[str, HubRows]:
    """Splits of a folder written by ``save_to_disk``; a data set without splits is `train`.

    Rows have the columns that some format reads, or with ``every_column`` all that there are.
    """
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        what = f"the saved data set cannot be opened: {_first_line(error)}"
        raise InputError(what, where=name, fix="save it again with save_to_disk") from None
    splits = found if isinstance(found, datasets.DatasetDict) else {"train": found}
    return {str(key): _rows(data, name, _digest_of_files(data), every_column) for key, data in splits.items()}


def hub_splits(repo: str, revision: str | None, *, notify: Notify) -> dict[str, HubRows]:
    """Splits of a hub data set, downloaded (or found in the cache) at the commit that ``revision`` names."""
    builder = _builder(repo, revision, notify)
    with hub_errors(repo, revision):
        builder.download_and_prepare()
        found = builder.as_dataset()
    return {
        str(key): _rows(data, f"{repo} {key}", hashlib.sha256(f"{repo}@{builder.hash}/{key}".encode()).hexdigest())
        for key, data in found.items()
    }


def hub_streams(
    repo: str, revision: str | None, *, notify: Notify, config: str | None = None
) -> tuple[dict[str, Callable[[], Iterator[dict[str, Any]]]], str]:
    """Openers of the splits of a hub data set, each giving the rows from the start without downloading them all first.

    The second value is the commit that they are read from.
    """
    builder = _builder(repo, revision, notify, config)
    with hub_errors(repo, revision):
        found = builder.as_streaming_dataset()
    return {str(key): _opener(data, repo) for key, data in found.items()}, str(builder.hash)


def _builder(repo: str, revision: str | None, notify: Notify, config: str | None = None) -> Any:
    """The `datasets` builder of one commit; where the hub is silent, of a commit that was prepared before.

    ``load_dataset`` is not asked: it retries a dead line for half a minute, and then takes the newest data set in its
    cache, whatever commit was wanted.
    """
    import datasets

    commit = commit_of(repo, revision, notify)
    if commit is None:
        return _cached_builder(repo, revision, notify, config)
    with hub_errors(repo, revision):
        builder = datasets.load_dataset_builder(repo, config, revision=commit)
    if builder.hash != commit:
        what = f"the hub stopped answering, and the cache holds commit {str(builder.hash)[:12]}, not {commit[:12]}"
        raise InputError(what, where=repo, fix="try again")
    return builder


def _cached_builder(repo: str, revision: str | None, notify: Notify, config: str | None = None) -> Any:
    from datasets import config as settings
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    user, _, plain = repo.partition("/")
    home = Path(settings.HF_DATASETS_CACHE).expanduser() / f"{user}___{camelcase_to_snakecase(plain)}"
    wanted = revision if revision and COMMIT.fullmatch(revision) else None
    prepared = home.glob(f"{config or '*'}/*/*/dataset_info.json")
    there = sorted((info.parent for info in prepared), key=lambda p: p.stat().st_mtime)
    fits = [folder for folder in there if wanted in (None, folder.name)]
    if not fits:
        held = f" (only commit {there[-1].name[:12]})" if there else ""
        what = f"the hub cannot be reached and the data set is not in its cache{held}"
        raise InputError(what, where=repo, fix="run once with hub access, or give a file or folder of this machine")
    config_name, version, commit = fits[-1].parts[-3:]
    if wanted is None:
        notify(f"{repo}: the hub was not reached; using commit {commit[:12]} of the cache")
    return Cache(dataset_name=plain, repo_id=repo, config_name=config_name, version=version, hash=commit)


@contextmanager
def hub_errors(repo: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the hub and `datasets` raise in this block into one InputError that says what to do."""
    try:
        yield
    except _failures() as error:
        raise _as_input_error(error, repo, revision) from None


def _opener(data: Any, repo: str) -> Callable[[], Iterator[dict[str, Any]]]:
    def rows() -> Iterator[dict[str, Any]]:
        count = 0
        try:
            for row in data:
                count += 1
                yield row
        except _failures() as error:
            if count and is_unreachable(error):
                raise _lost(repo, count) from error
            raise _as_input_error(error, repo) from None

    return rows


def _lost(repo: str, rows: int) -> MachineError:
    """The line went dead in the middle of a pass: nothing is wrong with what was asked for."""
    return MachineError(
        f"the hub stopped answering after {rows:,} rows of the stream",
        where=repo,
        fix="look at the network, or fetch the data set first: data.streaming: false",
    )


def _rows(data: Any, name: str, digest: str, every_column: bool = False) -> HubRows:
    columns = tuple(data.column_names)
    known = [column for column in columns if every_column or column in KNOWN_COLUMNS]
    # Without any column a data set has no rows either; the verdict on the columns comes later.
    return HubRows(name, digest, columns, (data.select_columns(known) if known else data).with_format(None))


def commit_of(repo: str, revision: str | None, notify: Notify) -> str | None:
    """The 40 hex digits that ``revision`` stands for now; None if the hub cannot be reached."""
    from huggingface_hub import HfApi

    limit_waits()
    ask = HfApi().dataset_info
    try:
        return str(patiently(lambda: ask(repo, revision=revision, timeout=ANSWER), notify).sha)
    except _failures() as error:
        if is_unreachable(error):
            return None
        raise _as_input_error(error, repo, revision) from None


def _digest_of_files(data: Any) -> str:
    digest = hashlib.sha256()
    for file in data.cache_files:
        with open(file["filename"], "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    if data._indices is not None:  # rows chosen or reordered before saving
        digest.update(data._indices.column(0).to_numpy().tobytes())
    return digest.hexdigest()


def _failures() -> tuple[type[Exception], ...]:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    return (DatasetsError, OSError, ValueError, RuntimeError, HTTPError)


def _as_input_error(error: Exception, repo: str, revision: str | None = None) -> InputError:
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    said = str(error)
    if isinstance(error, GatedRepoError) or "is a gated dataset" in said:
        fix = "accept its terms on its hub page, then log in: hf auth login"
        return InputError("the data set is gated: access has to be asked for", where=repo, fix=fix)
    if isinstance(error, RevisionNotFoundError) or said.startswith("Revision"):
        return InputError(f"no revision `{revision}`", where=repo, fix="give a commit, tag or branch of it, or none")
    if is_unreachable(error):
        fix = "run once with hub access, or give a file or folder of this machine"
        return InputError("the hub cannot be reached and the data set is not in its cache", where=repo, fix=fix)
    if "scripts are no longer supported" in said:
        fix = "set revision: refs/convert/parquet (the hub's own conversion), or give its files"
        return InputError("the data set needs a program of its repository, which is never run", where=repo, fix=fix)
    if "Config name is missing" in said:
        names = ", ".join(re.findall(r"'([^']+)'", said.split("example of usage")[0].split("Example of usage")[0])[:8])
        fix = "download the files of one configuration and give their folder (a suite names one: config: ...)"
        return InputError(f"the data set has several configurations ({names})", where=repo, fix=fix)
    return _by_name(error, repo)


def _by_name(error: Exception, repo: str) -> InputError:
    kind = type(error).__name__
    if kind in ("RepositoryNotFoundError", "DatasetNotFoundError"):
        fix = "check the spelling; log in if it is private (hf auth login); a local path must exist"
        return InputError("no such data set on the hub, or it is private", where=repo, fix=fix)
    if kind in ("EmptyDatasetError", "DataFilesNotFoundError", "FileNotFoundError"):
        return InputError("the data set holds no data files that can be read", where=repo, fix="give another one")
    what = f"the hub data set cannot be read: {_first_line(error)}"
    return InputError(what, where=repo, fix="try again, or download it and give the folder")


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
