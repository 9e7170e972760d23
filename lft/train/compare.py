"""What differs between runs, name by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lft.train.folder import Lock
from lft.train.history import Run, recipe_values


@dataclass(frozen=True, slots=True)
class Difference:
    """A name under which runs have different values; None for a run that has none or cannot be read."""

    name: str
    values: tuple[str | None, ...]


def recipe_differences(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """Keys of the resolved recipes that differ between the runs whose recipe can be read."""
    return _differences([_recipe(run) for run in runs])


def lock_differences(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """What differs of base, data, device and versions between the runs whose lock can be read; hashes are cut at 12."""
    return _differences([_lock(run.lock.value) if run.lock.value else None for run in runs])


def comparable(runs: Sequence[Run]) -> bool | None:
    """Whether the validation losses may be compared: the same split in the same tokens. None where that is unknown."""
    locks = [run.lock.value for run in runs if run.lock.value is not None]
    known = {(lock.validation, lock.tokenizer) for lock in locks}
    return None if len(locks) < len(runs) else len(known) == 1


def _recipe(run: Run) -> dict[str, str] | None:
    return {value.key: value.text for value in recipe_values(run.recipe.value)} if run.recipe.value else None


def _lock(lock: Lock) -> dict[str, str]:
    hashes = {
        "weights": lock.weights,
        "tokenizer": lock.tokenizer,
        "training data": lock.data,
        "validation data": lock.validation or "none",
    }
    return {
        "base": lock.base + (f"@{lock.revision}" if lock.revision else ""),
        **{name: text[:12] for name, text in hashes.items()},
        "adapters below": ", ".join(lock.stack) or "none",
        "device": f"{lock.device} in {lock.dtype}",
        "threads": str(lock.threads),
        "python": lock.python,
        **lock.packages,
    }


def _differences(found: Sequence[dict[str, str] | None]) -> tuple[Difference, ...]:
    names = dict.fromkeys(name for values in found if values is not None for name in values)
    rows = [Difference(name, tuple(values.get(name) if values else None for values in found)) for name in names]
    known = [index for index, values in enumerate(found) if values is not None]
    return tuple(row for row in rows if len({row.values[index] for index in known}) > 1)
