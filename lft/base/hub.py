"""A model from the hub: its files at one commit, in the hub library's own cache, one clear error for each mishap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.files import Notify, need_room
from lft.base.headers import INDEX, SINGLE
from lft.errors import InputError, LftError, MachineError, RecipeError
from lft.files import is_disk_full

COMMIT = re.compile(r"[0-9a-f]{40}")
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
        if cached:
            return cached
    try:
        info = _ask(request)
    except Exception as error:
        if not _unreachable(error):
            raise
        cached = _cached(request)
        if cached is None:
            raise
        notify(f"the hub is out of reach; using the cached commit {cached.name} of {request.repo}")
        return cached
    files = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    kept = _kept(request, files)
    if _cached(_Request(request.repo, info.sha, request.wanted)) is None:
        size = sum(files[name] for name in kept)
        _room(size, request.repo)
        notify(f"downloading {request.repo} at {info.sha} ({size / 1e9:.2f} GB)")
    return request.snapshot(local=False)


def _ask(request: _Request) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(request.repo, revision=request.revision, files_metadata=True)


def _cached(request: _Request) -> Path | None:
    """The cached snapshot if it holds a whole model or a weight difference."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = request.snapshot(local=True)
    except LocalEntryNotFoundError:
        return None
    weights = any((folder / name).exists() for name in (SINGLE, INDEX, DIFF_RECORD))
    return folder if weights and (folder / "config.json").exists() else None


def _room(size: int, repo: str) -> None:
    from huggingface_hub import constants

    need_room(Path(constants.HF_HUB_CACHE), size, f"downloading {repo}")


def _kept(request: _Request, files: dict[str, int]) -> list[str]:
    """The wanted files of a listing; InputError when they do not make a model that may be read."""
    from huggingface_hub.utils import filter_repo_objects

    kept = list(filter_repo_objects(files, allow_patterns=list(request.wanted), ignore_patterns=list(UNWANTED)))
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


def _unreachable(error: BaseException) -> bool:
    """Whether the hub gave no usable answer: offline mode, no connection, a timeout or a server at fault."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return bool(error.response.status_code >= 500 or error.response.status_code == 429)
    known = isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError | ConnectionError | TimeoutError)
    # The HTTP library's own errors (its name changed between versions of the hub library).
    return known or any(c.__name__ in ("TransportError", "RequestError") for c in type(error).__mro__)


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
    if _unreachable(error):
        fix = "check the connection, or give a local folder or file as base.model"
        return InputError("the hub is out of reach and the model is not in the cache", where=where, fix=fix)
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return InputError("the hub refused access", where=where, fix=_LOGIN)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"the hub's answer could not be used ({reason})", where=where, fix="try again later")
