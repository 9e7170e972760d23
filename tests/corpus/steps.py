"""Pipeline steps that other processes can import."""

import os
import signal
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from lft.errors import MachineError


class Note(PipelineStep):
    """Leaves a file that says which task it was."""

    name, type = "note", "test"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data=None, rank=0, world_size=1):
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{rank}-of-{world_size}").touch()
        yield from data or ()


class Refuse(PipelineStep):
    """Raises a user's error."""

    name, type = "refuse", "test"

    def run(self, data=None, rank=0, world_size=1):
        raise MachineError("no such thing", where="here", fix="try another")
        yield


class Die(PipelineStep):
    """Is killed in the second task, as for its memory."""

    name, type = "die", "test"

    def run(self, data=None, rank=0, world_size=1):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from data or ()


class Tally(PipelineStep):
    """Writes how often this very object was used."""

    name, type = "tally", "test"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.used = folder, []

    def run(self, data=None, rank=0, world_size=1):
        self.used.append(rank)
        self.folder.mkdir(exist_ok=True)
        (self.folder / str(rank)).write_text(str(self.used))
        yield from data or ()
