"""The whole plan of a run, put together from the parts of this room."""

from __future__ import annotations

from dataclasses import dataclass

from lft.plan.amount import Amount, Run, run_of
from lft.plan.batch import BatchPlan, batch_plan
from lft.plan.disk import Disk, disk_of
from lft.plan.fit import Change, changes, engine_for, micro_rows, with_values
from lft.plan.hardware import Fleet
from lft.plan.memory import Memory, memory_of
from lft.plan.setup import Setup, setup_of
from lft.plan.shape import ModelShape
from lft.plan.timing import Pace, pace_of
from lft.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take. ``engine_chosen`` says that the recipe named no engine for so many devices."""

    recipe: Recipe
    setup: Setup
    batch: BatchPlan
    memory: Memory
    fits: bool
    changes: tuple[Change, ...]
    amount: Amount | None
    run: Run | None
    pace: Pace | None
    disk: Disk
    engine_chosen: bool

    @property
    def seconds(self) -> float | None:
        """Time of the whole run."""
        return None if self.run is None or self.pace is None else self.run.tokens / self.pace.tokens_per_second


def plan_run(
    recipe: Recipe, shape: ModelShape, fleet: Fleet, amount: Amount | None = None, utilisation: float | None = None
) -> Plan:
    """The plan of a recipe on some hardware.

    Args:
        recipe: checked; its launch section is replaced by the hardware.
        shape: of the base.
        fleet: the devices.
        amount: the training data, where anything is known of it.
        utilisation: share of the peak to reckon with; None takes the usual one.

    Raises:
        RecipeError: the batch does not divide over the devices, or target modules match nothing.
    """
    placed = with_values(recipe, {"launch.gpus": fleet.gpus, "launch.nodes": fleet.nodes})
    batch_plan(placed, 1)  # the division over devices is judged before anything is tried on them
    placed = with_values(placed, {"launch.engine": engine_for(placed, shape, fleet)})
    batch = batch_plan(placed, micro_rows(placed, shape, fleet))
    setup = setup_of(placed, shape, fleet, batch.micro_rows)
    memory = memory_of(setup)
    fits = memory.fits(fleet.device.memory, fleet.host)
    return Plan(
        recipe=placed,
        setup=setup,
        batch=batch,
        memory=memory,
        fits=fits,
        changes=() if fits else changes(placed, shape, fleet),
        amount=amount,
        run=run_of(placed.train, batch, placed.data.max_length, amount),
        pace=pace_of(setup, utilisation),
        disk=disk_of(setup, placed.train),
        engine_chosen=placed.launch.engine != recipe.launch.engine,
    )
