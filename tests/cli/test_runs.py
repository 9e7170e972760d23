"""`lft runs`: what it prints, in 80 columns and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.cli.main import run
from lft.train.folder import RunFolder
from tests.cli.test_start_up import HEAVY
from tests.run_folders import LOCK, bare_run, finished_run, log_metrics, recipe, step_record, write_state

ROOT = Path(__file__).parents[2]
Lft = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def lft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lft:
    """Run `lft runs` in an empty folder: exit code, stdout and stderr as lines."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = run(["runs", *arguments])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return call


def test_list_shows_how_each_run_stands_newest_first_in_80_columns(lft: Lft) -> None:
    finished_run(Path("runs"))
    killed = bare_run(Path("runs"), "other", "20260103-000000")
    write_state(killed, planned=100_000)
    log_metrics(killed, {"step": 0, "eval_loss": 12.3456}, step_record(99_999, 1.0))
    failed = bare_run(Path("runs"), "x" * 60, "20260101-000000")
    write_state(failed, word="failed", why="the loss is nan")
    code, out, err = lft("list")
    assert (code, err) == (0, [])
    assert [line.split() for line in out[1:]] == [
        ["other/20260103-000000", "interrupted", "99999/100000", "12.346", "->", "-"],
        ["small/20260102-030405", "finished", "4/4", "3.000", "->", "2.000"],
        [f"{'x' * 60}/20260101-000000"],
        ["failed", "0/4", "-"],
    ]
    assert max(map(len, out)) <= 80


def test_list_of_no_runs_says_so(lft: Lft) -> None:
    assert lft("list") == (0, ["no runs under runs; start one with `lft finetune RECIPE`"], [])
    assert lft("list", "--runs", "elsewhere")[1] == ["no runs under elsewhere; start one with `lft finetune RECIPE`"]


def test_show_says_what_a_run_was_and_what_to_type_next(lft: Lft) -> None:
    path = finished_run(Path("runs"))
    code, out, _ = lft("show", "small")
    text = "\n".join(out)
    assert code == 0
    for wanted in (
        f"run           {path}",
        "status        finished",
        "4 of 4",
        "fell by 33.3%",
        "org/base@" + "a" * 40,
        "24 examples, 3 dropped, 2 cut, 1,200 tokens (75%",
        "result        adapter whole",
        "checkpoints   step-4 whole",
        f"not written yet: lft runs report {path}",
        f'  lft generate --run {path} "your instruction"',
    ):
        assert wanted in text, wanted
    assert max(map(len, out)) <= 80


def test_show_of_a_run_with_nothing_but_its_recipe_says_what_is_missing(lft: Lft) -> None:
    bare_run(Path("runs"))
    code, out, _ = lft("show", "small")
    text = "\n".join(out)
    assert code == 0
    for missing in (
        "there is no lock.json",
        "counts were not recorded",
        "result        no finished adapter",
        "checkpoints   none",
    ):
        assert missing in text


def test_a_text_of_a_run_cannot_steer_the_terminal(lft: Lft) -> None:
    path = bare_run(Path("runs"))
    write_state(path, word="failed", why="\x1b[2Jgone\x9b1m")
    RunFolder(path).write_lock(LOCK)
    (path / "lock.json").write_text((path / "lock.json").read_text().replace("org/base", "\\u001b[31mred"))
    other = finished_run(Path("runs"), name="other")
    for arguments in (("show", "small"), ("compare", "small", str(other))):
        code, out, _ = lft(*arguments)
        assert code == 0
        assert "\\u001b[31mred" in "\n".join(out)
        assert all(character.isprintable() for line in out for character in line)


@pytest.mark.parametrize("command", [["show"], ["report"], ["compare", "small"]], ids=lambda words: words[0])
def test_a_wrong_run_is_one_line_with_the_nearest_and_exit_3(command: list[str], lft: Lft) -> None:
    bare_run(Path("runs"))
    code, _, err = lft(*command, "smal")
    assert code == 3
    assert err == ["error: smal: no such run; nearest: small", "  fix: lft runs list"]


