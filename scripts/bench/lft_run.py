"""One `lft` run for the benchmark: the code path of `lft finetune`, its numbers as one JSON line.

    python scripts/bench/lft_run.py measure BEGAN RECIPE.yaml CACHE [key.path=value ...]
    python scripts/bench/lft_run.py ceiling BEGAN RECIPE.yaml CACHE [key.path=value ...]   and the peak of this process
    python scripts/bench/lft_run.py profile BEGAN RECIPE.yaml CACHE [key.path=value ...]

BEGAN is the monotonic clock when this process was started. With a launch.engine, `measure` starts processes that run
`lft_run.py work BEGAN JOB`, and the first of them tells the numbers.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Clock

if TYPE_CHECKING:
    from lft.recipe.schema import Recipe
    from lft.train.inputs import Inputs
    from lft.train.run import Outcome

FIRST, LAST = 2, 6  # steps between which the profiler looks


def main(what: str, began: str, *arguments: str) -> None:
    from lft.cli.common import quiet_libraries

    quiet_libraries()
    if what == "work":
        found = worked(float(began), *arguments)
    else:
        path, cache, *overrides = arguments
        told = {"measure": measured, "ceiling": with_ceiling, "profile": profiled}[what]
        found = told(float(began), path, Path(cache), overrides)
    if found is not None:
        print(json.dumps(found))


def measured(began: float, path: str, cache: Path, overrides: list[str]) -> dict[str, Any] | None:
    """Speed, memory, loss and time to the first step of a whole run; None where other processes tell them."""
    from lft.recipe import load_recipe

    recipe = load_recipe(Path(path), overrides).recipe
    if recipe.launch.engine != "none":
        launched(began, recipe, cache)
        return None
    listener = Listener(began)
    return listener.told(trained(inputs_of(path, cache, overrides), listener))


def with_ceiling(began: float, path: str, cache: Path, overrides: list[str]) -> dict[str, Any]:
    """The same; then this run's floating-point operations, and the peak of this process."""
    listener = Listener(began)
    inputs = inputs_of(path, cache, overrides)
    outcome = trained(inputs, listener)
    found = listener.told(outcome)
    from ceiling import measured_peak, run_flops

    from lft.train.batches import PackedRows

    assert isinstance(inputs.rows, PackedRows), "the benchmark's recipes do not stream"
    prepared, epochs = inputs.rows.prepared, inputs.recipe.train.epochs
    passes = outcome.steps * inputs.plan.accumulation
    return {
        **found,
        "flops": run_flops(prepared.lengths, prepared.counts.supervised) * epochs,
        "peak": asdict(measured_peak(round(prepared.counts.tokens * epochs / passes))),
    }


def worked(began: float, job: str) -> dict[str, Any] | None:
    """One process of several, as `lft.cli.worker` is; the first one's figures."""
    from lft.train.launch import Job
    from lft.train.worker import work

    listener = Listener(began)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local, attempt = (int(os.environ[name]) for name in names)
    outcome = work(Job(Path(job)), rank, size, local, attempt, listener)
    return listener.told(outcome) if rank == 0 else None


def profiled(_: float, path: str, cache: Path, overrides: list[str]) -> dict[str, Any]:
    """Share of each group of operators in the time of a few steps."""
    from breakdown import Watch

    from lft.train.events import Step

    watch = Watch()

    def listen(event: object) -> None:
        if isinstance(event, Step) and event.step == FIRST:
            watch.open()
        elif isinstance(event, Step) and event.step == LAST:
            watch.close()

    trained(inputs_of(path, cache, [*overrides, f"train.max_steps={LAST}"]), listen)
    return {"step": watch.seconds / (LAST - FIRST), "shares": watch.shares()}


class Listener:
    """Losses and times of a run's steps."""

    def __init__(self, began: float) -> None:
        self.clock, self.losses, self.watches = Clock(began), list[float](), False

    def __call__(self, event: object) -> None:
        from lft.train.events import Step

        if not self.watches and "lft.train.run" in sys.modules:  # lft loads the trainer when it has prepared the data
            self.clock.watch()
            self.watches = True
        if isinstance(event, Step):
            self.losses.append(event.loss)
            self.clock.step()

    def told(self, outcome: Outcome) -> dict[str, Any]:
        """The figures of the run, whose own record says how many supervised tokens an epoch has (and there is one)."""
        from lft.train.record import read_data

        counts = read_data(outcome.folder)
        assert counts is not None, "a run that ended well has its counts"
        return self.clock.told(counts["train"].supervised, outcome.seconds, self.losses)


def inputs_of(path: str, cache: Path, overrides: list[str]) -> Inputs:
    from lft.recipe import load_recipe
    from lft.train.inputs import prepare_inputs

    return prepare_inputs(load_recipe(Path(path), overrides).recipe, cache, lambda _: None)


def trained(inputs: Inputs, listen: Any) -> Outcome:
    from lft.train.run import finetune

    return finetune(inputs, listen)


def launched(began: float, recipe: Recipe, cache: Path) -> None:
    """As `lft finetune` does where the recipe asks for several processes."""
    from lft.train.launch import Node, launch

    launch(recipe, Node(), cache, None, lambda job: [__file__, "work", str(began), str(job)])


if __name__ == "__main__":
    main(*sys.argv[1:])
