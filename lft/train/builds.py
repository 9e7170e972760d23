"""DeepSpeed's compiled parts, built before anybody waits for them.

Torch lets one process build a part and all others wait for its lock file, without a limit. Whoever is killed while it
builds leaves the file behind, so a lock that nobody holds any more is removed first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from lft.errors import MachineError
from lft.train.events import Note, Report

BUILD_MINUTES: Final = 15
# DeepSpeed's builders, and the folder in torch's cache in which each works.
_FOLDERS: Final = {"ShareMemCommBuilder": "deepspeed_shm_comm", "CPUAdamBuilder": "cpu_adam"}
# File systems of this machine alone; on any other the holder of a lock may be another machine.
_OWN_DISK: Final = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")


def build(builder: str, report: Report) -> None:
    """Compile one of DeepSpeed's operators in a process of its own, with a limit; at once when it is there already.

    Raises:
        MachineError: it failed or took too long.
    """
    code = (
        "from deepspeed.accelerator import get_accelerator as accelerator\n"
        f"builder = accelerator().create_op_builder('{builder}')\n"
        "builder is None or builder.load(verbose=False)"
    )
    report(Note(f"DeepSpeed's {builder.removesuffix('Builder')}: building it once if needed (minutes)"))
    clear_locks(builder, report)
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_MINUTES * 60,
            env={**os.environ, **({"DS_ACCELERATOR": "cpu"} if on_cpu() else {})},
        )
    except subprocess.TimeoutExpired as error:
        left = ", ".join(map(str, _locks(builder))) or "torch's extension cache (~/.cache/torch_extensions)"
        raise MachineError(
            f"building DeepSpeed's {builder} took more than {BUILD_MINUTES} minutes",
            fix=f"if no other machine is building it, remove {left} and try again",
        ) from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise MachineError(
            f"building DeepSpeed's {builder} failed ({last[0][:200]})",
            fix="install g++ and ninja, or launch.engine: ddp",
        ) from error


def clear_locks(builder: str, report: Report) -> None:
    """Remove the locks that killed builds left; of one that stays, say who is waited for."""
    for lock in _locks(builder):
        if not _abandoned(lock):
            report(Note(f"another process is building it: waiting {BUILD_MINUTES} minutes at most ({lock})"))
            continue
        with suppress(OSError):  # somebody else's, or gone by now
            lock.unlink()
            report(Note(f"removed {lock}: the build that made it was killed"))


def _locks(builder: str) -> list[Path]:
    """The lock files of one operator, for every version of Python and CUDA that built it here."""
    from torch.utils.cpp_extension import get_default_build_root

    root, name = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()), _FOLDERS[builder]
    return [*root.glob(f"{name}/lock"), *root.glob(f"*/{name}/lock")]


def _abandoned(lock: Path) -> bool:
    """Whether nobody builds under a lock. A builder keeps the file open to its end, which another machine cannot see;
    where another one may be the builder, only a folder in which nothing moves any more tells.
    """
    with suppress(OSError):
        if any(holder == _identity(lock) for holder in _open_files()):
            return False
        if _is_on_own_disk(lock):
            return True
        return time.time() - max(path.stat().st_mtime for path in lock.parent.iterdir()) > BUILD_MINUTES * 60
    return False  # it went away while it was looked at


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _open_files() -> Iterator[tuple[int, int]]:
    """What the processes of this machine have open, as far as this user may look."""
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            yield _identity(path)


def _is_on_own_disk(path: Path) -> bool:
    device = path.parent.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[2] == number:
                return words[words.index("-") + 1] in _OWN_DISK
    return False


def on_cpu() -> bool:
    """Whether DeepSpeed has no GPU here."""
    import torch

    return not torch.cuda.is_available()
