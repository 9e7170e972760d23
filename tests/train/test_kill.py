"""A run that is killed at any moment, as often as it may be, goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from lft.recipe.schema import Recipe
from lft.train.events import Note
from lft.train.folder import checkpoint_steps
from tests.forks import Forked
from tests.runs import material, metrics, recipe, trained, weights
from tests.train.attempts import SAVING, Moment, Place, attempt

KILLS = 20
EPOCHS, EXAMPLES = 12, 40  # three steps an epoch


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("kill"), train=EXAMPLES, llama={})


def chosen(stuff: Path, runs: Path, kind: str, epochs: int = EPOCHS) -> Recipe:
    """Packed rows, several micro batches a step, dropout where the method has it, evaluations, kept best."""
    return recipe(
        stuff,
        runs,
        data={"packing": True},
        method={"kind": kind, "dropout": 0.0 if kind == "full" else 0.1},
        train={
            "epochs": epochs,
            "global_batch_size": 4,
            "micro_batch_size": 2,
            "save_every": 2,
            "eval_every": 3,
            "keep_last": 2,
            "keep_best": True,
            "sample_prompts": ["the red cat"],
            "sample_tokens": 4,
        },
    )


@dataclass(frozen=True)
class Ended:
    """A run that came to its end: its traces, and what it counted if it did so at the first attempt."""

    place: Place
    counted: dict[str, float]

    @property
    def run(self) -> Path:
        assert self.place.run is not None
        return self.place.run

    @property
    def result(self) -> Path:
        return next(path for path in (self.run / "adapter", self.run / "model") if path.is_dir())


def through(stuff: Path, folder: Path, kind: str, fatal: list[Moment], epochs: int = EPOCHS) -> tuple[Ended, int]:
    """The run killed at these moments, one an attempt, then left alone; and how many attempts were killed."""
    place, killed = Place(folder), 0
    folder.mkdir()
    recipe_of_all = chosen(stuff, folder / "runs", kind, epochs)
    for number, moment in enumerate(fatal):
        code = Forked(attempt, recipe_of_all, stuff / "cache", place, number, moment).code()
        assert code in (0, -signal.SIGKILL), f"attempt {number}, to be killed at {moment}, ended with {code}"
        killed += code != 0
    counted = Forked(attempt, recipe_of_all, stuff / "cache", place, len(fatal), None).result()
    return Ended(place, counted), killed


def moments(whole: dict[str, float], count: int, seed: int) -> list[Moment]:
    """Moments of every kind in turn, each within one and a half times what lies between two checkpoints."""
    chance, saves, found = random.Random(seed), EPOCHS * 3 // 2, []
    for kind in islice(cycle(("step", "tensors", "seconds", "fsync", "evaluate", "replace", "remove")), count):
        reach = 1.5 * whole[kind] / saves
        number = chance.uniform(0.1, reach) if kind == "seconds" else chance.randint(1, max(1, int(reach)))
        found.append(Moment(kind, number))
    return found


def require_alike(killed: Ended, whole: Ended) -> None:
    """Weights, metrics, order of examples, and what is kept on disk."""
    assert weights(killed.result) == weights(whole.result)
    assert metrics(killed.run) == metrics(whole.run)
    assert (killed.run / "samples.jsonl").read_text() == (whole.run / "samples.jsonl").read_text()
    assert batches(killed.place) == batches(whole.place)
    steps = [[step for step, _ in checkpoint_steps(one.run / "checkpoints")] for one in (killed, whole)]
    assert steps[0] == steps[1]
    left = [path for folder in (killed.run, killed.run / "checkpoints") for path in folder.iterdir()]
    assert not [path.name for path in left if path.name.startswith(".")]


def batches(place: Place) -> dict[int, list[list[int]]]:
    """Examples of each micro batch by step, from the last attempt at that step; all attempts must agree on them."""
    found: dict[int, list[list[int]]] = {}
    by_attempt: dict[tuple[int, int], list[list[int]]] = {}
    for line in place.seen:
        by_attempt.setdefault((line["attempt"], line["step"]), []).append(line["examples"])
    for (_, step), seen in sorted(by_attempt.items()):
        before, found[step] = found.get(step, []), seen
        shorter = min(len(before), len(seen))
        assert before[:shorter] == seen[:shorter]
    return found


def require_each_example_once_an_epoch(place: Place, epochs: int) -> None:
    counts = Counter(number for step in batches(place).values() for batch in step for number in batch)
    del counts[-1]  # blank rows
    assert len(counts) == EXAMPLES
    assert set(counts.values()) == {epochs}


def test_a_run_killed_in_a_step_in_an_evaluation_and_in_a_save_ends_as_if_it_had_not_been(
    stuff: Path, tmp_path: Path
) -> None:
    whole, _ = through(stuff, tmp_path / "whole", "lora", [], epochs=2)
    fatal = [Moment("step", 7), Moment("fsync", 15), Moment("evaluate", 1)]
    killed, count = through(stuff, tmp_path / "killed", "lora", fatal, epochs=2)
    assert count == 3
    require_alike(killed, whole)
    require_each_example_once_an_epoch(killed.place, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_run_killed_at_twenty_moments_ends_as_if_it_had_not_been(stuff: Path, tmp_path: Path, kind: str) -> None:
    whole, _ = through(stuff, tmp_path / "whole", kind, [])
    assert all(whole.counted[kind] > 3 for kind in (*SAVING, "step", "evaluate"))
    killed, count = through(stuff, tmp_path / "killed", kind, moments(whole.counted, KILLS, seed=11))
    assert count == KILLS
    require_alike(killed, whole)
    require_each_example_once_an_epoch(killed.place, EPOCHS)


def test_a_damaged_checkpoint_is_passed_over_and_what_a_killed_process_left_is_swept(
    stuff: Path, tmp_path: Path
) -> None:
    asked = chosen(stuff, tmp_path, "lora", epochs=2)
    run = trained(asked, stuff / "cache").outcome.folder
    result, told = weights(run / "adapter"), metrics(run)
    steps = [step for step, _ in checkpoint_steps(run / "checkpoints")]
    damaged = run / "checkpoints" / f"step-{steps[0]}" / "optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (run / "checkpoints" / ".step-8.draft.abc").mkdir()
    (run / ".adapter.draft.abc").mkdir()
    (run / ".adapter.old.abc").mkdir()
    (run / "adapter").rename(run / ".adapter.old.abc" / "was")  # it was being replaced
    shown = [event.text for event in trained(asked, stuff / "cache", run).shown if isinstance(event, Note)]
    assert f"step {steps[0]} skipped: optimizer.pt is damaged" in shown
    assert f"going on from step {steps[1]}" in shown
    assert (weights(run / "adapter"), metrics(run)) == (result, told)
    assert not [path.name for path in (*run.iterdir(), *(run / "checkpoints").iterdir()) if path.name.startswith(".")]
