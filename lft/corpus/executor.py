"""datatrove's executors from a build file's section ``run``: this machine, SLURM or Ray. Nothing is printed.

Steps on documents run as ``run_executor(make_executor([reader, filter, writer], build.run, folder / "logs", "read"))``.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Final

from datatrove.executor.base import PipelineExecutor
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger, setup_default_logger
from datatrove.utils.stats import PipelineStats

from lft.corpus import schema
from lft.errors import MachineError

SAID: Final = "said.log"  # beside datatrove's own logs: what it and its steps say on stderr
_POLL_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 30.0  # a shared disk may show a finished task late


class _Local(LocalPipelineExecutor):  # type: ignore[misc]
    """Tasks in processes of this machine; what they say goes into the folder of logs.

    datatrove's own pool waits for ever for a worker that was killed (for its memory, mostly); this one notices.
    """

    def run(self) -> None:
        """Every task that is not done yet. Raises what a task raises, or MachineError if its process was killed."""
        if self.depends:
            self.depends.run()
        self._launched = True
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks()
        found = map(self._run_for_rank, ranks) if self.workers == 1 else self._in_processes(ranks)
        with self.logging_dir.open("stats.json", "wt") as stream:
            sum(found, start=PipelineStats()).save_to_disk(stream)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        # a copy, because steps count and must begin at nothing in every task
        fresh = copy.copy(self)
        fresh.pipeline = copy.deepcopy(self.pipeline)
        with _said_into(Path(self.logging_dir.path)):
            return LocalPipelineExecutor._run_for_rank(fresh, rank, local_rank, node_rank)

    def _in_processes(self, ranks: Sequence[int]) -> Iterator[PipelineStats]:
        context = multiprocessing.get_context("forkserver")
        # workers are forked from a process that has imported this: 0.2 s instead of 1.4 s each time
        context.set_forkserver_preload([__name__])
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            try:
                yield from [done.result() for done in [pool.submit(self._run_for_rank, rank) for rank in ranks]]
            except BrokenProcessPool:
                raise MachineError(
                    "a worker process was killed, or could not begin",
                    where=str(self.logging_dir.path),
                    fix="if memory was short, set run.workers lower or run.tasks higher; said.log there may say more",
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


def make_executor(
    steps: Sequence[PipelineStep],
    run: schema.Run,
    logging_dir: Path,
    name: str,
    depends: PipelineExecutor | None = None,
) -> PipelineExecutor:
    """The executor that takes ``run.tasks`` parts of a pipeline through its steps; ``run_executor`` starts it.

    ``logging_dir`` keeps datatrove's logs, statistics and which tasks are done: a second run over the same folder
    only does the tasks that are missing. Steps are copied into other processes, so they must be picklable.

    Raises:
        MachineError: the executor is not on this machine.
    """
    common = {"tasks": run.tasks, "workers": min(run.workers, run.tasks), "logging_dir": str(logging_dir.absolute())}
    if run.executor == "ray":
        return _ray(steps, common, depends)
    if run.slurm is None:
        return _Local(list(steps), depends=depends, **common)
    return _slurm(steps, run.slurm, common, name, depends)


def run_executor(executor: PipelineExecutor) -> None:
    """Run every task of an executor, and return when all are done (SLURM: when the jobs have left the queue).

    Raises:
        MachineError: some tasks did not finish; it says where their logs are.
        Exception: whatever a step raised in a task on this machine.
    """
    folder = Path(executor.logging_dir.path)
    with _said_into(folder):
        executor.run()
        _wait_for_slurm(executor)
    if missing := executor.get_incomplete_ranks(skip_completed=True):
        raise MachineError(
            f"{len(missing)} of {executor.world_size} tasks did not finish (the first is task {missing[0]})",
            where=str(folder),
            fix="see logs/ and slurm_logs/ there; what is done stays done when it runs again",
        )


@contextmanager
def _said_into(folder: Path) -> Iterator[None]:
    """Send what is said on stderr in this block, datatrove's log above all, to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SAID).open("a", encoding="utf-8") as stream, redirect_stderr(stream):
        setup_default_logger()  # loguru holds on to the stderr that it was given
        try:
            yield
        finally:
            logger.remove()


def _slurm(
    steps: Sequence[PipelineStep], wanted: schema.Slurm, common: dict[str, Any], name: str, depends: Any
) -> PipelineExecutor:
    from datatrove.executor.slurm import SlurmPipelineExecutor

    if shutil.which("sbatch") is None:
        raise MachineError("run.executor is slurm, and there is no sbatch here", fix="start it on a login node")
    activate = Path(sys.prefix, "bin", "activate")
    return SlurmPipelineExecutor(
        list(steps),
        partition=wanted.partition,
        time=wanted.time,
        cpus_per_task=wanted.cpus,
        mem_per_cpu_gb=wanted.memory,
        job_name=name,
        qos="",  # datatrove's "normal" is unknown to many clusters; the partition's own is used
        venv_path=str(activate) if activate.exists() else None,
        depends=depends,
        **common,
    )


def _ray(steps: Sequence[PipelineStep], common: dict[str, Any], depends: Any) -> PipelineExecutor:
    if importlib.util.find_spec("ray") is None:
        raise MachineError("run.executor is ray, which is not installed", fix="pip install 'ray[default]'")
    from datatrove.executor.ray import RayPipelineExecutor

    with redirect_stderr(io.StringIO()):
        ray = importlib.import_module("ray")
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
    return RayPipelineExecutor(list(steps), depends=depends, **common)


def _wait_for_slurm(executor: PipelineExecutor) -> None:
    """Return when a SLURM executor's tasks are done, or its job has left the queue."""
    job = getattr(executor, "job_id", None)
    if job in (None, -1):
        return
    while executor.get_incomplete_ranks(skip_completed=True):
        queue = subprocess.run(["squeue", "--noheader", "--jobs", str(job)], capture_output=True, text=True)
        if not queue.stdout.strip():
            _wait_for_disk(executor)
            return
        time.sleep(_POLL_SECONDS)


def _wait_for_disk(executor: PipelineExecutor) -> None:
    end = time.monotonic() + _SETTLE_SECONDS
    while executor.get_incomplete_ranks(skip_completed=True) and time.monotonic() < end:
        time.sleep(1.0)
