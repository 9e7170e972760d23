"""``lft finetune`` with processes of its own, watched and disturbed from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lft.recipe import to_yaml
from lft.recipe.schema import Recipe
from tests.processes import COMMAND, PATIENCE, Done, environment


class Launched:
    """A command at work in a folder of its own; ``prefix`` is put before it."""

    def __init__(self, place: Path, *arguments: str, prefix: tuple[str, ...] = (), **env: str | None) -> None:
        self.place, self.seen = place, set[int]()
        self.folder = place / f"tmp-{time.monotonic_ns()}"  # where the launcher makes its job folder
        self.folder.mkdir(parents=True)
        self.process = subprocess.Popen(
            [*prefix, *COMMAND, *arguments],
            cwd=place,
            env=environment(place, TMPDIR=str(self.folder), **env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the tests is not Ctrl-C at the command
        )

    @property
    def workers(self) -> dict[int, int]:
        """Process ids by rank, of those at work now."""
        found = {}
        for path in self.folder.glob("lft-job-*/pid-*"):
            with suppress(OSError, ValueError):
                found[int(path.name.removeprefix("pid-"))] = int(path.read_text(encoding="utf-8"))
        self.seen.update(found.values())
        return found

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Look ten times a second; the command must not end before."""
        end = time.monotonic() + PATIENCE
        while not true():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the command was waited for until {what}:\n{self.done()}")
            time.sleep(0.1)

    def wait_for_step(self, step: int) -> None:
        """Until the run has done so many steps."""
        self.wait_until(lambda: last_step(self.place) >= step and len(self.workers) > 0, f"step {step}")

    def done(self, patience: float = PATIENCE) -> Done:
        """Wait for the end and see to it that nothing is left behind.

        Raises:
            AssertionError: it takes too long, or a process that it started is still there.
        """
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"the command hung for {patience:g} seconds") from None
        finally:
            left = [pid for pid in (*self.workers.values(), *self.seen) if _alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        assert not left, "worker processes were left behind"
        return Done(self.process.returncode, out.decode(), err.decode())


def finetune(place: Path, chosen: Recipe, *arguments: str, **kw: Any) -> Launched:
    """``lft finetune`` of a recipe, at work."""
    (place / "recipe.yaml").write_text(to_yaml(chosen), encoding="utf-8")
    return Launched(place, "finetune", "recipe.yaml", *arguments, **kw)


def run_of(place: Path) -> Path:
    """The only run under ``runs``."""
    (run,) = place.glob("runs/*/*")
    return run


def last_step(place: Path) -> int:
    """Steps in the metrics of the only run; 0 before there is one."""
    lines = [line for path in place.glob("runs/*/*/metrics.jsonl") for line in path.read_text().splitlines()]
    with suppress(ValueError):  # the last line is being written
        return max((int(json.loads(line)["step"]) for line in lines), default=0)
    return 0


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not asked for its result does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
