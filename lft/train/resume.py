"""Going on with a run: from the newest checkpoint that verifies, and only if it is still the same run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lft.errors import InputError
from lft.files import sweep
from lft.train.events import Note, Report
from lft.train.folder import Lock, RunFolder, checkpoint_steps, newest_whole_checkpoint
from lft.train.inputs import Inputs
from lft.train.universal import Shards, make_universal, shards_of
from lft.train.world import World
from lft.train.zero import STAGES

_ROUNDED = "the same batches, but sums are rounded in another order"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins: at a checkpoint, or at its first step.

    ``converted`` says that the checkpoint is a copy for this session, in DeepSpeed's universal form.
    """

    checkpoint: Path | None
    converted: bool = False

    def forget(self) -> None:
        """Remove the copy; the training has begun."""
        if self.converted and self.checkpoint is not None:
            shutil.rmtree(self.checkpoint, ignore_errors=True)


def going_on(inputs: Inputs, folder: RunFolder | None, world: World, report: Report) -> Start:
    """Where to begin, decided by the first process. What the logs say of later steps is forgotten: it happens again.

    Raises:
        InputError: the run no longer is what it was, or none of its checkpoints is whole.
    """
    if folder is None:
        return Start(None)
    require_shared(folder, world)
    start: Start = world.from_main(_chosen(inputs, folder, report) if world.is_main else None)
    return start


def require_shared(folder: RunFolder, world: World) -> None:
    """Raise InputError in every process unless all see the folder: each writes its part of a checkpoint there."""
    seen = world.everyone((folder.path / "lock.json").is_file())
    if not all(seen):
        blind = ", ".join(str(rank) for rank, sees in enumerate(seen) if not sees)
        raise InputError(
            f"the run folder is not shared: processes {blind} do not see it",
            where=str(folder.path),
            fix="set output.runs to a folder that all machines share",
        )


def _chosen(inputs: Inputs, folder: RunFolder, report: Report) -> Start:
    before = folder.read_lock()
    if changes := before.changes(inputs.lock):
        raise InputError(
            f"the run cannot go on bit for bit: {', '.join(changes)} changed since it began",
            where=str(folder.path),
            fix="restore what changed (see lock.json), or start a new run",
        )
    sweep(folder.path)
    sweep(folder.checkpoints)
    if not checkpoint_steps(folder.checkpoints):
        if folder.adapter.is_dir() or folder.model.is_dir():
            raise InputError(
                "this run is finished, and kept no checkpoint to go on from",
                where=str(folder.path),
                fix=f"use it: lft generate --run {folder.path}",
            )
        report(Note("no checkpoint was saved yet: beginning again with the first step"))
        folder.rewind(-1)
        folder.write_lock(inputs.lock)
        return Start(None)
    choice = newest_whole_checkpoint(folder.checkpoints)
    for line in choice.skipped:
        report(Note(line))
    start = _readable(choice.path, before, inputs.lock, folder, report)
    report(Note(f"going on from step {choice.step}"))
    folder.rewind(choice.step)
    return start


def _readable(checkpoint: Path, before: Lock, now: Lock, folder: RunFolder, report: Report) -> Start:
    """Another number of processes, or another engine: say what that means before anything is loaded.

    The checkpoint's files say by how many processes it was written: the run may have gone on elsewhere before.
    """
    wrote = shards_of(checkpoint)
    reads = Shards(now.devices, STAGES[now.engine] == 3) if now.engine in STAGES else None
    devices = before.devices if wrote is None else wrote.processes
    was, will = f"{devices} x {before.engine}", f"{now.devices} x {now.engine}"
    same_engine = before.engine == now.engine
    if wrote == reads and (reads is None or same_engine):
        if reads is None and was != will:
            report(Note(f"going on with {will} after {was}: {_ROUNDED}"))
        return Start(checkpoint)
    if same_engine and wrote is not None and wrote.weights:
        report(Note(f"going on with {will} after {was}, converting the checkpoint: {_ROUNDED}"))
        return Start(make_universal(checkpoint), converted=True)
    raise InputError(
        f"its checkpoints were written by {was} and cannot be read by {will}: DeepSpeed keeps the optimizer in as "
        "many parts as there were processes, and only those of ZeRO-3 can be put together",
        where=str(folder.path),
        fix=f"go on as before: launch.engine={before.engine} launch.gpus={devices}",
    )
