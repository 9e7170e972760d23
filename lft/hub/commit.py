"""One commit of files, on exactly what was looked at, and a look afterwards at what the hub has.

repository and branch made ──▶ looked at ──▶ one commit on that ──▶ the hub's digests compared
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.errors import InputError
from lft.files import sha256
from lft.hub.access import COMMIT, HubRef, hub_library, sign_of_life
from lft.hub.waits import Kind, Notify, patiently, repo_listing

CARD = "README.md"
Stale = Callable[[frozenset[str]], tuple[str, ...]]
"""The names of files that are there to those that would be taken for ours, which go in the same commit; raises
InputError where these files must not be written beside."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it goes to the hub."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where it goes: a branch of a repository (None: its main branch), which is made where it is not there."""

    ref: HubRef
    private: bool = False
    message: str | None = None
    kind: Kind = "model"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A commit on the hub that holds these files, as the hub itself says.

    ``removed`` are files of an earlier push; ``new`` is False where the hub had all of it already, and no commit was
    made.
    """

    commit: str
    url: str
    removed: tuple[str, ...]
    new: bool = True


def uploads_of(files: Mapping[str, Path]) -> tuple[Upload, ...]:
    """Files by the names that they have on the hub, in their order."""
    return tuple(Upload(name, path, path.stat().st_size, sha256(path)) for name, path in sorted(files.items()))


def push_files(uploads: Sequence[Upload], target: Target, message: str, stale: Stale, notify: Notify) -> Pushed:
    """Make one commit of files, and compare what the hub has then.

    Args:
        uploads: the files.
        target: repository, branch and words of the commit.
        message: of the commit, where the target has none.
        stale: what of an earlier push goes.
        notify: told what takes long.

    Raises:
        InputError: the hub does not let us write, holds something else there, was changed in the same moment, or has
            other bytes afterwards.
    """
    from huggingface_hub import HfApi

    ref, api = target.ref, HfApi()
    if ref.commit:
        raise InputError("a commit cannot be pushed to", where=str(ref), fix="give a branch with --revision")
    with hub_library(ref, "push"):
        before = _opened(api, target, notify)
        old = stale(_names(before))
        size = sum(one.size for one in uploads)
        notify(f"pushing {len(uploads)} files ({size / 1e6:.1f} MB) to {ref}")
        with sign_of_life(notify, "uploading"):
            made = _commit(api, uploads, target, message, before, old)
        after = repo_listing(ref.repo, made.oid, notify, target.kind)
    _require_same(uploads, after, ref)
    place = ref.repo if target.kind == "model" else f"{target.kind}s/{ref.repo}"
    return Pushed(made.oid, f"{api.endpoint}/{place}/tree/{ref.revision or 'main'}", old, made.oid != before.sha)


def content_digest(path: Path, like: str) -> str:
    """Hex digest of a file, of the kind of another: sha256, or the SHA-1 of a git blob (40 letters)."""
    if len(like) == 64:
        found = hashlib.sha256()
    else:
        found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _opened(api: Any, target: Target, notify: Notify) -> Any:
    """What the branch holds before, repository and branch made where they are not there."""
    ref, kind = target.ref, target.kind
    patiently(lambda: api.create_repo(ref.repo, private=target.private or None, exist_ok=True, repo_type=kind), notify)
    if ref.revision not in (None, "main"):
        api.create_branch(ref.repo, branch=ref.revision, exist_ok=True, repo_type=kind)
    info = repo_listing(ref.repo, ref.revision, notify, kind)
    if target.private and not info.private:
        raise InputError(
            "this repository is public already",
            where=str(ref),
            fix="make it private on its page, or leave out --private",
        )
    return info


def _names(info: Any) -> frozenset[str]:
    return frozenset(str(one.rfilename) for one in info.siblings or ())


def _commit(api: Any, uploads: Sequence[Upload], target: Target, message: str, before: Any, old: Sequence[str]) -> Any:
    """One commit on exactly what was looked at: where somebody else was faster the hub refuses it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [CommitOperationAdd(one.name, str(one.path)) for one in uploads]
    operations += [CommitOperationDelete(name) for name in old]
    return api.create_commit(
        target.ref.repo,
        operations,
        commit_message=target.message or message,
        repo_type=target.kind,
        revision=target.ref.revision,
        parent_commit=before.sha if COMMIT.fullmatch(str(before.sha)) else None,
    )


def _require_same(uploads: Sequence[Upload], after: Any, ref: HubRef) -> None:
    """Raise InputError unless the hub says of every file that it has these very bytes."""
    there = {str(one.rfilename): one for one in after.siblings or ()}
    odd = []
    for one in uploads:
        found = there.get(one.name)
        digest = str((found.lfs["sha256"] if found.lfs else found.blob_id) if found else "")
        if len(digest) not in (40, 64) or content_digest(one.path, digest) != digest:
            odd.append(one.name)
    if odd:
        raise InputError(
            f"the hub has other bytes than were sent: {', '.join(odd)}",
            where=f"{ref.repo}@{after.sha}",
            fix="push again; do not use this commit",
        )
