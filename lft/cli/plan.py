"""`lft plan`: what a run will take, before anything is downloaded or started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.common import cache_folder
from lft.cli.recipes import OverridesArgument, RecipeArgument

if TYPE_CHECKING:
    from lft.plan.hardware import Fleet
    from lft.recipe.schema import Launch


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    hardware: Annotated[str, typer.Option(metavar="DEVICE", help="e.g. 8xA100-80GB, L4, cpu-64GB")] = "",
    nodes: Annotated[int, typer.Option(min=0, help="machines; as the recipe says when left out")] = 0,
    slurm: Annotated[bool, typer.Option("--slurm", help="print an sbatch script, nothing else")] = False,
    tokens: Annotated[int, typer.Option(min=0, help="tokens of the training data, where it is not here")] = 0,
    count: Annotated[bool, typer.Option("--count", help="tokenise the data for exact rows and steps (slow)")] = False,
    utilisation: Annotated[float, typer.Option(min=0.0, max=1.0, help="share of the peak to reckon with")] = 0.0,
) -> None:
    """Say what a run will take: memory by part, batch, steps, time, disk, launch line; and what to change."""
    from lft.cli.plan_inputs import count_amount, find_amount, find_base
    from lft.plan.launch import launch_lines, launch_words, slurm_script
    from lft.plan.overview import plan_run
    from lft.plan.report import report_lines
    from lft.recipe import load_recipe

    said = load_recipe(recipe, overrides or (), allow_unsupported=True).recipe
    fleet = _fleet(said.launch, hardware, nodes)
    found = find_base(said.base, cache_folder(), _note)
    pairs = found.shape.encoder_decoder
    known = find_amount(said.data, tokens or None, pairs=pairs) if not count else None
    amount = count_amount(said, cache_folder(), _note) if count else known
    planned = plan_run(said, found.shape, fleet, amount, utilisation or None)
    before = (said.launch.engine, said.launch.gpus, said.launch.nodes)
    words = launch_words(recipe, overrides or (), planned, before)
    if slurm:
        typer.echo(slurm_script(words, planned), nl=False)
        return
    for line in report_lines(planned, found.source, launch_lines(words, fleet)):
        typer.echo(line)


def _fleet(launch: Launch, hardware: str, nodes: int) -> Fleet:
    """The devices asked for; without a name this machine's, as many as the recipe launches."""
    from lft.cli.plan_inputs import this_device
    from lft.plan.hardware import Fleet, parse_hardware

    if hardware:
        return parse_hardware(hardware, nodes or launch.nodes)
    return Fleet(this_device(), launch.gpus, nodes or launch.nodes)


def _note(text: str) -> None:
    print(text, file=sys.stderr)
