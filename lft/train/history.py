"""A run folder read back, whole or not: each part is there, or the reason why it is not.

Nothing here needs torch. A run may be going on while it is read, may have been killed in the middle of a line, and may
come from another version of lft.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from lft.errors import InputError, LftError
from lft.files import MANIFEST, broken_files, json_lines
from lft.recipe import load_recipe
from lft.recipe.schema import Recipe
from lft.train.folder import Lock, RunFolder, checkpoint_steps
from lft.train.record import SplitCounts, State, Word, is_held, read_data, read_state

REPORT, RESULTS = "report.html", ("adapter", "model")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a run; None with the reason where it cannot be had."""

    value: T | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A logged optimizer step, as in ``lft.train.events.Step``; what is not a number there is None here."""

    step: int
    epoch: float | None
    loss: float | None
    grad_norm: float | None
    learning_rate: float | None
    tokens_per_second: float | None
    memory: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Validation loss in nats per supervised token, after a step."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """metrics.jsonl; ``unreadable`` lines are those that are no record (a killed run may leave half a line)."""

    steps: tuple[StepRecord, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    unreadable: int = 0

    @property
    def before(self) -> float | None:
        """Validation loss before the first step."""
        return next((found.loss for found in self.evaluations if found.step == 0), None)

    @property
    def last(self) -> Evaluation | None:
        """The newest evaluation after a step."""
        return next((found for found in reversed(self.evaluations) if found.step), None)

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the lowest loss."""
        finite = [found for found in self.evaluations if math.isfinite(found.loss)]
        return min(finite, key=lambda found: found.loss, default=None)

    @property
    def fall(self) -> float | None:
        """Share by which the validation loss fell from before the first step to the newest evaluation."""
        if self.before is None or self.last is None or not self.before:
            return None
        fall = (self.before - self.last.loss) / self.before
        return fall if math.isfinite(fall) else None

    @property
    def speed(self) -> float | None:
        """Median of the supervised tokens per second."""
        return median(known) if (known := [s.tokens_per_second for s in self.steps if s.tokens_per_second]) else None

    @property
    def memory(self) -> float | None:
        """Peak bytes."""
        return max((step.memory for step in self.steps if step.memory), default=None)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """An answer to a sample prompt; ``finished`` is False where it was cut at ``train.sample_tokens``."""

    when: str
    prompt: str
    text: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """A folder with a manifest (a checkpoint, the adapter) and what does not agree with it; nothing means whole."""

    path: Path
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands, and why where that is not plain."""

    word: Word
    why: str = ""


@dataclass(frozen=True)
class Run:
    """A run folder; its parts are read when they are asked for."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's last part: the time at which the run began."""
        return self.path.absolute().name

    @cached_property
    def state(self) -> State | None:
        """state.json; None where it is not there or cannot be read."""
        return read_state(self.path)

    @cached_property
    def status(self) -> Status:
        """How the run stands, checked against the process that works on it."""
        if self.state is None:
            done = any((self.path / name / MANIFEST).is_file() for name in RESULTS)
            return Status("finished" if done else "interrupted", "the run has no record of its state")
        if self.state.word != "running":
            return Status(self.state.word, self.state.why)
        going = is_held(self.path)
        if going is None:
            return Status("running", "by its own word; this file system cannot tell whether it still does")
        return Status("running") if going else Status("interrupted", "its process was killed or its machine stopped")

    @cached_property
    def recipe(self) -> Part[Recipe]:
        """The resolved recipe."""
        try:
            return Part(load_recipe(self.path / "recipe.yaml").recipe)
        except LftError as error:
            return Part(None, f"recipe.yaml cannot be read by this version of lft: {error.what}")

    @cached_property
    def lock(self) -> Part[Lock]:
        """What the run depends on."""
        if not (self.path / "lock.json").is_file():
            return Part(None, "there is no lock.json")
        try:
            return Part(RunFolder(self.path).read_lock())
        except LftError as error:
            return Part(None, error.what)

    @cached_property
    def data(self) -> dict[str, SplitCounts] | None:
        """Counts of each split; None where none were recorded."""
        return read_data(self.path)

    @cached_property
    def metrics(self) -> Metrics:
        """Losses by step."""
        return _metrics(*_records(self.path / "metrics.jsonl"))

    @cached_property
    def samples(self) -> tuple[SampleRecord, ...]:
        """Answers to the recipe's sample prompts."""
        records, _ = _records(self.path / "samples.jsonl")
        texts = [record for record in records if isinstance(record.get("text"), str)]
        return tuple(
            SampleRecord(str(r.get("when", "")), str(r.get("prompt", "")), r["text"], r.get("finished") is not False)
            for r in texts
        )

    @cached_property
    def checkpoints(self) -> tuple[Saved, ...]:
        """``step-N`` folders, newest first, each checked against its manifest (reads every byte of them)."""
        return tuple(_saved(path) for _, path in checkpoint_steps(self.path / "checkpoints"))

    @cached_property
    def result(self) -> Saved | None:
        """What came out (an adapter, or a whole model), checked against its manifest; None where nothing did yet."""
        return next((_saved(path) for name in RESULTS if (path := self.path / name).is_dir()), None)

    @property
    def steps(self) -> tuple[int, int | None]:
        """Optimizer steps done, and planned where that is known."""
        logged = self.metrics.steps[-1].step if self.metrics.steps else 0
        if self.state is None:
            return logged, None
        return (logged if self.state.done is None else self.state.done), self.state.planned


