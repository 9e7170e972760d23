"""A build file's backend as a model that can be asked; vLLM's through the build's executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lft.ask.opened import form_of, limits_of, open_model
from lft.ask.request import Model
from lft.ask.schema import Backend
from lft.corpus.schema import Run


@dataclass(frozen=True, slots=True)
class Place:
    """What of this machine a model needs: converted bases (``cache``), jobs (``work``), executors (``run``)."""

    cache: Path
    work: Path
    run: Run


def open_backend(backend: Backend, where: str, key: str | None, place: Place, notify: Callable[[str], None]) -> Model:
    """The model of a backend; ``where`` is its key in the build file, ``key`` the value of its ``key_env``.

    Raises:
        RecipeError: ``key_env`` is written and there is no key.
        InputError, MachineError: a model of this machine cannot be loaded.
    """
    if backend.kind != "vllm":
        return open_model(backend, where, key, place.cache, notify)
    from lft.corpus.cluster import Cluster

    return Cluster(
        backend.model, place.work, place.run, form_of(backend), limits_of(backend, where), backend.concurrency,
        backend.timeout_seconds, backend.gpus, backend.context,
    )  # fmt: skip
