from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import pytest
import typer

from lft import __version__, errors
from lft.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Put a function into the table as `lft probe`."""

    def install(function: object) -> None:
        module = types.ModuleType("lft_probe_module")
        module.probe = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lft_probe_module", module)
        monkeypatch.setitem(main.COMMANDS, "probe", main.Command("lft_probe_module", "probe", "Probe."))

    return install


def raiser(error: BaseException) -> Callable[[], None]:
    def probe() -> None:
        raise error

    return probe


def test_help_names_every_command_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    out = capsys.readouterr().out
    for name, entry in main.COMMANDS.items():
        assert f"  {name}" in out
        assert entry.help in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"lft {__version__}\n"


def test_no_command_shows_the_help_and_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "nearest"), [("finetun", "finetune"), ("recipe", "recipes"), ("Chat", "chat")])
def test_an_unknown_command_names_the_nearest(typed: str, nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([typed]) == 2
    assert f"error: no command '{typed}'; nearest: '{nearest}'" in capsys.readouterr().err


def test_a_command_like_no_other_is_answered_with_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["zzzz"]) == 2
    assert f"there are {', '.join(main.COMMANDS)}" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_command_of_the_table_can_be_loaded(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec(main.COMMANDS[name].module) is None:
        pytest.skip(f"{main.COMMANDS[name].module} is not written yet")
    assert main.run([name, "--help"]) == 0
    assert f"Usage: lft {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("what", where="r.yaml:1:2", fix="do"), 2),
        (errors.InputError("what", where="r.yaml:1:2", fix="do"), 3),
        (errors.MachineError("what", where="r.yaml:1:2", fix="do"), 4),
        (errors.TrainingError("what", where="r.yaml:1:2", fix="do"), 5),
    ],
)
def test_an_error_for_the_user_is_its_message_and_its_exit_code(
    error: errors.LftError, code: int, command: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raiser(error))
    assert main.run(["probe"]) == code
    captured = capsys.readouterr()
    assert captured.err == "error: r.yaml:1:2: what\n  fix: do\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (typer.Abort(), 130), (typer.Exit(7), 7), (typer.Exit(), 0)]
)
def test_stopping_has_an_exit_code_and_no_traceback(
    error: BaseException, code: int, command: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raiser(error))
    assert main.run(["probe"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_lft_is_one_line_and_its_traceback_is_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(raiser(ZeroDivisionError("odd\nthing")))
    assert main.run(["probe"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: this is a fault of lft: ZeroDivisionError: odd"
    (saved,) = tmp_path.iterdir()
    assert str(saved) in second
    assert "Traceback" in saved.read_text()
    assert f"lft {__version__}" in saved.read_text()


def test_a_fault_that_cannot_be_saved_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    command(raiser(ZeroDivisionError("odd")))
    assert main.run(["probe"]) == 1
    assert "ZeroDivisionError: odd" in capsys.readouterr().err


def test_a_function_with_arguments_and_options_becomes_a_command(
    command: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def probe(
        recipe: Annotated[str, typer.Argument()],
        overrides: Annotated[list[str] | None, typer.Argument()] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    ) -> None:
        """Try it."""
        seen.append((recipe, overrides, dry_run))

    command(probe)
    assert main.run(["probe", "r.yaml", "a.b=c = d", "e=1", "--dry-run"]) == 0
    assert seen == [("r.yaml", ["a.b=c = d", "e=1"], True)]
    assert main.run(["probe", "r.yaml"]) == 0
    assert seen[1][2] is False
    assert not seen[1][1]
    assert main.run(["probe", "r.yaml", "--dry"]) == 2
    assert "fix: lft probe --help" in capsys.readouterr().err


@pytest.mark.parametrize("colour", [True, False])
def test_only_a_terminal_without_no_color_gets_colours(
    colour: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    main.run(["zzzz"])
    assert ("\033[31m" in capsys.readouterr().err) is colour


def test_a_reader_that_goes_away_is_not_an_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lft.cli.main", "recipes", "schema"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("näme: x\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "lft.cli.main", "recipes", "check", str(path)],
        cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert rb"unknown key 'n\xe4me'; nearest: 'name'" in result.stderr
