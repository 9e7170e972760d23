"""A build file's backend as a model that can be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lft.corpus.ask.meter import Limits
from lft.corpus.ask.request import Form, Model, Sampling
from lft.corpus.ask.secret import Secret
from lft.corpus.schema import Backend, Run
from lft.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Place:
    """What of this machine a model needs: converted bases (``cache``), jobs (``work``), executors (``run``)."""

    cache: Path
    work: Path
    run: Run


def open_model(backend: Backend, where: str, key: str | None, place: Place, notify: Callable[[str], None]) -> Model:
    """The model of a backend; ``where`` is its key in the build file, ``key`` the value of its ``key_env``.

    Raises:
        RecipeError: ``key_env`` is written and there is no key.
        InputError, MachineError: a model of this machine cannot be loaded.
    """
    limits = Limits(backend.price_in, backend.price_out, backend.budget, backend.token_budget, where)
    form: Form = "chat" if backend.api == "chat" else "completion"
    if backend.kind == "transformers":
        from lft.corpus.ask.local import load_local

        return load_local(backend.model, place.cache, limits, backend.concurrency, notify)
    if backend.kind == "vllm":
        from lft.corpus.ask.cluster import Cluster

        return Cluster(
            backend.model, place.work, place.run, form, limits, backend.concurrency, backend.timeout_seconds,
            backend.gpus, backend.context,
        )  # fmt: skip
    from lft.corpus.ask.endpoint import Endpoint

    return Endpoint(
        backend.model, backend.url or "", form, _secret(backend, where, key), limits, backend.concurrency,
        backend.timeout_seconds, backend.retries, backend.requests_per_minute, backend.tokens_per_minute, notify,
    )  # fmt: skip


def _secret(backend: Backend, where: str, key: str | None) -> Secret | None:
    if backend.key_env is None:
        return None
    if not (key or "").strip():
        raise RecipeError(f"the environment variable {backend.key_env} is not set", where=where, fix="export it")
    return Secret(str(key))


def sampling_of(backend: Backend) -> Sampling:
    """How a backend's tokens are chosen."""
    return Sampling(backend.temperature, backend.top_p, backend.max_tokens)
