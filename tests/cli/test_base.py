"""`lft base`: what a person sees, in 80 columns, and what it costs to start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lft.base.headers import SINGLE
from lft.cli.main import run
from tests.hub_server import HubServer
from tests.raw_safetensors import Raw, write_tensors

ROOT = Path(__file__).parents[2]


def model(folder: Path, fill: int, rows: int = 4) -> Path:
    folder.mkdir(parents=True)
    write_tensors(folder / SINGLE, [Raw("w", "BF16", (rows, 2), bytes([fill]) * rows * 4)])
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"model": {}}')
    return folder


@pytest.fixture
def lft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `lft` beside a base and a tuned model: exit code, stdout and stderr as lines, none over 80 columns."""
    model(tmp_path / "base", 1)
    model(tmp_path / "tuned", 2, rows=5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / ".cache"))

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = run(["base", *arguments])
        captured = capsys.readouterr()
        out, err = captured.out.splitlines(), captured.err.splitlines()
        assert max(map(len, [*out, *err]), default=0) <= 80
        return code, out, err

    return call


def test_make_apply_and_check_say_what_they_did(lft) -> None:
    code, out, err = lft("diff", "make", "base", "tuned", "diff")
    assert code == 0
    assert err == ["reading both models", "shard 1 of 1: model.safetensors"]
    assert out[:2] == ["1 tensors differ, 0 are the base's", "1 with rows that the base has not: w"]
    assert out[-1] == "diff: 0.0 kB; `lft base diff apply BASE diff NEW` makes the model again"
    result = out[-2].split()[1]
    code, out, _ = lft("diff", "check", "diff", "base")
    assert (code, out[0]) == (0, "diff: whole, against base; this base is the one")
    code, out, _ = lft("diff", "apply", "base", "diff", "again", "--expect", result)
    assert code == 0
    assert out[-2] == f"result     {result}"
    assert Path("again", SINGLE).read_bytes() == Path("tuned", SINGLE).read_bytes()
    _, out, _ = lft("fingerprint", "again")
    assert out[0] == f"weights    {result}"
    assert out[1].startswith("tokenizer  ")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["diff", "apply", "tuned", "diff", "again"], 3, "not the base of this difference"),
        (["diff", "apply", "base", "nowhere at all", "again"], 3, "not a folder and not a hub id"),
        (["diff", "apply", "base", "diff", "diff"], 2, "exists already"),
        (["diff", "apply", "base", "diff", "again", "--add-token", "[EOI]"], 2, "brings its own tokenizer"),
        (["diff", "make", "base", "./none", "new"], 3, "no such file or folder"),
        (["diff", "make", "base", "base", "new"], 3, "there is no difference"),
        (["diff", "check", "base", "tuned"], 3, "has shape"),
        (["diff", "check", "diff", "--diff-revision", "main"], 3, "is on the disk"),
        (["diff", "mak"], 2, "mak"),
    ],
)
def test_a_mistake_is_one_message_with_its_exit_code(lft, capsys, arguments, code, says) -> None:
    lft("diff", "make", "base", "tuned", "diff")
    before = sorted(Path().rglob("*"))
    assert run(["base", *arguments]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert [path for path in sorted(Path().rglob("*")) if ".cache" not in path.parts] == [
        path for path in before if ".cache" not in path.parts
    ]


@pytest.mark.parametrize("command", [[], ["diff"], ["diff", "make"], ["diff", "apply"], ["diff", "check"]])
def test_help_fits_in_80_columns(lft, command: list[str]) -> None:
    code, out, _ = lft(*command, "--help")
    assert code == 0
    assert out


def test_neither_torch_nor_transformers_is_loaded(lft, tmp_path: Path) -> None:
    probe = (
        "import sys; from lft.cli.main import run; code = run(sys.argv[1:]);"
        "print(code, *(n for n in ('torch', 'transformers', 'huggingface_hub') if n in sys.modules))"
    )
    for arguments in (["make", "base", "tuned", "diff"], ["apply", "base", "diff", "again"], ["check", "diff", "base"]):
        command = [sys.executable, "-c", probe, "base", "diff", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0"


def test_base_and_difference_come_from_the_hub_at_their_revisions(lft, tmp_path: Path) -> None:
    lft("diff", "make", "base", "tuned", "diff")
    for name in ("base", "diff"):
        shutil.copytree(name, tmp_path / "repos" / "org" / name)
    (tmp_path / "home").mkdir()
    with HubServer(tmp_path / "repos") as server:
        environment = server.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        commits = [server.commit("org/base"), server.commit("org/diff")]
        command = [sys.executable, "-m", "lft.cli.main", "base", "diff", "apply", "org/base", "org/diff", "again"]
        command += ["--base-revision", commits[0], "--diff-revision", commits[1]]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / SINGLE).read_bytes() == (tmp_path / "tuned" / SINGLE).read_bytes()
