"""Tasks of lm-evaluation-harness on a model of this process; its answers as rows like any other suite's.

MMLU and its like are scored by the harness, with its prompts and its way of counting; nothing is written anew here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.ask.local import Local
from lft.errors import InputError, MachineError, RecipeError
from lft.evaluate.candidate import Candidate
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Metric, given_elsewhere, means, ratio
from lft.evaluate.result import Column

# The harness's numbers of one question, and what they are called here.
NUMBERS: Final = {"acc": "accuracy", "acc_norm": "accuracy-normalised", "exact_match": "exact-match"}


@dataclass(frozen=True, slots=True)
class Harnessed:
    """What a run of the harness gives: a row a question, a column a number, the harness's own scores by task."""

    rows: tuple[Row, ...]
    columns: Mapping[str, Column]
    scores: Mapping[str, Mapping[str, float]]
    version: str


METRICS: Final = {
    name: Metric(name, name.replace("-", " "), given_elsewhere, ratio, "higher", scale=100.0)
    for name in NUMBERS.values()
}


def harnessed(
    candidate: Candidate, tasks: Sequence[str], shots: int | None, limit: int | None, include: Path | None,
    notify: Callable[[str], None],
) -> Harnessed:  # fmt: skip
    """Run tasks of the harness.

    Args:
        candidate: a model of this process (the harness reads its probabilities).
        tasks: the harness's names, or names of task files in ``include``.
        shots: examples before each question; None takes each task's own.
        limit: questions of each task at most.
        include: a folder with task files of one's own, which are then the only ones.
        notify: told what takes long.

    Raises:
        RecipeError: the candidate is an endpoint, or a task is unknown.
        InputError: a task's data cannot be had (the hub is not there).
        MachineError: the harness is not installed.
    """
    if not isinstance(candidate.model, Local):
        raise RecipeError(
            "the harness reads probabilities, which an endpoint and vLLM do not give", fix="give the model itself"
        )
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MachineError("lm-evaluation-harness is not installed", fix="pip install 'lft[harness]'") from None
    _quiet()
    known = TaskManager(include_path=str(include) if include else None, include_defaults=include is None)
    for task in tasks:
        if task not in known.all_tasks:
            raise RecipeError(f"the harness has no task {task!r}", fix="lm-eval ls tasks shows them")
    local = candidate.model
    model = HFLM(pretrained=local.model, tokenizer=local.tokenizer, batch_size=local.batch)
    notify(f"lm-evaluation-harness {lm_eval.__version__}: {', '.join(tasks)}")
    try:
        found = lm_eval.simple_evaluate(
            model, tasks=list(tasks), num_fewshot=shots, limit=limit, task_manager=known, bootstrap_iters=0,
            log_samples=True,
        )  # fmt: skip
    except (ConnectionError, FileNotFoundError, OSError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:150]}"
        raise InputError(
            f"the data of {', '.join(tasks)} cannot be had ({reason})",
            fix="run it where the hub can be reached, or once there to fill the hub's cache",
        ) from None
    assert found is not None, "only other ranks of a distributed run get nothing"
    return _read(found, str(lm_eval.__version__))


def _read(found: Any, version: str) -> Harnessed:
    rows: list[Row] = []
    values: dict[str, list[float | None]] = {name: [] for name in NUMBERS.values()}
    for task, samples in sorted(found["samples"].items()):
        for sample in samples:
            rows.append(_row(task, sample))
            for theirs, ours in NUMBERS.items():
                values[ours].append(float(sample[theirs]) if theirs in sample else None)
    shots = sorted({f"{task} {number}-shot" for task, number in found["n-shot"].items() if task in found["samples"]})
    variant = f"lm-evaluation-harness {version}, {', '.join(shots[:3])}{' ...' if len(shots) > 3 else ''}"
    columns = {
        name: Column(name, means(numbers), {"en": variant})
        for name, numbers in values.items()
        if any(one is not None for one in numbers)
    }
    scores = {
        task: {key.partition(",")[0]: value for key, value in one.items() if isinstance(value, float)}
        for task, one in found["results"].items()
    }
    return Harnessed(tuple(rows), columns, scores, version)


def _row(task: str, sample: Mapping[str, Any]) -> Row:
    asked = str(sample["arguments"][0][0]) if sample["arguments"] else ""
    digest = hashlib.sha256(json.dumps([task, sample["doc_hash"], sample["doc_id"]]).encode()).hexdigest()
    said = json.dumps(sample["filtered_resps"], default=str)
    return Row(Item(digest, "en", task, "", asked[-2000:], "", str(sample["target"])), Output(said))


def _quiet() -> None:
    for name in ("lm_eval", "lm-eval", "evaluate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
