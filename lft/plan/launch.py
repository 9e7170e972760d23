"""How a run is started: the command of each machine, and a SLURM script."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from string import Template
from typing import Final

from lft.plan.configs import DATA
from lft.plan.hardware import Fleet
from lft.plan.overview import Plan

PORT: Final = 29500
_LONGEST: Final = 24.0  # hours, where nothing is known of the run
_MARGIN: Final = 1.5


def launch_words(recipe: str, overrides: Sequence[str], plan: Plan, before: tuple[str, int, int]) -> list[str]:
    """The words of `lft finetune` for this plan, without the place of a machine among others.

    ``before`` is engine, gpus and nodes as recipe and overrides have them: only what differs is added.
    """
    launch = plan.recipe.launch
    words = ["lft", "finetune", recipe, *overrides]
    for key, value, was in zip(
        ("engine", "gpus", "nodes"), (launch.engine, launch.gpus, launch.nodes), before, strict=True
    ):
        if value != was and not (key == "nodes" and launch.nodes > 1):
            words.append(f"launch.{key}={value}")
    return words


def launch_lines(words: Sequence[str], fleet: Fleet) -> list[str]:
    """What to type: one line; for several machines that of the first, and a comment on the others."""
    line = shlex.join(words)
    if fleet.nodes == 1:
        return [line]
    others = "1" if fleet.nodes == 2 else f"1 ... {fleet.nodes - 1}"
    return [
        f"{line} --nodes {fleet.nodes} --node-rank 0 --rdzv HOST:{PORT}",
        f"# HOST is the first machine; the others run the same with --node-rank {others}",
    ]


def slurm_script(words: Sequence[str], plan: Plan) -> str:
    """An sbatch script for this plan; its time is the estimate and half as much again."""
    fleet = plan.setup.fleet
    hours = _LONGEST if plan.seconds is None else max(math.ceil(plan.seconds * _MARGIN / 900) / 4, 0.5)
    minutes = round(hours * 60)
    return Template((DATA / "finetune.sbatch").read_text(encoding="utf-8")).substitute(
        name=plan.recipe.name.replace("/", "-"),
        nodes=fleet.nodes,
        gpus=f"#SBATCH --gpus-per-node={fleet.gpus}" if fleet.device.cuda else "# no GPU: this plan is for a CPU",
        cpus=8 * fleet.gpus,
        time=f"{minutes // 60:02}:{minutes % 60:02}:00",
        known="the plan's estimate and half as much again" if plan.seconds else "the length of the run is not known",
        command=shlex.join(words),
        hardware=str(fleet),
    )
