"""Run folders made without training: what `lft runs` and the report read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lft.files import new_folder
from lft.recipe import to_yaml
from lft.recipe.schema import Recipe
from lft.train.folder import Lock, RunFolder
from lft.train.record import SplitCounts, State, recorded, write_data

LOCK = Lock(
    base="org/base",
    revision="a" * 40,
    weights="b" * 64,
    tokenizer="c" * 64,
    data="d" * 64,
    validation="e" * 64,
    seed=42,
    device="cpu",
    dtype="float32",
    threads=1,
    adapters_below=(),
    packages={"lft": "0.1.0", "torch": "2.13.0"},
    python="CPython 3.11.7",
)
COUNTS = SplitCounts(
    rows=20,
    full=0.9,
    examples=24,
    kept=20,
    tokens=1200,
    supervised=900,
    dropped=3,
    truncated=2,
    tokens_cut=17,
    split=0,
    empty=1,
    retokenised=5,
    longest=99,
)


def recipe(**train: Any) -> Recipe:
    return Recipe.model_validate(
        {"name": "small", "base": {"model": "org/base"}, "data": {"train": "org/data"}, "train": train}
    )


def step_record(step: int, loss: float, **more: Any) -> dict[str, Any]:
    numbers = {"learning_rate": 1e-3, "grad_norm": 0.5, "tokens_per_second": 100.0, "memory": 2**30}
    return {"step": step, "epoch": 1.0, "loss": loss, **numbers, **more}


def bare_run(runs: Path, name: str = "small", stamp: str = "20260102-030405", chosen: Recipe | None = None) -> Path:
    """A run that has nothing but its recipe."""
    path = runs / name / stamp
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(to_yaml(chosen or recipe()), encoding="utf-8")
    return path


def log_metrics(path: Path, *records: dict[str, Any]) -> None:
    for record in records:
        RunFolder(path).append("metrics.jsonl", record)


def sample(path: Path, prompt: str, text: str, when: str = "before", finished: bool = True) -> None:
    RunFolder(path).append("samples.jsonl", {"when": when, "prompt": prompt, "text": text, "finished": finished})


def checkpoint(path: Path, name: str) -> Path:
    """A sealed folder of a run, such as checkpoints/step-4 or adapter."""
    with new_folder(path / name) as draft:
        (draft / "weights.safetensors").write_bytes(b"1234")
    return path / name


def finished_run(runs: Path, losses: Sequence[float] = (3.0, 2.5, 2.0), **kw: Any) -> Path:
    """A run that trained four steps and ended well; ``losses`` are its evaluations at steps 0, 2 and 4."""
    path = bare_run(runs, **kw)
    RunFolder(path).write_lock(LOCK)
    write_data(path, {"train": COUNTS, "validation": COUNTS})
    with recorded(path, 4) as session:
        log_metrics(path, {"step": 0, "eval_loss": losses[0]})
        for step in range(1, 5):
            log_metrics(path, step_record(step, 3.0 - step / 10))
            if step % 2 == 0:
                log_metrics(path, {"step": step, "eval_loss": losses[step // 2]})
        for when in ("before", "after"):
            sample(path, "a prompt", f"text {when}", when)
        checkpoint(path, "checkpoints/step-4")
        checkpoint(path, "adapter")
        session.done = 4
    return path


def write_state(path: Path, **values: Any) -> None:
    began = "2026-01-02T03:04:05+00:00"
    state = State("running", "", 4, None, began, None, 0.0, 1, 0)
    (path / "state.json").write_text(json.dumps({**asdict(state), **values}), encoding="utf-8")
