"""`python -m lft.cli.worker JOB`: one process of a run that has several, started by the launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lft.cli.common import quiet_libraries
from lft.cli.finetune import Screen
from lft.errors import LftError

if TYPE_CHECKING:
    from lft.train.events import Event


def main(job: str) -> int:
    """Work to the end and return the exit code. The first process speaks for all, that of a machine for its data."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local, attempt = (int(os.environ[name]) for name in names)
    # Now, while there is one thread: those that the libraries start must not receive what the run has to answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    # A launcher that is killed must not leave workers behind that hold the devices (1: PR_SET_PDEATHSIG, Linux).
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
    quiet_libraries()
    from lft.train.launch import Job
    from lft.train.worker import work

    screen = Screen()
    try:
        outcome = work(Job(Path(job)), rank, size, local, attempt, screen.show if local == 0 else _silent)
    except LftError as error:
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    if rank == 0:
        screen.end(outcome)
    return 0


def _silent(event: Event) -> None:
    """What the other processes of a machine see is the same."""


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    if code:
        os._exit(code)  # a library's farewell could wait for a process that is gone
