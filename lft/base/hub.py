"""A model from the hub: its files at one commit, in the hub library's own cache, one clear error for each mishap."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.files import Notify, need_room
from lft.base.hub_cache import absent, cached_listing, forget, note_revision, unlisted_faults
from lft.errors import InputError, LftError, MachineError, RecipeError
from lft.files import is_disk_full
from lft.hub.access import COMMIT
from lft.hub.waits import is_unreachable, repo_listing, server_trouble

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# What a model folder needs. Never pickles; Python files only with trust_remote_code.
WANTED = (
    "*.json", "*.safetensors", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.jinja", "merges.txt",
    "vocab.*",
)  # fmt: skip
# Subfolders hold other formats; `consolidated` and the variants are second copies of the same weights.
UNWANTED = ("*/*", "consolidated*", "*.fp16.safetensors", "*.bf16.safetensors", "*.fp32.safetensors", "vocab.*.bin")
DIFF_RECORD = "diff.json"  # in a folder that holds a weight difference (lft.base.diff)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_LOGIN = "log in with `hf auth login`"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit."""

    folder: Path
    commit: str


@dataclass(frozen=True, slots=True)
class _Request:
    repo: str
    revision: str | None
    wanted: tuple[str, ...]

    def snapshot(self, *, local: bool) -> Path:
        """The hub library's answer."""
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                self.repo,
                revision=self.revision,
                allow_patterns=list(self.wanted),
                ignore_patterns=list(UNWANTED),
                local_files_only=local,
            )
        )


def fetch(repo: str, revision: str | None, *, remote_code: bool, notify: Notify) -> Snapshot:
    """The snapshot of a hub model, downloaded if it is not cached.

    A revision that is a full commit and is cached needs no network; with the hub out of reach, or offline, the cached
    commit of a branch is used and said. Raises InputError for a name, revision or access that does not work,
    MachineError for a full disk, RecipeError for remote code at a revision that can move.
    """
    if not REPO_ID.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError("neither a path that exists nor a hub id (user/name)", where=repo, fix="correct base.model")
    if remote_code and not (revision and COMMIT.fullmatch(revision)):
        raise RecipeError(
            "base.trust_remote_code runs the repository's code, so base.revision must be a full commit (40 hex digits)",
            where=repo,
            fix="write the commit that you have read into base.revision",
        )
    request = _Request(repo, revision, (*WANTED, "*.py") if remote_code else WANTED)
    try:
        folder = _fetched(request, notify)
    except LftError:
        raise
    except Exception as error:
        raise _explained(error, request) from error
    return Snapshot(folder, folder.name)


def _fetched(request: _Request, notify: Notify) -> Path:
    if request.revision and COMMIT.fullmatch(request.revision):
        cached = _cached(request)
        if cached and cached.listed and not cached.lacks:
            return cached.folder
    try:
        info = repo_listing(request.repo, request.revision, notify)
    except Exception as error:
        cached = _cached(request) if is_unreachable(error) else None
        if cached is None:
            raise
        _require_whole(cached, request)
        notify(f"the hub is out of reach; using the cached commit {cached.folder.name} of {request.repo}")
        return cached.folder
    return _complete(request, info, notify)


@dataclass(frozen=True, slots=True)
class _Cached:
    """A commit in the hub library's cache; ``listed``: what it lacks is told by the hub's own listing of it."""

    folder: Path
    lacks: tuple[str, ...]
    listed: bool


def _cached(request: _Request) -> _Cached | None:
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = request.snapshot(local=True)
    except IncompleteSnapshotError as error:
        folder = Path(error.snapshot_path)
    except LocalEntryNotFoundError:
        return None
    listing = cached_listing(request.repo, folder.name)
    if listing is not None:
        wanted = {name: listing[name] for name in _wanted(request, listing)}
        return _Cached(folder, tuple(f"{name} is missing or cut short" for name in absent(folder, wanted)), True)
    is_diff = (folder / DIFF_RECORD).is_file()  # it says itself what it is made of, when it is read
    return _Cached(folder, () if is_diff else tuple(unlisted_faults(folder)), False)


def _require_whole(cached: _Cached, request: _Request) -> None:
    if cached.lacks:
        more = f" and {len(cached.lacks) - 3} more" if len(cached.lacks) > 3 else ""
        raise InputError(
            f"the hub is out of reach, and the cached commit {cached.folder.name[:12]} is not whole: "
            f"{'; '.join(cached.lacks[:3])}{more}",
            where=request.repo,
            fix="start once with the hub in reach (without HF_HUB_OFFLINE): it fetches what is missing",
        )


