"""Start one process per device and watch them: torchrun's agent, with lft's words for what goes wrong.

lft finetune ──▶ agent ──▶ worker 0 … worker N-1   (one agent a node; they meet at --rdzv)
             ◀──failure-R.json, run, signal── job folder ◀──┘

The first worker of a node prepares the data; the launcher itself loads nothing that the agent does not need.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.errors import LftError, MachineError, RecipeError, TrainingError
from lft.files import write_text
from lft.recipe import load_recipe, to_yaml
from lft.recipe.schema import Launch, Recipe
from lft.train.events import Note, Report
from lft.train.faults import failures, last_safe
from lft.train.zero import require_engine

# Who most often sends a worker a signal that ends it, and what helps.
_KILLERS: Final = {
    "SIGKILL": "SIGKILL is most often the system out of memory (see dmesg): lower train.micro_batch_size or "
    "data.max_length",
    "SIGABRT": "SIGABRT is most often NCCL, which waited longer than launch.timeout_minutes for another process: look "
    "at the other machines and the network between them",
}


_ALIKE: Final = "give each machine the same --rdzv and --nodes, and a --node-rank of its own"


@dataclass(frozen=True, slots=True)
class Node:
    """This machine among those of the run; ``rendezvous`` is HOST:PORT of the first one, None for a single machine."""

    rank: int = 0
    rendezvous: str | None = None

    def require(self, launch: Launch) -> None:
        """Raise RecipeError unless the numbers go together."""
        if launch.nodes > 1 and self.rendezvous is None:
            raise RecipeError(
                f"launch.nodes is {launch.nodes}, but this machine does not know where they meet",
                fix="give --rdzv HOST:PORT of the first machine and --node-rank, or --hostfile",
            )
        if not 0 <= self.rank < launch.nodes:
            raise RecipeError(f"--node-rank {self.rank} is not below launch.nodes {launch.nodes}")
        if self.rendezvous is not None and not _port(self.rendezvous):
            raise RecipeError(f"--rdzv {self.rendezvous!r} is not HOST:PORT", fix="e.g. --rdzv node0:29500")

    @property
    def host(self) -> str:
        """Name or address of machine 0; empty for a single machine."""
        return (self.rendezvous or "").rpartition(":")[0].strip("[]")


def from_hostfile(path: Path, launch: Launch) -> tuple[Launch, Node]:
    """Nodes, devices and this machine's place from a DeepSpeed hostfile (lines of ``host slots=8``).

    Raises:
        RecipeError: the file cannot be read, slots differ, or this machine is not in it.
    """
    try:
        lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
        hosts = [(words[0], int(words[1].removeprefix("slots="))) for words in lines if words]
    except (OSError, ValueError, IndexError) as error:
        raise RecipeError(
            f"the hostfile cannot be read ({error})", where=str(path), fix="lines of: host slots=8"
        ) from None
    if not hosts or len({slots for _, slots in hosts}) > 1:
        raise RecipeError("every host needs the same number of slots", where=str(path))
    rank = next((rank for rank, (host, _) in enumerate(hosts) if _is_here(host)), None)
    if rank is None:
        raise RecipeError(
            f"this machine ({socket.gethostname()}) is not in it", where=str(path), fix="give --node-rank and --rdzv"
        )
    place = Node(rank, f"{hosts[0][0]}:29500" if len(hosts) > 1 else None)
    return launch.model_copy(update={"nodes": len(hosts), "gpus": hosts[0][1]}), place


def _is_here(host: str) -> bool:
    """Whether a name or an address is this machine's: no other machine's address can be bound to."""
    if host in (socket.gethostname(), socket.gethostname().split(".")[0]):
        return True
    with suppress(OSError):  # a name that nobody knows
        for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind(address)
                return True
    return False


@dataclass(frozen=True, slots=True)
class Job:
    """What the workers of one machine share: a folder on it with the recipe, and what they leave for the launcher."""

    folder: Path

    @classmethod
    def write(cls, folder: Path, recipe: Recipe, cache: Path, resume: Path | None) -> Job:
        """Put down what the workers need."""
        write_text(folder / "recipe.yaml", to_yaml(recipe))
        asked = {"cache": str(cache.absolute()), "resume": None if resume is None else str(resume.absolute())}
        write_text(folder / "job.json", json.dumps(asked))
        return cls(folder)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(str(self.folder / "recipe.yaml")).recipe

    @property
    def cache(self) -> Path:
        """Where tokens and converted bases are kept."""
        return Path(self._asked()["cache"])

    @property
    def run(self) -> Path | None:
        """The run folder: the one to go on with, or the one that the first worker made."""
        made = self.folder / "run"
        text = made.read_text(encoding="utf-8") if made.exists() else self._asked()["resume"]
        return None if text is None else Path(text)

    def made(self, run: Path) -> None:
        """Note the run folder, so that a restart goes on in it."""
        write_text(self.folder / "run", str(run.absolute()))

    def arrive(self, rank: int) -> None:
        """A worker begins; what an earlier one of its rank left is no longer so."""
        (self.folder / f"failure-{rank}.json").unlink(missing_ok=True)
        write_text(self.folder / f"pid-{rank}", str(os.getpid()))

    def hopeless(self) -> LftError | None:
        """What ended an earlier attempt, where trying again cannot help: the recipe, an input, the training itself."""
        found = [one for one in failures(self.folder) if not one.consequence and one.code in (2, 3, 5)]
        return found[0].error() if found else None

    def doomed(self) -> bool:
        """Whether another worker of this machine failed or is gone."""
        if any(self.folder.glob("failure-*.json")):
            return True
        return any(not _alive(int(path.read_text(encoding="utf-8"))) for path in self.folder.glob("pid-*"))

    def data_is_ready(self, attempt: int) -> None:
        """The first process of this machine has prepared the data."""
        write_text(self.folder / f"data-{attempt}", "")

    def wait_for_data(self, attempt: int) -> None:
        """Wait for that, without a limit: the launcher ends this process where the first one is gone."""
        while not (self.folder / f"data-{attempt}").exists():
            time.sleep(0.05)

    def interrupted(self, number: int) -> None:
        """Note the signal that ended the run in good order."""
        write_text(self.folder / "signal", str(number))

    @property
    def signal(self) -> int | None:
        """The signal that ended the run in good order."""
        path = self.folder / "signal"
        return int(path.read_text(encoding="utf-8")) if path.exists() else None

    def _asked(self) -> dict[str, Any]:
        asked: dict[str, Any] = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        return asked


def launch(
    recipe: Recipe,
    node: Node,
    cache: Path,
    resume: Path | None,
    command: Callable[[Path], list[str]],
    report: Report = lambda _: None,
) -> int | None:
    """Run one worker per device of this machine to the end.

    Args:
        recipe: with ``launch`` as it is to be.
        node: this machine's place.
        cache: where tokens and converted bases are kept.
        resume: run folder to go on with.
        command: gives the arguments of the Python interpreter for a worker, from the job folder.
        report: told for how long the other machines are waited for.

    Returns:
        The number of the signal that ended the run in good order, else None.

    Raises:
        LftError: what ended it; the process that failed first is named.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    require_engine(recipe.launch)
    if node.rendezvous is not None:
        _require_place(node)
        others = "another machine" if recipe.launch.nodes == 2 else f"{recipe.launch.nodes - 1} other machines"
        report(Note(f"meeting {others} at {node.rendezvous}: waiting {_minutes(recipe.launch)} at most"))
        _reach(node, recipe.launch)
    with tempfile.TemporaryDirectory(prefix="lft-job-") as name, _quiet_agent(), _stoppable():
        job = Job.write(Path(name), recipe, cache, resume)
        try:
            elastic_launch(_config(recipe.launch, node), sys.executable)(*command(job.folder))
        except SignalException as stopped:
            if (told := failures(job.folder)) and not told[0].consequence:
                raise told[0].error() from None  # it was told to stop, and could not save
            return int(stopped.sigval)
        except DistError as error:
            raise _unmet(error, node, recipe.launch, job.run) from None
        except ChildFailedError as failed:
            raise _root_cause(job, failed.failures) from None
        return job.signal


