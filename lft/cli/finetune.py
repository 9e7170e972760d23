"""`lft finetune`: train what a recipe says."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.common import ProgressLine, cache_folder, duration, quiet_libraries, size

if TYPE_CHECKING:
    from lft.train.events import Event, Step
    from lft.train.run import Inputs, Outcome


def finetune(
    recipe: Annotated[str, typer.Argument(help="a recipe file, or a name of `lft recipes list`")] = "",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. train.epochs=1")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run folder from its newest checkpoint")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="prepare the data, show the plan, train nothing")] = False,
) -> None:
    """Train what a recipe says, and save an adapter that was read back."""
    from lft.errors import RecipeError
    from lft.recipe import load_recipe

    if bool(recipe) == (resume is not None):
        raise RecipeError("give a recipe, or --resume with a run folder", fix="lft finetune recipes/quickstart.yaml")
    resolved = load_recipe(str(resume / "recipe.yaml") if resume else recipe, overrides or ())
    quiet_libraries()
    from lft.train.folder import RunFolder
    from lft.train.run import finetune as train
    from lft.train.run import prepare_inputs

    screen = Screen()
    inputs = prepare_inputs(resolved.recipe, cache_folder(), screen.show)
    if dry_run:
        screen.plan(inputs)
        return
    outcome = train(inputs, screen.show, RunFolder.open(resume) if resume else None)
    screen.end(outcome)
    if outcome.signal is not None:
        raise typer.Exit(128 + outcome.signal)


class Screen:
    """A run as lines of text."""

    def __init__(self) -> None:
        self.progress = ProgressLine()

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
            self.progress.line(f"  lft finetune --resume {outcome.folder}")
            return
        if outcome.before is not None and outcome.after is not None and outcome.fall is not None:
            fell = f"fell by {outcome.fall:.1%}" if outcome.fall >= 0 else f"rose by {-outcome.fall:.1%}"
            self.progress.line(f"validation loss {fell}: {outcome.before:.4f} -> {outcome.after:.4f}")
        self.progress.line(f"{outcome.steps:,} steps in {duration(outcome.seconds)}")
        self.progress.line(f'try it: lft generate --run {outcome.folder} "your instruction"')


def step_line(step: Step) -> str:
    """One optimizer step in 80 columns."""
    return (
        f"step {step.step}/{step.steps}  loss {step.loss:.3f}  lr {step.learning_rate:.1e}  "
        f"{step.tokens_per_second:,.0f} tok/s  eta {duration(step.remaining)}  {size(step.memory)}"
    )


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.fill(line, 76, replace_whitespace=False) for line in text.splitlines())
