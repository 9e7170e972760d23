"""One process of a run that has several."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import traceback
from pathlib import Path

from lft.base.device import device_and_dtype
from lft.errors import LftError, RecipeError
from lft.recipe.schema import Recipe
from lft.train.events import Event, Report
from lft.train.faults import Failure, explained
from lft.train.folder import RunFolder
from lft.train.history import recipe_values
from lft.train.inputs import Inputs, prepare_inputs
from lft.train.launch import Job
from lft.train.progress import Interruption
from lft.train.run import Outcome, finetune
from lft.train.world import World, open_world
from lft.train.zero import STAGES, join_deepspeed

STOPPING = (signal.SIGINT, signal.SIGTERM)
# Where things lie may differ between machines; what is done with them may not.
_OF_A_MACHINE = ("base.model", "data.train", "method.on_top_of", "output.runs")


def work(job: Job, rank: int, size: int, local_rank: int, attempt: int, report: Report) -> Outcome:
    """Take part in the run of a job folder; what ends it early is left there for the launcher, then raised.

    ``attempt`` counts from 0 how often the launcher has started the processes of this job.
    """
    try:
        if attempt and (hopeless := job.hopeless()):
            raise hopeless  # it would end in the same way again
        job.arrive(rank)
        watch = SignalWatch(job)
        recipe = job.recipe
        device = device_and_dtype(recipe.base.dtype).device
        limit = recipe.launch.timeout_minutes * 60
        with open_world(rank, size, local_rank, device, limit, attempt) as world:
            require_one_recipe(recipe, world)
            if recipe.launch.engine in STAGES:
                join_deepspeed(device)
            inputs = _in_turns(job, world)
            made = world.from_main(job.run)
            watch.interruption = interruption = Interruption(report, world)
            outcome = finetune(inputs, report, RunFolder(made) if made else None, world, interruption, job.made)
            if outcome.signal is not None:
                job.interrupted(outcome.signal)
            return outcome
    except Exception as error:
        told = _told(error, rank, job)
        Failure.of(rank, told, error).save(job.folder)
        raise told from error


def require_one_recipe(recipe: Recipe, world: World) -> None:
    """Raise RecipeError in every process unless all were started with the same recipe.

    Machines that believe in different numbers of machines would meet, and each divide the batch in its own way.
    """
    said = world.everyone({v.key: v.text for v in recipe_values(recipe) if v.key not in _OF_A_MACHINE})
    for rank, there in enumerate(said):
        for key, wanted in said[0].items():
            if there.get(key) != wanted:
                raise RecipeError(
                    f"the machines were not started alike: {key} is {wanted} for process 0 and {there.get(key)} for "
                    f"process {rank}",
                    fix="start the same line on every machine, each with its own --node-rank",
                )


def _told(error: Exception, rank: int, job: Job) -> LftError:
    """What ended this process, in words; what nobody foresaw leaves its traceback in the run folder."""
    try:
        return explained(error, job.run)
    except Exception:
        report = (job.run or Path(tempfile.gettempdir())) / f"fault-{rank}.txt"
        report.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        kind = f"{type(error).__name__}: {error}".splitlines()[0]
        return LftError(f"this is a fault of lft: {kind}", fix=f"please report it with {report}")


def _in_turns(job: Job, world: World) -> Inputs:
    """Inputs for everybody, prepared once: the first process, then one on each other machine, then the rest."""
    turn = 0 if world.is_main else 1 if world.local_rank == 0 else 2
    inputs: Inputs | None = None
    made = world.from_main(job.run)
    pinned = RunFolder(made).read_lock() if made else None
    for now in range(3):
        if now == turn:
            inputs = prepare_inputs(job.recipe, job.cache, _untold, pinned)
        world.meet("while the data was prepared")
    assert inputs is not None
    return inputs


def _untold(event: Event) -> None:
    """The launcher said it when it prepared the same data."""


class SignalWatch:
    """A thread that receives SIGINT and SIGTERM: a main thread that waits for other processes runs no signal handler.

    The signals must be blocked in every other thread (``lft.cli.worker`` does it before there are any). The launcher
    sends SIGTERM for two reasons: the user stops the run (finish the step, save), or another process is lost (the step
    will never be finished: end at once, as before the training and at a second signal).
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.interruption: Interruption | None = None  # as soon as there is a step to be finished
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        while True:
            number = signal.sigwait(STOPPING)
            if self.interruption is None or self.interruption.signal is not None or self.job.doomed():
                os._exit(128 + number)
            self.interruption.note(number)
