"""How long the hub is waited for: one limit and one patience for whoever asks it, and when it counts as out of reach.

All goes through the hub library, so a token, a mirror (HF_ENDPOINT) and offline mode (HF_HUB_OFFLINE) are its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

Kind = Literal["model", "dataset"]  # of a repository
Notify = Callable[[str], None]
ANSWER: Final = 30.0  # seconds for the answer to a question (a listing, a commit)
_SILENCE: Final = 120.0  # seconds without a byte after which a server is taken for gone
_WAITS: Final = 3  # how often a busy server is asked again
_LONGEST_WAIT: Final = 60.0  # seconds; a server that wants more is busy
T = TypeVar("T")


def limit_waits() -> None:
    """Let the hub library wait for minutes at most: for a byte its own limit is none, for a busy hub what that says."""
    from huggingface_hub import get_session

    session = get_session()
    session.timeout = _SILENCE
    hooks = session.event_hooks["response"]
    if _require_short_wait not in hooks:
        session.event_hooks = {**session.event_hooks, "response": [*hooks, _require_short_wait]}


def _require_short_wait(response: Any) -> None:
    """Raise the library's error for an answer that says to come back much later: it would sleep as long as that."""
    from huggingface_hub.utils import hf_raise_for_status

    said = str(response.headers.get("Retry-After", ""))
    if response.status_code in (429, 503) and said.isdigit() and int(said) > _LONGEST_WAIT:
        response.read()
        hf_raise_for_status(response)


def repo_listing(repo: str, revision: str | None, notify: Notify, kind: Kind = "model") -> Any:
    """The hub's answer on a repository, with its files' sizes and digests.

    Raises:
        Exception: the hub library's own.
    """
    from huggingface_hub import HfApi

    limit_waits()
    api = HfApi()
    ask = api.model_info if kind == "model" else api.dataset_info
    return patiently(lambda: ask(repo, revision=revision, files_metadata=True, timeout=ANSWER), notify)


def patiently(ask: Callable[[], T], notify: Notify) -> T:
    """The answer to a question; a server that is busy or stumbles is asked again, as soon as it says itself.

    Raises:
        Exception: the hub library's own, when it does not get better.
    """
    for tried in range(_WAITS):
        try:
            return ask()
        except Exception as error:
            wait = _pause(error, tried)
            if wait is None:
                raise
            if wait > 2:
                notify(f"the hub asks to wait {wait:.0f} s")
            time.sleep(wait)
    return ask()


def _pause(error: Exception, tried: int) -> float | None:
    """Seconds after which it may be asked again; None where that makes no sense."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in (408, 429, 500, 502, 503, 504):
        return None
    wait = _asked_wait(error)
    if wait is None:
        return 0.5 * (1 << tried)
    return wait if wait <= _LONGEST_WAIT else None


def _asked_wait(error: Any) -> float | None:
    said = str(error.response.headers.get("Retry-After", ""))
    return float(said) if said.isdigit() else None


def is_unreachable(error: BaseException) -> bool:
    """Whether the hub gave no usable answer: offline mode, no connection, a timeout or a server at fault."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return bool(error.response.status_code >= 500 or error.response.status_code in (408, 429))
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return is_unreachable(error.__cause__)
    known = isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError | ConnectionError | TimeoutError)
    # The HTTP library's own errors (its name changed between versions of the hub library).
    return known or any(kind.__name__ in ("TransportError", "RequestError") for kind in type(error).__mro__)


def server_trouble(error: BaseException) -> tuple[str, str] | None:
    """What is the matter with a hub that answers and cannot serve, and what to do; None for any other error."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return None
    status = int(error.response.status_code)
    if status == 429:
        wait = _asked_wait(error)
        fix = f"start again in {wait:.0f} s" if wait else "start again in some minutes"
        return "the hub has had too many requests from here", fix
    return (f"the hub is out of order (status {status})", "start again later") if status >= 500 else None
