"""`lft finetune`: train what a recipe says."""

from __future__ import annotations

import textwrap
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.common import ProgressLine, cache_folder, duration, quiet_libraries, registry_folder, size

if TYPE_CHECKING:
    from lft.recipe.schema import Recipe
    from lft.train.events import Event, Step
    from lft.train.folder import RunFolder
    from lft.train.inputs import Inputs
    from lft.train.launch import Node
    from lft.train.run import Outcome


def finetune(
    recipe: Annotated[str, typer.Argument(help="a recipe file, or a name of `lft recipes list`")] = "",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. train.epochs=1")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run folder from its newest checkpoint")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="prepare the data, show the plan, train nothing")] = False,
    nodes: Annotated[int | None, typer.Option(help="machines; the same as launch.nodes=N")] = None,
    node_rank: Annotated[int, typer.Option(help="which of them this is, from 0")] = 0,
    rdzv: Annotated[str | None, typer.Option(help="HOST:PORT of machine 0, where they meet")] = None,
    hostfile: Annotated[Path | None, typer.Option(help="DeepSpeed's hostfile instead of these three")] = None,
    max_restarts: Annotated[int | None, typer.Option(help="the same as launch.max_restarts=N")] = None,
) -> None:
    """Train what a recipe says, and save an adapter or a model that was read back."""
    from lft.errors import RecipeError

    if resume and "=" in recipe:  # with --resume there is no recipe to name: the first word is an override
        recipe, overrides = "", [recipe, *(overrides or ())]
    if bool(recipe) == (resume is not None):
        raise RecipeError("give a recipe, or --resume with a run folder", fix="lft finetune recipes/quickstart.yaml")
    given = {"launch.nodes": nodes, "launch.max_restarts": max_restarts}
    overrides = [*(overrides or ()), *(f"{key}={value}" for key, value in given.items() if value is not None)]
    asked = _with_folders(_asked(recipe, overrides, resume))
    quiet_libraries()
    from lft.train.launch import Node, from_hostfile

    node = Node(node_rank, rdzv)
    if hostfile:
        where, node = from_hostfile(hostfile, asked.launch)
        asked = asked.model_copy(update={"launch": where})
    node.require(asked.launch)
    signal = _run(asked, node, resume, dry_run)
    if signal is not None:
        raise typer.Exit(128 + signal)


def _asked(recipe: str, overrides: list[str], resume: Path | None) -> Recipe:
    """The recipe, or that of the run that is gone on with: it may run elsewhere, but it stays the same run."""
    from lft.errors import RecipeError
    from lft.recipe import load_recipe
    from lft.train.folder import RunFolder

    if resume is None:
        return load_recipe(recipe, overrides).recipe
    RunFolder.open(resume)
    if odd := [text for text in overrides if not text.startswith("launch.")]:
        raise RecipeError(
            f"{odd[0]!r} would make it another run", where=str(resume), fix="only launch.* may change; start a new run"
        )
    return load_recipe(str(resume / "recipe.yaml"), overrides).recipe


def _with_folders(recipe: Recipe) -> Recipe:
    """The recipe with folders for the adapters below that it names as the registry does."""
    if not recipe.method.on_top_of:
        return recipe
    from lft.adapters.hub import on_hand
    from lft.adapters.store.checkout import stack_folders
    from lft.adapters.store.layout import open_store

    store = open_store(registry_folder())
    written = [on_hand(text, store, typer.echo) for text in recipe.method.on_top_of]
    folders = stack_folders(written, store, cache_folder())
    return recipe.model_copy(update={"method": recipe.method.model_copy(update={"on_top_of": folders})})


def _run(recipe: Recipe, node: Node, resume: Path | None, dry_run: bool) -> int | None:
    """The signal that interrupted the run, if one did."""
    screen = Screen()
    if recipe.launch.engine != "none" and not dry_run:
        from lft.train.launch import launch

        words = ["-m", "lft.cli.worker"]
        return launch(recipe, node, cache_folder(), resume, lambda job: [*words, str(job)], screen.show)
    from lft.train.folder import RunFolder
    from lft.train.inputs import prepare_inputs

    folder = RunFolder(resume) if resume else None
    with screen.progress:
        inputs = prepare_inputs(recipe, cache_folder(), screen.show, folder.read_lock() if folder else None)
        if not dry_run:
            return _alone(inputs, screen, folder)
        screen.plan(inputs)
    return None


def _alone(inputs: Inputs, screen: Screen, folder: RunFolder | None) -> int | None:
    """The run in this process; where a second Ctrl-C ends it, what was saved last is told."""
    from lft.train.faults import last_safe
    from lft.train.run import finetune as train

    screen.run = folder.path if folder else None
    try:
        outcome = train(inputs, screen.show, folder)
    except KeyboardInterrupt:
        screen.progress.open = screen.progress.live  # the terminal has shown ^C
        screen.progress.line(last_safe(screen.run))
        raise
    screen.end(outcome)
    return outcome.signal


class Screen:
    """A run as lines of text."""

    def __init__(self) -> None:
        self.progress = ProgressLine()
        self.run: Path | None = None  # the run folder, as soon as something in it can be gone on from

    def show(self, event: Event) -> None:
        """One event."""
        from lft.train.events import Evaluated, Note, Sample, Saved, Step

        match event:
            case Step():
                self.progress.update(step_line(event), last=event.step == event.steps)
            case Evaluated(step, loss):
                self.progress.line(f"validation loss {loss:.4f} after step {step}")
            case Note(text):
                self.progress.line(text)
            case Saved(what, path):
                self.progress.line(f"saved {what}: {path}")
                if what == "checkpoint":
                    self.run = path.parents[1]
            case Sample(when, prompt, text):
                self.progress.line(f"\n{when} training: {prompt}")
                self.progress.line(textwrap.indent(_wrapped(text), "  ") + "\n")

    def plan(self, inputs: Inputs) -> None:
        """What would be done."""
        self.progress.line(f"batch: {inputs.plan}; {inputs.steps:,} steps")
        self.progress.line(f"{inputs.placement.device} in {str(inputs.placement.dtype).removeprefix('torch.')}")
        self.progress.line("dry run: nothing was trained")

    def end(self, outcome: Outcome) -> None:
        """How it ended, and what to type next."""
        if outcome.signal is not None:
            self.progress.line(f"interrupted after step {outcome.steps}; go on with:")
            self.progress.line(f"  lft finetune --resume {quote(str(outcome.folder))}")
            return
        if outcome.before is not None and outcome.after is not None and outcome.fall is not None:
            fell = f"fell by {outcome.fall:.1%}" if outcome.fall >= 0 else f"rose by {-outcome.fall:.1%}"
            self.progress.line(f"validation loss {fell}: {outcome.before:.4f} -> {outcome.after:.4f}")
        self.progress.line(f"{outcome.steps:,} steps in {duration(outcome.seconds)}")
        self.progress.line(f'try it: lft generate --run {quote(str(outcome.folder))} "your instruction"')


def step_line(step: Step) -> str:
    """One optimizer step in 80 columns."""
    return (
        f"step {step.step}/{step.steps}  loss {step.loss:.3f}  lr {step.learning_rate:.1e}  "
        f"{step.tokens_per_second:,.0f} tok/s  eta {duration(step.remaining)}  {size(step.memory)}"
    )


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.fill(line, 76, replace_whitespace=False) for line in text.splitlines())
