"""`lft` as a process of its own, in a folder of its own, and what its terminal would show."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny import save_tiny, sentences

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "lft.cli.main"]
PATIENCE = 240  # seconds; a process takes five to ten on two quiet cores
RECIPE = """\
name: tiny
base: {model: ./llama, dtype: float32}
data: {train: data.jsonl, max_length: 128, packing: false}
method: {r: 4, alpha: 8}
train:
  epochs: 12
  learning_rate: 1.0e-2
  global_batch_size: 4
  save_every: 20
  eval_every: end
  keep_last: 9
"""


@dataclass(frozen=True)
class Done:
    """How a process ended: what it returned and what it wrote. A terminal has one stream, ``out``."""

    code: int
    out: str
    err: str


def tiny_place(folder: Path, recipe: str = RECIPE) -> Path:
    """A folder with a tiny model (``llama``), 24 examples (``data.jsonl``) and a recipe (``tiny.yaml``)."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tiny(folder / "llama", "llama")
    texts = sentences(48, seed=5, low=3, high=20)
    parts = ["train"] * 20 + ["validation"] * 4
    rows = [{"input": texts[i], "output": texts[i + 24], "split": part} for i, part in enumerate(parts)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "tiny.yaml").write_text(recipe, encoding="utf-8")
    return folder


def environment(place: Path, **changes: str | None) -> dict[str, str]:
    """This process's environment with this checkout's lft, 80 columns and caches inside ``place``; None unsets."""
    own = {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "80",
        "LFT_CACHE": str(place / "cache"),
        "HF_HOME": str(place / "hf"),
        "TMPDIR": str(place),
    }
    chosen: dict[str, Any] = {**os.environ, **own, **changes}
    return {name: value for name, value in chosen.items() if value is not None}


def lft(place: Path, *arguments: str, stdin: str = "", limit: int | None = None, **env: str | None) -> Done:
    """Run `lft` in a folder to its end; ``limit`` is the size in bytes of the largest file that it may write."""
    import resource

    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run(
        [*COMMAND, *arguments], cwd=place, env=environment(place, **env), input=stdin.encode(), capture_output=True,
        timeout=PATIENCE, check=False, preexec_fn=prepare,
    )  # fmt: skip
    return Done(result.returncode, result.stdout.decode(), result.stderr.decode())


def lft_signalled(place: Path, number: int, at: str, *arguments: str) -> Done:
    """Run `lft` and send a signal when it first writes ``at``."""
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=place, env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out = b""
        for line in process.stdout:
            out += line
            if at.encode() in line:
                process.send_signal(number)
                break
        out += process.stdout.read()
        err = process.stderr.read()
    return Done(process.returncode, out.decode(), err.decode())


def lft_on_terminal(place: Path, *arguments: str, typed: Callable[[str], str | None] | None = None) -> Done:
    """Run `lft` on a terminal of 80 columns; ``typed`` sees all that was shown and may answer with keys to press."""
    pid, screen = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe(COMMAND[0], [*COMMAND, *arguments], environment(place, COLUMNS=None, TERM="xterm"))
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    while True:
        try:
            new = os.read(screen, 65536)
        except OSError:  # Linux's word for "the other side is closed"
            break
        if not new:
            break
        shown += new
        keys = typed(shown.decode("utf-8", "replace")) if typed else None
        if keys:
            os.write(screen, keys.encode())
    os.close(screen)
    _, status = os.waitpid(pid, 0)
    return Done(os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace"), "")


def lines_on_screen(shown: str, columns: int = 80) -> list[str]:
    """What a terminal makes of a stream: carriage returns, cleared lines, wrapping; colours are left out."""
    import re

    rows, column = [""], 0
    for found in re.finditer(r"\x1b\[(\d*)([A-Za-z])|([\s\S])", shown):
        number, kind, character = found.groups()
        if kind == "K" and number == "2":
            rows[-1] = ""
        elif character == "\n":
            rows.append("")
        elif character == "\r":
            column = 0
        elif character:
            if column == columns:
                rows.append("")
                column = 0
            rows[-1] = rows[-1][:column].ljust(column) + character + rows[-1][column + 1 :]
            column += 1
    return rows


def one_clear_error(err: str) -> str:
    """The message in ``err``, which must be one: no traceback, nothing before or after it, nothing unprintable."""
    lines = err.splitlines()
    assert lines, "nothing was said"
    assert lines[0].startswith("error: "), err
    assert all(line.startswith("  ") for line in lines[1:]), err
    assert "Traceback" not in err
    assert "a fault of lft" not in err
    assert all(character.isprintable() for line in lines for character in line), err
    return err
