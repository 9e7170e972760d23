"""What a run folder says about its adapter, for the registry: recipe, lock file, validation loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lft.adapters.store.add import RunRecord
    from lft.adapters.store.manifest import Score
    from lft.train.history import Run

_LOSS = "loss (nats/token)"


def run_history(adapter: Path) -> tuple[RunRecord | None, tuple[Score, ...]]:
    """The run that made an adapter and its evaluation; None and nothing for an adapter that lies elsewhere.

    Raises:
        InputError: the run's lock file is damaged.
    """
    from lft.train.history import Run

    folder = adapter.parent
    if adapter.name != "adapter" or not (folder / "recipe.yaml").is_file():
        return None, ()
    run = Run(folder)
    return _record(run), _scores(run)


def _record(run: Run) -> RunRecord | None:
    from lft.adapters.store.add import RunRecord
    from lft.adapters.store.manifest import Training
    from lft.errors import InputError

    lock = run.lock.value
    if lock is None:
        if (run.path / "lock.json").is_file():
            raise InputError(run.lock.problem, where=str(run.path), fix="add its adapter/ folder by another path")
        return None
    training = Training(
        None,
        None,
        lock.data,
        lock.validation,
        lock.seed,
        lock.device,
        lock.dtype,
        lock.engine,
        lock.devices,
        {"python": lock.python, **lock.packages},
    )
    return RunRecord((run.path / "recipe.yaml").read_bytes(), (run.path / "lock.json").read_bytes(), training)


def _scores(run: Run) -> tuple[Score, ...]:
    from lft.adapters.store.manifest import Score, decimal

    counts = (run.data or {}).get("validation")
    n = counts.supervised if counts else None
    last = run.metrics.last
    figures = [
        ("validation, base alone", run.metrics.before),
        ("validation", last.loss if last else None),
    ]
    return tuple(Score(suite, _LOSS, decimal(value), n, ()) for suite, value in figures if value is not None)
