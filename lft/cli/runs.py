"""`lft runs`: list, show, compare, report."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from lft.train.compare import Difference
    from lft.train.history import Run, Saved

app = typer.Typer(
    help="Run folders: list, show, compare, report.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
)

WIDTH: Final = 80
RunsOption = Annotated[Path, typer.Option(metavar="DIR", help="folder of the runs (output.runs of their recipes)")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="a folder, name/time, or a name for its newest run")]
ListOfRuns = Annotated[list[str], typer.Argument(metavar="RUN...", help="two runs or more, named as for show")]
RUNS: Final = Path("runs")


@app.command("list")
def list_(runs: RunsOption = RUNS) -> None:
    """List all runs, newest first."""
    from lft.train.history import Run, find_runs

    found = find_runs(runs)
    if not found:
        print(f"no runs under {runs}; start one with `lft finetune RECIPE`")
        return
    print(_row("RUN (NAME/TIME, UTC)", "STATUS", "STEPS", "VALIDATION LOSS"))
    for name, path in found:
        run = Run(path)
        print(_row(name, run.status.word, _steps(run), _fall(run)))


@app.command()
def show(run: RunArgument, runs: RunsOption = RUNS) -> None:
    """Show what a run was, how it stands and what to type next."""
    from lft.train.history import find_run
    from lft.train.summary import next_commands, obstacle

    found = find_run(run, runs)
    for name, value in _facts(found):
        line = f"{name:<12}  {_printable(value)}"
        print(textwrap.fill(line, WIDTH, subsequent_indent=" " * 14, break_on_hyphens=False, break_long_words=False))
    if why_not := obstacle(found):
        print(f"\n{why_not}")
    for what, command in next_commands(found):
        print(f"\n{what}:\n  {command}")


@app.command()
def compare(names: ListOfRuns, runs: RunsOption = RUNS) -> None:
    """Compare runs: recipes key by key, what they ran on, and how they went."""
    from lft.errors import RecipeError
    from lft.train.compare import comparable, lock_differences, recipe_differences
    from lft.train.history import find_run

    if len(names) < 2:
        raise RecipeError("name two runs or more to compare", fix="lft runs list")
    found = [find_run(name, runs) for name in names]
    letters = [_letter(index) for index in range(len(found))]
    for letter, run in zip(letters, found, strict=True):
        print(f"{letter}  {run.path}")
    print("\nrecipe")
    wrong = [run.recipe.problem for run in found]
    _print_differences(recipe_differences(found), letters, wrong, "the same in every value")
    print("\nwhat they ran on")
    wrong = [run.lock.problem for run in found]
    _print_differences(lock_differences(found), letters, wrong, "the same base, data, device and versions")
    print("\nhow they went")
    rows = [(name, [text(run) for run in found]) for name, text in _METRICS]
    print("\n".join(_columns(rows, letters)))
    if comparable(found) is False:
        print("  validation losses are not comparable: validation data or tokenizer differ")


@app.command()
def report(run: RunArgument, runs: RunsOption = RUNS) -> None:
    """Write report.html of a run anew, and print its path."""
    from lft.train.history import find_run
    from lft.train.report import write_report

    print(write_report(find_run(run, runs).path))


def _row(name: str, status: str, steps: str, loss: str) -> str:
    """A line of the list; a long name has a line of its own, so that it can be copied whole."""
    rest = f"{status:<11}  {steps:>11}  {loss}"
    return f"{name:<30}  {rest}" if len(name) <= 30 else f"{name}\n{'':<30}  {rest}"


def _steps(run: Run) -> str:
    done, planned = run.steps
    return f"{done}/{'?' if planned is None else planned}"


def _fall(run: Run) -> str:
    """Validation loss before and now; dashes where there is none."""
    before, last = run.metrics.before, run.metrics.last
    if before is None and last is None:
        return "-"
    return f"{'-' if before is None else f'{before:.3f}'} -> {'-' if last is None else f'{last.loss:.3f}'}"


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    from lft.train import summary

    status, recipe, lock = run.status, run.recipe.value, run.lock.value
    yield "run", str(run.path)
    yield "status", status.word + (f": {status.why}" if status.why else "")
    yield "began", f"{summary.began(run)}; time taken: {summary.time_taken(run)}"
    yield "steps", summary.steps_taken(run)
    yield "loss", summary.fall_sentence(run.metrics)
    yield "training", f"last loss {_last_loss(run)}, {_speed(run)} supervised tokens/s (median), peak {_memory(run)}"
    yield "base", lock.base + (f"@{lock.revision}" if lock.revision else "") if lock else run.lock.problem
    yield "weights", f"fingerprint {lock.weights[:12]}, {lock.device} in {lock.dtype}" if lock else "not recorded"
    yield "recipe", _chosen(run) if recipe else run.recipe.problem
    yield "data", _data(run)
    yield "samples", f"prompts answered: {len({sample.prompt for sample in run.samples})}"
    yield "result", f"{run.result.path.name} {_condition(run.result)}" if run.result else "no finished adapter"
    yield "checkpoints", "; ".join(f"{one.path.name} {_condition(one)}" for one in run.checkpoints) or "none"
    page = run.path / "report.html"
    yield "report", str(page) if page.is_file() else f"not written yet: lft runs report {run.path}"


def _chosen(run: Run) -> str:
    from lft.train.history import recipe_values

    values = recipe_values(run.recipe.value) if run.recipe.value else ()
    return ", ".join(f"{value.key}={value.text}" for value in values if not value.default)


def _data(run: Run) -> str:
    if not run.data:
        return "counts were not recorded"
    return "; ".join(
        f"{name}: {c.examples:,} examples, {c.dropped:,} dropped, {c.truncated + c.split:,} cut, {c.tokens:,} tokens"
        + (f" ({c.supervised / c.tokens:.0%} supervised)" if c.tokens else "")
        for name, c in run.data.items()
    )


def _condition(saved: Saved) -> str:
    return f"broken ({'; '.join(saved.broken)})" if saved.broken else "whole"


def _last_loss(run: Run) -> str:
    return next((f"{step.loss:.4f}" for step in reversed(run.metrics.steps) if step.loss is not None), "-")


def _speed(run: Run) -> str:
    return "-" if run.metrics.speed is None else f"{run.metrics.speed:,.0f}"


def _memory(run: Run) -> str:
    return "-" if run.metrics.memory is None else f"{run.metrics.memory / 2**30:.2f} GiB"


def _time(run: Run) -> str:
    from lft.train.summary import time_taken

    return time_taken(run)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


_METRICS: Final[tuple[tuple[str, Callable[[Run], str]], ...]] = (
    ("status", lambda run: run.status.word),
    ("steps", _steps),
    ("validation loss before", lambda run: _loss(run.metrics.before)),
    ("validation loss now", lambda run: _loss(run.metrics.last.loss if run.metrics.last else None)),
    ("fell by", lambda run: "-" if run.metrics.fall is None else f"{run.metrics.fall:.1%}"),
    ("lowest validation loss", lambda run: _loss(run.metrics.best.loss if run.metrics.best else None)),
    ("last training loss", _last_loss),
    ("supervised tokens/s", _speed),
    ("peak memory", _memory),
    ("time", _time),
)


def _print_differences(found: Sequence[Difference], letters: Sequence[str], problems: Sequence[str], same: str) -> None:
    for letter, problem in zip(letters, problems, strict=True):
        if problem:
            print(f"  {letter} cannot be compared: {problem}")
    rows = [(one.name, ["-" if value is None else _printable(value) for value in one.values]) for one in found]
    if rows:
        print("\n".join(_columns(rows, letters)))
    elif sum(not problem for problem in problems) > 1:
        print(f"  {same}")


def _columns(rows: Sequence[tuple[str, Sequence[str]]], letters: Sequence[str]) -> list[str]:
    """Names and one column a run; one line a run instead where a row would not fit."""
    first = max((len(name) for name, _ in rows), default=0)
    widths = [max(len(values[index]) for _, values in rows) for index in range(len(letters))]
    if 4 + first + sum(2 + width for width in widths) <= WIDTH:
        table = [("", letters), *rows]
        return [
            f"  {name:<{first}}  " + "  ".join(f"{v:<{w}}" for v, w in zip(values, widths, strict=True)).rstrip()
            for name, values in table
        ]
    return [line for name, values in rows for line in _stacked(name, values, letters)]


def _stacked(name: str, values: Sequence[str], letters: Sequence[str]) -> list[str]:
    lines = [f"  {name}"]
    for letter, value in zip(letters, values, strict=True):
        lines += textwrap.wrap(
            value,
            WIDTH,
            initial_indent=f"    {letter}  ",
            subsequent_indent=" " * 7,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [f"    {letter}"]
    return lines


def _printable(text: str) -> str:
    """Somebody's text without the characters that would steer a terminal."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _letter(index: int) -> str:
    """A, B, ... Z, then numbers."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)