def test_compare_shows_the_keys_that_differ_and_the_metrics_side_by_side(lft: Lft) -> None:
    one = bare_run(Path("runs"), stamp="20260101-000000", chosen=recipe(learning_rate=1e-3))
    log_metrics(one, {"step": 0, "eval_loss": 3.0}, step_record(1, 2.5))
    RunFolder(one).write_lock(LOCK)
    two = finished_run(Path("runs"), losses=(3.0, 1.0, 1.5))
    code, out, _ = lft("compare", "20260101-000000", str(two))
    assert code == 0
    assert out[:2] == [f"A  {one}", f"B  {two}"]
    lines = [line.split() for line in out]
    assert ["train.learning_rate", "0.001", "0.0002"] in lines
    assert not [line for line in lines if line[:1] == ["train.seed"]]
    assert "  the same base, data, device and versions" in out
    assert ["validation", "loss", "now", "-", "1.5000"] in lines
    assert ["lowest", "validation", "loss", "3.0000", "1.0000"] in lines
    assert ["fell", "by", "-", "50.0%"] in lines
    assert max(map(len, out)) <= 80


def test_compare_warns_where_losses_cannot_be_compared(lft: Lft) -> None:
    one, two = finished_run(Path("runs"), name="a"), finished_run(Path("runs"), name="b")
    assert "not comparable" not in "\n".join(lft("compare", "a", "b")[1])
    lock = json.loads((two / "lock.json").read_text())
    (two / "lock.json").write_text(json.dumps({**lock, "validation": "f" * 64}))
    out = lft("compare", str(one), str(two))[1]
    assert out[-1] == "  validation losses are not comparable: validation data or tokenizer differ"


def test_compare_of_many_runs_and_of_long_values_stays_in_80_columns(lft: Lft) -> None:
    for number in range(12):
        bare_run(Path("runs"), f"n{number}", chosen=recipe(seed=number, sample_prompts=["a long prompt " * 9]))
    bare_run(Path("runs"), "odd", chosen=recipe(seed=99, sample_prompts=["another long prompt " * 9]))
    code, out, _ = lft("compare", *(f"n{number}" for number in range(12)), "odd")
    assert code == 0
    assert max(map(len, out)) <= 80
    assert any(line.strip() == "M  99" for line in out)


def test_compare_says_which_recipe_cannot_be_read(lft: Lft) -> None:
    finished_run(Path("runs"), name="a")
    (finished_run(Path("runs"), name="b") / "recipe.yaml").write_text("new_key: 1\n")
    code, out, _ = lft("compare", "a", "b")
    assert code == 0
    assert any(line.startswith("  B cannot be compared: recipe.yaml cannot be read by this version") for line in out)


def test_compare_wants_two_runs(lft: Lft) -> None:
    finished_run(Path("runs"))
    assert lft("compare", "small")[0] == 2


def test_report_writes_the_page_and_prints_its_path(lft: Lft) -> None:
    path = finished_run(Path("runs"))
    (path / "report.html").write_text("old")
    assert lft("report", "small") == (0, [str(path / "report.html")], [])
    assert "<h1>small</h1>" in (path / "report.html").read_text(encoding="utf-8")
    assert f"report        {path / 'report.html'}" in lft("show", "small")[1]


@pytest.mark.parametrize("arguments", [["list"], ["show", "a"], ["compare", "a", "b"], ["report", "a"]], ids=" ".join)
def test_no_heavy_module_is_loaded_to_look_at_runs(arguments: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        finished_run(tmp_path, name=name)
    probe = (
        "import sys\nfrom lft.cli.main import run\ncode = run(sys.argv[1:])\n"
        f"print(); print(code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    words = [sys.executable, "-c", probe, "runs", *arguments, "--runs", str(tmp_path)]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "0"
