"""How the hub is spoken to: names of repositories, signs of life, one clear error for each mishap."""

from __future__ import annotations

import os
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from lft.errors import InputError, LftError, MachineError
from lft.files import is_disk_full
from lft.hub.waits import Notify, is_unreachable, limit_waits, server_trouble

SCHEME: Final = "hub:"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PART: Final = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_REPO: Final = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_REVISION: Final = re.compile(r"[\w][\w./+-]{0,254}", re.ASCII)
_LOGIN: Final = "log in with `hf auth login`, or set HF_TOKEN"
_BEAT: Final = 20.0  # seconds between two signs of life


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository, and the branch, tag or commit that was asked for (None: its main branch)."""

    repo: str
    revision: str | None = None

    @property
    def commit(self) -> str | None:
        """The revision where it is a full commit, which never means anything else."""
        return self.revision if self.revision and COMMIT.fullmatch(self.revision) else None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def hub_ref(written: str) -> HubRef:
    """``user/name`` or ``user/name@revision``; ``hub:`` may stand before it.

    Raises:
        InputError: it is neither.
    """
    repo, at, revision = written.removeprefix(SCHEME).partition("@")
    known = _REPO.fullmatch(repo) and ".." not in repo and "--" not in repo and len(repo) <= 96
    if not known or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise InputError(
            f"{written[:120]!r} is no repository of the hub", fix="write user/name or user/name@branch-tag-or-commit"
        )
    return HubRef(repo, revision or None)


def is_hub_ref(written: str) -> bool:
    """Whether this could be a repository of the hub, perhaps with a revision."""
    try:
        hub_ref(written)
    except InputError:
        return False
    return True


def nobody_answered(error: LftError) -> bool:
    """Whether an error says that the hub is out of reach, or that nobody may be asked; not that it said no."""
    return error.__cause__ is not None and is_unreachable(error.__cause__)


@contextmanager
def hub_library(ref: HubRef, doing: str) -> Iterator[None]:
    """The hub library without its own output; what goes wrong inside becomes one error.

    Args:
        ref: named in the error.
        doing: ``pull`` or ``push``.
    """
    _quiet()
    try:
        yield
    except LftError:
        raise
    except Exception as error:
        raise explained(error, ref, doing) from error


def _quiet() -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not False:  # False: somebody asked for them in the environment
        disable_progress_bars()
    host = urllib.parse.urlparse(constants.ENDPOINT).hostname or ""
    if "HF_HUB_DISABLE_XET" not in os.environ and not host.endswith(("huggingface.co", "hf.co")):
        constants.HF_HUB_DISABLE_XET = True  # other hubs answer Xet's questions in a way that ends in no commit at all
    limit_waits()


@contextmanager
def sign_of_life(notify: Notify, doing: str) -> Iterator[None]:
    """Say every 20 seconds that something that takes long is still under way."""
    done, began = threading.Event(), time.monotonic()

    def beat() -> None:
        while not done.wait(_BEAT):
            notify(f"{doing}, {time.monotonic() - began:.0f} s so far")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def explained(error: Exception, ref: HubRef, doing: str) -> LftError:
    """The hub library's error as one that says what happened, where, and what to do."""
    from huggingface_hub import errors

    where = str(ref)
    if is_disk_full(error):
        return MachineError(f"no space left to {doing} it", where=where, fix="free some space, then start again")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _offline(ref, doing)
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, ref, doing)
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return explained(error.__cause__, ref, doing)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _offline(ref, doing)
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # an upload's thread
        return explained(error.__cause__, ref, doing)
    if "Consistency check failed" in str(error):
        return InputError("a file came with another size than it has on the hub", where=where, fix="pull it again")
    if is_unreachable(error):
        fix = "check the connection (and HF_ENDPOINT, where it is set), then start again"
        return InputError(f"the hub is out of reach ({_first_line(error)})", where=where, fix=fix)
    return InputError(f"the hub's answer could not be used ({_first_line(error)})", where=where, fix="try again later")


def _offline(ref: HubRef, doing: str) -> InputError:
    if doing == "push":
        return InputError("offline mode is on", where=str(ref), fix="unset HF_HUB_OFFLINE to upload it")
    return InputError(
        "offline mode is on, and it is neither in the registry nor in the hub library's cache",
        where=str(ref),
        fix="unset HF_HUB_OFFLINE to download it, or `lft adapters add` a folder of it",
    )


def _refused(error: Any, ref: HubRef, doing: str) -> InputError:
    """What an HTTP status means here."""
    from huggingface_hub import errors

    where, status = str(ref), int(error.response.status_code)
    if isinstance(error, errors.GatedRepoError):
        fix = f"accept its terms on its page, then {_LOGIN}"
        return InputError("access is restricted by its owner", where=where, fix=fix)
    if isinstance(error, errors.RevisionNotFoundError):
        fix = "look at the branches and tags on its page" if doing == "pull" else "give a branch with --revision"
        return InputError("the repository has no such revision", where=where, fix=fix)
    if isinstance(error, errors.RepositoryNotFoundError) and status in (401, 404):
        if doing == "push":
            fix = f"{_LOGIN} with a token that may write to {ref.repo.partition('/')[0]}"
            return InputError("the hub does not let you write there, or there is no such user", where=where, fix=fix)
        fix = f"check the spelling; if it is private, {_LOGIN}"
        return InputError("the hub has no such repository, or does not show it to you", where=where, fix=fix)
    if status == 401:
        return InputError("the hub wants a token, or another one", where=where, fix=_LOGIN)
    if status == 403:
        right = "write to" if doing == "push" else "read"
        fix = f"use a token that may {right} {ref.repo} (hf auth list shows yours)"
        return InputError("the hub refused access", where=where, fix=fix)
    if status in (409, 412):
        what = "somebody changed the repository at the same moment"
        return InputError(what, where=where, fix="look at what they did, then push again")
    if trouble := server_trouble(error):
        return InputError(trouble[0], where=where, fix=trouble[1])
    what = f"the hub refused it ({_first_line(error)})"
    return InputError(what, where=where, fix="check the name and the revision")


def _first_line(error: BaseException) -> str:
    """The first words of an error; never more, since later lines may repeat what was sent."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:200] if lines else type(error).__name__
