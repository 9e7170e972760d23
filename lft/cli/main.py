"""`lft`: the table of commands, and what happens when one of them fails.

A command's module is imported when the command is run, not before: `lft --help` knows names and one line of help only.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from lft import __version__
from lft.errors import LftError, RecipeError


@dataclass(frozen=True, slots=True)
class Command:
    """A line of the table: where the function (or, for a group, the typer app) is, and its help."""

    module: str
    attribute: str
    help: str


COMMANDS: Final = {
    "finetune": Command("lft.cli.finetune", "finetune", "Train what a recipe says."),
    "plan": Command("lft.cli.plan", "plan", "Say what a run will take: memory, batch, time, disk, launch line."),
    "generate": Command("lft.cli.generate", "generate", "Write text with a base model and an adapter."),
    "chat": Command("lft.cli.generate", "chat", "Talk to a base model with an adapter."),
    "data": Command("lft.cli.data", "app", "Look at training data: preview, audit."),
    "corpus": Command("lft.cli.corpus", "app", "Documents to instruction data: build, select, screen, audit."),
    "evaluate": Command("lft.cli.evaluate", "app", "Score long text: suites, intervals, comparisons, reports."),
    "runs": Command("lft.cli.runs", "app", "Run folders: list, show, compare, report."),
    "adapters": Command("lft.cli.adapters", "app", "The registry of adapters: add, list, show, tag, lock, gc."),
    "recipes": Command("lft.cli.recipes", "app", "Recipes: list, show, check, schema, new."),
    "base": Command("lft.cli.base", "app", "Base models: fingerprint, weight differences."),
}

# SIGPIPE's number: what a shell reports for any tool whose reader went away.
_READER_GONE: Final = 141


class LazyGroup(TyperGroup):
    """A group that shows its table and imports only the command that is run."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """A stand-in with the help text; enough for the list of commands."""
        command = COMMANDS.get(cmd_name)
        return command and TyperCommand(cmd_name, help=command.help, short_help=command.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ARG002
        """The real command, imported now."""
        return args[0], _loaded(args[0]), args[1:]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code (listed in ``lft.errors``); never raises."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character gets its escape, not a failure
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _invoke(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    return code


def _invoke(arguments: list[str]) -> int:
    try:
        command = typer.main.get_command(_app())
        with command.make_context("lft", arguments) as context:
            command.invoke(context)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except typer.Abort:
        return _failed("stopped", 130)
    except typer.Exit as done:
        return done.exit_code
    except LftError as error:
        return _failed(str(error), error.exit_code)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer: a wrong option or argument
            return _misused(error)
        return _own_fault(error)
    return 0


def _app() -> typer.Typer:
    app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.callback(context_settings={"help_option_names": ["-h", "--help"]})(_root)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        print(f"lft {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """LongForm tuning: from human-written documents to adapters that people can run."""


def _loaded(name: str) -> Any:
    """The command of a name as typer builds it."""
    if name not in COMMANDS:
        from lft.recipe.problems import nearest, shown

        close = nearest(name, COMMANDS)
        hint = f"nearest: {shown(close)}" if close else f"there are {', '.join(COMMANDS)}"
        raise RecipeError(f"no command {shown(name)}; {hint}", fix="lft --help shows them all")
    command = COMMANDS[name]
    target = getattr(import_module(command.module), command.attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name, help=target.__doc__ or command.help)(target)
        target = single
    built = typer.main.get_command(target)
    built.name = name
    return built


def _failed(message: str, code: int) -> int:
    """Say what was wrong on stderr; red where a person reads it."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    mark = "\033[31merror:\033[0m" if colour else "error:"
    print(f"{mark} {message}", file=sys.stderr)
    return code


def _misused(error: Any) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return 2
    fix = f"\n  fix: {context.command_path} --help" if context else ""
    return _failed(error.format_message() + fix, error.exit_code)


def _own_fault(error: Exception) -> int:
    """Something nobody foresaw: keep the traceback for a report and out of the user's way."""
    import tempfile

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="lft-fault-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"lft {__version__}\n{text}")
    except OSError:
        return _failed(f"this is a fault of lft, and its report could not be saved:\n{text}", 1)
    kind = f"{type(error).__name__}: {error}".splitlines()[0]
    return _failed(f"this is a fault of lft: {kind}\n  fix: please report it with {file.name}", 1)


if __name__ == "__main__":
    sys.exit(run())
