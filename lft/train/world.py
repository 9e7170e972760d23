"""The processes of a run: who this one is, and the few things that they agree on.

Gradients travel through DDP or DeepSpeed. What is here is the control beside them, over gloo on every machine: sums of
counters, "did anybody get a signal", and barriers that name who is missing instead of hanging.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from lft.errors import MachineError
from lft.files import new_folder


@dataclass(frozen=True, slots=True)
class World:
    """One process among ``size``; ``control`` is the gloo group, None for a run of one process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    timeout: float = 1800.0  # seconds
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def total(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Sums over the processes."""
        if self.control is None:
            return values
        import torch

        numbers = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(numbers, group=self.control)
        return tuple(float(number) for number in numbers)

    def any(self, flag: bool) -> bool:
        """Whether it is so for at least one process."""
        return self.total((float(flag),))[0] > 0

    def everyone(self, value: Any) -> list[Any]:
        """Each process's value, in the order of the ranks."""
        if self.control is None:
            return [value]
        import torch

        values = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.control)
        return values

    def from_main(self, value: Any) -> Any:
        """The first process's value."""
        if self.control is None:
            return value
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def meet(self, what: str) -> None:
        """Wait for all.

        Raises:
            MachineError: some did not come in time; their ranks are named.
        """
        if self.control is None:
            return
        import torch

        try:
            torch.distributed.monitored_barrier(
                self.control, timeout=timedelta(seconds=self.timeout), wait_all_ranks=True
            )
        except RuntimeError as error:
            raise MachineError(
                f"the processes did not meet {what} within {self.timeout / 60:g} minutes ({_first_line(error)})",
                fix="look at the missing rank's machine; raise launch.timeout_minutes if it is only slow",
            ) from error


@contextmanager
def shared_folder(final: Path, world: World) -> Iterator[Path]:
    """A folder that all processes write into; whole (``lft.files.new_folder``) once all are done.

    A process that fails here ends with its error, and the launcher ends the others: waiting for each other's verdict
    would hang where one has left a library's own barrier.
    """
    if not world.is_main:
        draft = Path(world.from_main(None))
        yield draft
        world.meet(f"after writing {final.name}")
        world.meet(f"after sealing {final.name}")
        return
    with new_folder(final) as draft:
        world.from_main(str(draft))
        yield draft
        world.meet(f"after writing {final.name}")
    world.meet(f"after sealing {final.name}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


@contextmanager
def open_world(rank: int, size: int, local_rank: int, device: str, timeout: float, attempt: int = 0) -> Iterator[World]:
    """Join the processes of a run; addresses are in torchrun's environment variables.

    Args:
        rank: of this process among all.
        size: number of processes.
        local_rank: of this process on its machine; it takes the GPU of this number.
        device: "cpu" or "cuda".
        timeout: seconds that a collective may take.
        attempt: how often the processes were started again. The agent keeps its store through all attempts, and in it
            the addresses of processes that are gone.
    """
    import torch

    limit = timedelta(seconds=timeout)
    if device != "cpu":
        torch.cuda.set_device(local_rank)
    store, rank, size = next(torch.distributed.rendezvous("env://", rank, size, timeout=limit))
    torch.distributed.init_process_group(
        "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl",
        store=torch.distributed.PrefixStore(f"attempt-{attempt}", store),
        rank=rank,
        world_size=size,
        timeout=limit,
    )
    try:
        yield World(rank, size, local_rank, timeout, torch.distributed.new_group(backend="gloo", timeout=limit))
    finally:
        torch.distributed.destroy_process_group()
