"""DeepSpeed's checkpoints for another number of processes, where DeepSpeed can convert them: those of ZeRO-3.

A ZeRO checkpoint holds the optimizer in as many parts as there were processes. Of ZeRO-3 the parts can be put together
into a "universal" checkpoint, a file for each parameter, that any number of processes reads. Of ZeRO-1 and 2 as
transformers runs them they cannot: DeepSpeed 0.19 asks for a record that it did not write.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lft.errors import InputError
from lft.files import DRAFT, disk_errors


@dataclass(frozen=True, slots=True)
class Shards:
    """How DeepSpeed divided a checkpoint: over how many processes, and whether the weights too (ZeRO-3)."""

    processes: int
    weights: bool


def shards_of(checkpoint: Path) -> Shards | None:
    """What the files of a checkpoint say; None where DeepSpeed had no part in it."""
    parts = [path.name for path in checkpoint.glob("global_step*/*_optim_states.pt")]
    weights = any(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt"))
    return Shards(len(parts), weights) if parts else None


def make_universal(checkpoint: Path) -> Path:
    """A copy of a ZeRO-3 checkpoint that any number of processes reads.

    It is only for the start of this session: its name is that of a draft, so it is swept whenever the run goes on.

    Raises:
        InputError: DeepSpeed could not convert it.
    """
    made = checkpoint.parent / f".universal{DRAFT}{checkpoint.name}"
    with disk_errors(made):
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(checkpoint, made, copy_function=_link)
    (parts,) = (path for path in made.glob("global_step*") if path.is_dir())
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", str(parts)]
    command += ["--output_folder", f"{parts}_universal", "--num_extract_workers", "1", "--num_merge_workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(
            f"DeepSpeed could not convert the checkpoint for another number of processes ({last[0][:200]})",
            where=str(checkpoint),
            fix="go on with as many processes as before",
        )
    return made


def _link(source: str, target: str) -> None:
    """A second name instead of a copy, where the file system has that: checkpoints are never changed in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
