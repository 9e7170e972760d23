"""One process of a run that has several."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lft.base.device import device_and_dtype
from lft.errors import LftError, RecipeError
from lft.recipe.schema import Recipe
from lft.train.events import Event, Report
from lft.train.faults import Failure, explained
from lft.train.folder import RunFolder
from lft.train.history import recipe_values
from lft.train.launch import Job
from lft.train.world import World, open_world
from lft.train.zero import STAGES, build_engine, join_deepspeed

if TYPE_CHECKING:
    from lft.train.inputs import Inputs
    from lft.train.progress import Interruption
    from lft.train.run import Outcome

STOPPING = (signal.SIGINT, signal.SIGTERM)
_WAKING = signal.SIGURG  # ends a wait of the main thread inside the system; without a handler it does nothing
_TRAINING = "lft.train.run"  # with torch, transformers and PEFT: what takes seconds to load
# Where things lie may differ between machines; what is done with them may not.
_OF_A_MACHINE = ("base.model", "data.train", "method.on_top_of", "output.runs")


def work(job: Job, rank: int, size: int, local_rank: int, attempt: int, report: Report) -> Outcome:
    """Take part in the run of a job folder; what ends it early is left there for the launcher, then raised.

    ``attempt`` counts from 0 how often the launcher has started the processes of this job. ``report`` is told of the
    preparation in every process, of the run in the first one.
    """
    if attempt and (hopeless := job.hopeless()):
        raise hopeless  # it would end in the same way again
    try:
        job.arrive(rank)
        watch = SignalWatch(job)
        recipe = job.recipe
        device = device_and_dtype(recipe.base.dtype).device
        limit = recipe.launch.timeout_minutes * 60
        with open_world(rank, size, local_rank, device, limit, attempt) as world:
            require_one_recipe(recipe, world)
            made = world.from_main(job.run)
            folder = RunFolder(made) if made else None
            inputs = _prepared(job, folder, world, attempt, watch, report)
            if recipe.launch.engine in STAGES:
                join_deepspeed(device)
            outcome = _trained(inputs, job, folder, world, watch, report if world.is_main else _untold)
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


def _prepared(
    job: Job, folder: RunFolder | None, world: World, attempt: int, watch: SignalWatch, report: Report
) -> Inputs:
    """Inputs for everybody, prepared once: by the first process of a machine, while the others load the libraries of
    the training; they find it in the cache, while the first one loads the libraries.
    """
    first = world.local_rank == 0
    if not first:
        import_module(_TRAINING)
        job.wait_for_data(attempt)
    from lft.train.inputs import prepare_inputs

    recipe, pinned = job.recipe, folder.read_lock() if folder else None
    with watch.writing():
        inputs = prepare_inputs(recipe, job.cache, report, pinned)
        if first:
            build_engine(recipe.launch, report)
    if first:
        job.data_is_ready(attempt)
        import_module(_TRAINING)
    world.meet("while the data was prepared")
    return inputs


def _trained(
    inputs: Inputs, job: Job, folder: RunFolder | None, world: World, watch: SignalWatch, report: Report
) -> Outcome:
    from lft.train.progress import Interruption
    from lft.train.run import finetune

    watch.interruption = interruption = Interruption(report, world)
    return finetune(inputs, report, folder, world, interruption, job.made)


def _untold(event: Event) -> None:
    """The first process says it."""


class SignalWatch:
    """A thread that receives SIGINT and SIGTERM: a main thread that waits for other processes runs no signal handler.

    The signals must be blocked in every other thread (``lft.cli.worker`` does it before there are any). The launcher
    sends SIGTERM for two reasons: the user stops the run (finish the step, save), or another process is lost (the step
    will never be finished: end at once, as before the training and at a second signal).
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.interruption: Interruption | None = None  # as soon as there is a step to be finished
        self._writes = False
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While the block runs, a first signal is a KeyboardInterrupt in it: what it has half written is removed."""
        before = signal.signal(_WAKING, self._interrupted)
        self._writes = True
        try:
            yield
        finally:
            self._writes = False
            signal.signal(_WAKING, before)

    def _interrupted(self, *_: object) -> None:
        self._writes = False
        raise KeyboardInterrupt

    def _end_writing(self) -> None:
        """Wake the main thread until it has noticed: a signal just before a wait does not end the wait."""
        while self._writes:
            signal.pthread_kill(threading.main_thread().ident or 0, _WAKING)
            if again := signal.sigtimedwait(STOPPING, 0.1):
                os._exit(128 + again.si_signo)

    def _watch(self) -> None:
        while True:
            number = signal.sigwait(STOPPING)
            if self._writes:
                self._end_writing()
            elif self.interruption is None or self.interruption.signal is not None or self.job.doomed():
                os._exit(128 + number)
            else:
                self.interruption.note(number)