@dataclass(frozen=True, slots=True)
class Value:
    """A recipe's value under its dotted key; ``default`` says whether the schema's default is the same."""

    key: str
    text: str
    default: bool


def recipe_values(recipe: Recipe) -> tuple[Value, ...]:
    """Every value of a recipe in the order of the schema."""
    return tuple(_values(recipe, ""))


def find_runs(root: Path) -> list[tuple[str, Path]]:
    """All runs under a folder as ``(name/time, path)``, newest first; it does not look inside runs."""
    found = []
    for folder, below, files in os.walk(root):
        if "recipe.yaml" in files:
            below.clear()
            if (path := Path(folder)) != root:
                found.append((path.relative_to(root).as_posix(), path))
        below[:] = [name for name in below if not name.startswith(".")]
    return sorted(found, key=lambda run: (run[1].name, run[0]), reverse=True)


def find_run(asked: str, root: Path) -> Run:
    """The run that is meant: a folder, ``name/time`` or a time under ``root``, or a name for its newest run.

    Raises:
        InputError: there is no such run; the message has the nearest names.
    """
    places = [Path(asked), root / asked]
    for place in places:
        if os.path.isfile(place / "recipe.yaml"):
            return Run(place)
    for place in places:
        if newest := _runs_in(place):
            return Run(newest[0])
    known = find_runs(root)
    by_time = [path for name, path in known if path.name == asked]
    if len(by_time) == 1:
        return Run(by_time[0])
    raise InputError(f"no such run; {_nearest_runs(asked, known, root)}", where=asked, fix="lft runs list")


def _runs_in(folder: Path) -> list[Path]:
    """Runs directly in a folder, newest first."""
    try:
        return sorted((file.parent for file in folder.glob("*/recipe.yaml")), reverse=True)
    except (OSError, ValueError):
        return []


def _nearest_runs(asked: str, known: list[tuple[str, Path]], root: Path) -> str:
    if not known:
        return f"there are no runs under {root}"
    names = dict.fromkeys(name for full, path in known for name in (full, full.removesuffix(f"/{path.name}")))
    close = difflib.get_close_matches(asked.removeprefix(f"{root}/")[:200], names, n=3, cutoff=0.5)
    if close:
        return f"nearest: {', '.join(close)}"
    shown = [name for name, _ in known[:3]]
    return f"the newest {'is' if len(shown) == 1 else 'are'} {', '.join(shown)}"


def _values(section: BaseModel, above: str) -> Iterator[Value]:
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{above}{key}.")
        else:
            same = not field.is_required() and value == field.get_default(call_default_factory=True)
            yield Value(above + key, _text(value), same)


def _text(value: Any) -> str:
    """A value as a person would write it; texts in lists are quoted as JSON does."""
    return value if isinstance(value, str) else json.dumps(to_jsonable_python(value), ensure_ascii=False)


def _saved(path: Path) -> Saved:
    try:
        return Saved(path, tuple(broken_files(path)))
    except OSError as error:
        return Saved(path, (f"it cannot be read ({error.strerror})",))


def _records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a log; one that cannot be read has none."""
    try:
        return json_lines(path)
    except OSError:
        return [], 0


def _metrics(records: list[dict[str, Any]], unreadable: int) -> Metrics:
    """Records in order; where a run was resumed from an earlier step, what came after that step is superseded."""
    steps: list[StepRecord] = []
    evaluations: list[Evaluation] = []
    for record in records:
        at, loss = record.get("step"), _number(record, "eval_loss")
        if type(at) is not int or (loss is None and "loss" not in record):
            unreadable += 1
        elif loss is not None:
            while evaluations and evaluations[-1].step >= at:
                evaluations.pop()
            evaluations.append(Evaluation(at, loss))
        else:
            while steps and steps[-1].step >= at:
                steps.pop()
            while evaluations and evaluations[-1].step >= at:
                evaluations.pop()
            steps.append(_step(at, record))
    return Metrics(tuple(steps), tuple(evaluations), unreadable)


def _step(at: int, record: dict[str, Any]) -> StepRecord:
    names = ("epoch", "loss", "grad_norm", "learning_rate", "tokens_per_second", "memory")
    return StepRecord(at, *(_number(record, name) for name in names))


def _number(record: dict[str, Any], key: str) -> float | None:
    value = record.get(key)
    if type(value) is int:
        return float(value) if abs(value) < 2**63 else None
    return value if type(value) is float else None