def _config(launch: Launch, node: Node) -> Any:
    from torch.distributed.launcher.api import LaunchConfig

    seconds = _patience(launch)
    single = node.rendezvous is None
    return LaunchConfig(
        min_nodes=launch.nodes,
        max_nodes=launch.nodes,
        nproc_per_node=launch.gpus,
        run_id=uuid.uuid4().hex if single else "lft",
        rdzv_backend="c10d" if single else "static",
        rdzv_endpoint="localhost:0" if single else str(node.rendezvous),  # port 0: a free one
        rdzv_configs={"timeout": seconds, **({} if single else {"rank": node.rank})},
        max_restarts=launch.max_restarts,
        monitor_interval=0.2,
        local_addr="localhost" if single else None,
        signals_to_handle="SIGTERM,SIGINT,SIGHUP",
        shutdown_timeout=seconds,  # a worker that is told to stop saves a checkpoint first
    )


def _patience(launch: Launch) -> int:
    """Seconds that machines wait for each other; they never start at the same second."""
    return max(60, round(launch.timeout_minutes * 60))


def _minutes(launch: Launch) -> str:
    minutes = _patience(launch) / 60
    return "1 minute" if minutes == 1 else f"{minutes:.3g} minutes"


def _require_place(node: Node) -> None:
    """Refuse at once a place where nobody can meet; torch would try until the time is up.

    Raises:
        MachineError: nobody knows the name.
        RecipeError: machine 0 is to be at an address that is another machine's.
    """
    try:
        socket.getaddrinfo(node.host, None)
    except OSError as error:
        raise MachineError(
            f"no machine is known here by the name {node.host!r} ({error.strerror})",
            where=node.rendezvous,
            fix="correct --rdzv, or give the address of machine 0 in numbers",
        ) from None
    if node.rank == 0 and not _is_here(node.host):
        raise RecipeError(
            f"--node-rank 0 is machine 0, and {node.host} is not this machine", where=node.rendezvous, fix=_ALIKE
        )


