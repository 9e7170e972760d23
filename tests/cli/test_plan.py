"""`lft plan` from the outside: what it prints, where its figures come from, how it fails, what it loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lft.cli.main import run
from tests.tiny import save_tiny

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "transformers", "datasets", "peft", "trl", "accelerate", "numpy", "pandas", "pyarrow", "rich"]


@pytest.fixture
def lft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `lft` at the root of the checkout with a cache of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_plan_in_80_columns_for_devices_that_are_not_here(lft) -> None:
    code, out, err = lft("plan", "llama7b-lora", "--hardware", "8xA100-80GB", "--nodes", "4")
    assert (code, err) == (0, "")
    assert out.startswith("llama7b-lora: huggyllama/llama-7b on 4 x 8 x A100-80GB\n")
    assert "x 32 devices = 128 global" in out
    assert "6,738,415,616 parameters" in out
    assert "launch.engine=ddp launch.gpus=8 --nodes 4" in out
    assert max(map(len, out.splitlines())) <= 80


def test_every_recipe_of_the_catalogue_can_be_planned(lft) -> None:
    from lft.recipe.catalogue_files import recipe_files

    for path in recipe_files():
        code, out, err = lft("plan", f"recipes/{path.name}", "--hardware", "A100-80GB")
        assert (code, err) == (0, ""), path.name
        assert "highest" in out


def test_what_is_not_built_yet_can_be_planned(lft) -> None:
    code, out, _ = lft("plan", "llama7b-lora", "method.kind=full", "launch.engine=zero3", "--hardware", "8xRTX4090")
    assert code == 0
    assert "zero3" in out
    code, _, err = lft("plan", "llama7b-lora", "method.kind=ful", "--hardware", "L4")
    assert code == 2
    assert "nearest: 'full'" in err


def test_a_base_on_this_machine_is_measured_by_its_files(lft, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", "llama", max_shard_size="40KB")
    code, out, _ = lft("plan", "quickstart", f"base.model={folder}", "--hardware", "cpu-8GB")
    assert code == 0
    assert "sizes from its files" in out.replace("\n           ", " ")


def test_a_config_alone_is_enough(lft, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", "opt")
    (folder / "model.safetensors").unlink()
    code, out, _ = lft("plan", "quickstart", f"base.model={folder}", "--hardware", "L4")
    assert code == 0
    assert "its config.json alone" in out.replace("\n           ", " ")


def test_files_that_do_not_belong_together_are_an_error(lft, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    code, out, err = lft("plan", "quickstart", f"base.model={folder}", "--hardware", "L4")
    assert (code, out) == (3, "")
    assert "the files hold" in err


def test_a_snapshot_in_the_hub_cache_is_used(lft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--some--base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c" * 40)
    save_tiny(repository / "snapshots" / ("c" * 40), "qwen2")
    code, out, _ = lft("plan", "quickstart", "base.model=some/base", "--hardware", "L4")
    assert code == 0
    assert "qwen2, 2 layers" in out


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        (["base.model=./none"], 3, "no such file or folder"),
        (["base.model=nobody/nothing"], 3, "the sizes of this base are not known"),
        (["method.target_modules=[q_porj]"], 2, "nearest: q_proj"),
        (["train.global_batch_size=3", "--hardware", "2xL4"], 2, "cannot be divided over 2 devices"),
        (["--hardware", "H10"], 2, "nearest: H100"),
        (["train.lr=1"], 2, "nearest: 'learning_rate'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_mistakes_are_one_clear_message(lft, overrides: list[str], code: int, words: str) -> None:
    hardware = [] if "--hardware" in overrides else ["--hardware", "L4"]
    got, out, err = lft("plan", "llama7b-lora", *overrides, *hardware)
    assert (got, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_an_unconverted_gguf_says_how_to_convert_it(lft, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    code, _, err = lft("plan", "quickstart", f"base.model={tmp_path / 'x.gguf'}", "--hardware", "L4")
    assert code == 3
    assert "--dry-run" in err


def test_rows_of_a_file_are_counted(lft, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "a" * 400, "completion": "b" * 3600, "split": split} for split in ("train", "train", "validation")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = lft("plan", "llama7b-lora", f"data.train={path}", "--hardware", "L4")
    assert "2 examples, 2,000 tokens, 2 rows an epoch" in out
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    _, out, _ = lft("plan", "llama7b-lora", f"data.train={tmp_path / 'rows.json'}", "--hardware", "L4")
    assert "2 examples, 2,000 tokens, 2 rows an epoch" in out


def test_data_that_is_not_here_is_not_made_up(lft) -> None:
    _, out, _ = lft("plan", "llama7b-lora", "data.train=some/data", "--hardware", "L4")
    assert "rows and steps are not known" in out
    _, out, _ = lft("plan", "llama7b-lora", "data.train=some/data", "--hardware", "L4", "--tokens", "1000000")
    assert "1,000,000 tokens" in out


def test_counting_is_exact(lft, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", "llama")
    code, out, _ = lft("plan", "quickstart", f"base.model={folder}", "data.max_length=512", "data.overlong=split",
                       "--hardware", "cpu-8GB", "--count")  # fmt: skip
    assert code == 0
    assert "(counted: " in out


def test_slurm_prints_the_script_and_nothing_else(lft) -> None:
    code, out, err = lft("plan", "llama7b-lora", "--hardware", "8xH100", "--nodes", "2", "--slurm")
    assert (code, err) == (0, "")
    assert out.startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_the_examples_of_job_scripts_are_what_the_command_prints(lft) -> None:
    folder = ROOT / "scripts/slurm"
    listed = re.findall(r"^\| `(\S+)` \| `lft (.+)` \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(path.name for path in folder.glob("*.sbatch"))
    for name, command in listed:
        code, out, err = lft(*command.split())
        assert (code, err) == (0, "")
        assert out == (folder / name).read_text(), f"lft {command} > scripts/slurm/{name}"


def test_this_machine_is_planned_for_when_no_hardware_is_named(lft) -> None:
    code, out, _ = lft("plan", "opt-125m-lora")
    assert code == 0
    assert "highest" in out


PROBE = f"""
import sys
from lft.cli.main import run
code = run(sys.argv[1:])
print("\\nLOADED", code, *[name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["llama7b-lora", "--hardware", "8xA100-80GB", "--nodes", "4"],
        ["llama7b-lora", "method.kind=full", "--hardware", "T4"],
        ["llama7b-lora", "--hardware", "8xA100-80GB", "--slurm"],
        ["quickstart"],
    ],
    ids=" ".join,
)
def test_planning_loads_no_heavy_module(arguments: list[str]) -> None:
    command = [sys.executable, "-c", PROBE, "plan", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1].split() == ["LOADED", "0"]
