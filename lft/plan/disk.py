"""Bytes on disk: the base, one checkpoint, the result, and the run folder at its fullest."""

from __future__ import annotations

from dataclasses import dataclass

from lft.plan.memory import optimizer_bytes, result_bytes
from lft.plan.setup import Setup
from lft.recipe.schema import Train


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes. ``kept`` is how many checkpoints there are at once: a new one is whole before an old one goes."""

    base: int
    result: int
    checkpoint: int
    kept: int

    @property
    def run(self) -> int:
        """The run folder at its fullest."""
        return self.kept * self.checkpoint + self.result


def disk_of(setup: Setup, train: Train) -> Disk:
    """What a run writes, and what the base takes (16 bits a weight where its files were not looked at)."""
    shape = setup.shape
    base = shape.total * (shape.file_bits or 16) // 8
    result = result_bytes(setup)
    return Disk(base, result, result + optimizer_bytes(setup), train.keep_last + int(train.keep_best) + 1)