def _reach(node: Node, launch: Launch) -> None:
    """Wait until machine 0 listens; torch would wait twice as long as it is told, where Ctrl-C does not reach it."""
    end = time.monotonic() + _patience(launch)
    while node.rank:
        try:
            socket.create_connection((node.host, _port(str(node.rendezvous)) or 0), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise _unmet(error, node, launch, None) from None
        time.sleep(0.5)


def _unmet(error: Exception, node: Node, launch: Launch, run: Path | None) -> MachineError:
    """Why the machines did not meet, as far as this one can tell."""
    text = " ".join(str(error).split())
    said = text[:120]
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        what, fix = "this port of machine 0 is taken", "choose another port in --rdzv, the same on all machines"
    elif node.rank == 0 or "keys:" in text:  # the meeting place is there, and what others should have left is not
        what = f"not all {launch.nodes} machines came within {_minutes(launch)} ({said})"
        fix = f"start the same line on the others; {_ALIKE}; look whether the port is open between them"
    else:
        what = f"machine 0 was not reached within {_minutes(launch)} ({said})"
        fix = f"start the same line there with --node-rank 0; {_ALIKE}; look whether the port is open between them"
    return MachineError(what, where=node.rendezvous, fix=fix if run is None else f"{fix}. {last_safe(run)}")


def _root_cause(job: Job, failed: dict[int, Any]) -> Exception:
    """The failure that came first; those of processes that only lost their peers come last."""
    told = failures(job.folder)
    if told and not told[0].consequence:
        return told[0].error()
    for rank, failure in sorted(failed.items()):
        if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM:
            name = signal.Signals(-failure.exitcode).name
            return MachineError(
                f"process {rank} was killed ({name})",
                where=str(job.run or "") or None,
                fix=". ".join(filter(None, (_KILLERS.get(name), last_safe(job.run)))),
            )
    if told:
        return told[0].error()
    ranks = ", ".join(str(rank) for rank in sorted(failed))
    return TrainingError(
        f"processes {ranks} ended without a word", where=str(job.run or "") or None, fix=last_safe(job.run)
    )


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C ends the command at once while it waits for other machines: torch waits where no handler of Python runs.

    Its agent sets handlers of its own as soon as there are workers to be told.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """The agent's own log lines say again, at length, what the error says."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # its loggers have levels of their own
    try:
        yield
    finally:
        logging.disable(before)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _port(rendezvous: str) -> int | None:
    host, _, port = rendezvous.rpartition(":")
    return int(port) if host and port.isdigit() and 0 < int(port) < 65536 else None
