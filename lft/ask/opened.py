"""A backend as a model that can be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lft.ask.meter import Limits
from lft.ask.request import Form, Model, Sampling
from lft.ask.schema import Backend
from lft.ask.secret import Secret
from lft.errors import RecipeError


def open_model(backend: Backend, where: str, key: str | None, cache: Path, notify: Callable[[str], None]) -> Model:
    """The model of a backend; ``where`` is its key in the file, ``key`` the value of its ``key_env``.

    Raises:
        RecipeError: ``key_env`` is written and there is no key; or it is a cluster's.
        InputError, MachineError: a model of this machine cannot be loaded.
    """
    if backend.kind == "vllm":
        raise RecipeError("vllm runs in builds of data sets only", where=where, fix="serve it, and write kind: openai")
    limits = limits_of(backend, where)
    if backend.kind == "transformers":
        from lft.ask.local import load_local

        return load_local(backend.model, cache, limits, backend.concurrency, notify)
    from lft.ask.endpoint import Endpoint

    return Endpoint(
        backend.model, backend.url or "", form_of(backend), _secret(backend, where, key), limits, backend.concurrency,
        backend.timeout_seconds, backend.retries, backend.requests_per_minute, backend.tokens_per_minute, notify,
    )  # fmt: skip


def limits_of(backend: Backend, where: str) -> Limits:
    """What asking a backend may cost."""
    return Limits(backend.price_in, backend.price_out, backend.budget, backend.token_budget, where)


def form_of(backend: Backend) -> Form:
    """What a served backend wants to be asked in."""
    return "chat" if backend.api == "chat" else "completion"


def _secret(backend: Backend, where: str, key: str | None) -> Secret | None:
    if backend.key_env is None:
        return None
    if not (key or "").strip():
        raise RecipeError(f"the environment variable {backend.key_env} is not set", where=where, fix="export it")
    return Secret(str(key))


def sampling_of(backend: Backend) -> Sampling:
    """How a backend's tokens are chosen."""
    return Sampling(backend.temperature, backend.top_p, backend.max_tokens)