def _complete(request: _Request, info: Any, notify: Notify) -> Path:
    """The folder of the commit that the hub names, with every wanted file of its listing at its size."""
    if not COMMIT.fullmatch(str(info.sha)):
        raise InputError("the hub does not say which commit this is", where=request.repo, fix="check HF_ENDPOINT")
    files = _kept(request, {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()})
    pinned = _Request(request.repo, info.sha, request.wanted)
    cached = _cached(pinned)
    lacking = absent(cached.folder, files) if cached else list(files)
    if lacking:
        _announce(pinned, sum(files[name] for name in lacking), notify)
    if cached:
        for name in lacking:
            forget(cached.folder / name)
    whole = cached is not None and cached.listed and not lacking
    folder = cached.folder if cached and whole else pinned.snapshot(local=False)  # which also keeps the listing
    if lacking := absent(folder, files):
        what = f"{', '.join(lacking[:3])} came with another size than the hub lists"
        raise InputError(what, where=request.repo, fix="start again; if that does not help, tell its owner")
    note_revision(folder, request.revision, info.sha)
    return folder


def _announce(request: _Request, size: int, notify: Notify) -> None:
    """Raise MachineError where there is no room for what is fetched; say that it is."""
    from huggingface_hub import constants

    need_room(Path(constants.HF_HUB_CACHE), size, f"downloading {request.repo}")
    notify(f"downloading {request.repo} at {request.revision} ({size / 1e9:.2f} GB)")


def _wanted(request: _Request, names: Iterable[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(names, allow_patterns=list(request.wanted), ignore_patterns=list(UNWANTED)))


def _kept(request: _Request, files: dict[str, int]) -> dict[str, int]:
    """The wanted files of a listing; InputError when they do not make a model that may be read."""
    kept = {name: files[name] for name in _wanted(request, files)}
    if any(name.endswith(".safetensors") for name in kept) and "config.json" in kept:
        return kept
    if "adapter_config.json" in files:
        raise InputError(
            "this repository holds an adapter, not a base model",
            where=request.repo,
            fix="give its base as base.model; an adapter goes under method.on_top_of",
        )
    ggufs = [name for name in files if name.endswith(".gguf")]
    if ggufs:
        raise InputError(
            "this repository holds GGUF files only", where=request.repo, fix=f"download {ggufs[0]} and give its path"
        )
    if any(name.endswith(_PICKLES) for name in files):
        raise InputError(
            "this repository has its weights only as pickles (.bin), which can run code when opened and are never read",
            where=request.repo,
            fix="choose a revision or a copy of the model with .safetensors (many have one under refs/pr/1)",
        )
    raise InputError(
        "this repository holds no config.json with safetensors weights", where=request.repo, fix="check the id"
    )


def _explained(error: Exception, request: _Request) -> LftError:
    from huggingface_hub import errors

    where = request.repo if request.revision is None else f"{request.repo} @ {request.revision}"
    if is_disk_full(error):
        return MachineError(
            "no space left while downloading", where=where, fix="free some space and start again; it goes on"
        )
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            "access is restricted by its owner", where=where, fix=f"accept its terms on its page, then {_LOGIN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = f"check the spelling; if it is private, {_LOGIN}; a local folder of that name does not exist either"
        return InputError("the hub has no such model", where=where, fix=fix)
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError("the repository has no such revision", where=where, fix="correct or remove base.revision")
    if isinstance(error, errors.OfflineModeIsEnabled):
        fix = "unset HF_HUB_OFFLINE to download it, or give a folder"
        return InputError("offline mode is on and the model is not in the cache", where=where, fix=fix)
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _explained(error.__cause__, request)
    if trouble := server_trouble(error):
        return InputError(f"{trouble[0]}, and the model is not in the cache", where=where, fix=trouble[1])
    if is_unreachable(error):
        fix = "check the connection, or give a local folder or file as base.model"
        return InputError("the hub is out of reach and the model is not in the cache", where=where, fix=fix)
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return InputError("the hub refused access", where=where, fix=_LOGIN)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"the hub's answer could not be used ({reason})", where=where, fix="try again later")
