"""What `lft` costs before it does anything: the modules it loads, not the seconds of one machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    "torch",
    "transformers",
    "datasets",
    "peft",
    "trl",
    "accelerate",
    "numpy",
    "huggingface_hub",
    "pandas",
    "pyarrow",
]

PROBE = f"""
import sys
from lft.cli.main import run
code = run(sys.argv[1:])
loaded = [name for name in {[*HEAVY, "rich", "ruamel", "lft.recipe"]!r} if name in sys.modules]
print("\\nLOADED", code, *loaded)
"""


def loaded(*arguments: str) -> tuple[int, set[str]]:
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    _, code, *names = result.stdout.splitlines()[-1].split()
    return int(code), set(names)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["finetun"], 2),
        (["recipes", "--help"], 0),
        (["recipes", "list"], 0),
        (["recipes", "check", "recipes/quickstart.yaml"], 0),
        (["recipes", "check", "recipes/quickstart.yaml", "train.lr=1"], 2),
        (["recipes", "show", "quickstart"], 0),
        (["recipes", "schema"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_no_heavy_module_is_loaded_to_look_at_recipes(arguments: list[str], code: int) -> None:
    got, modules = loaded(*arguments)
    assert got == code
    assert modules.isdisjoint(HEAVY)
    assert "rich" not in modules


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recipes", "--help"]], ids=" ".join)
def test_help_loads_no_room_at_all(arguments: list[str]) -> None:
    assert loaded(*arguments) == (0, set())


LAUNCHER = """
import sys
import torch.distributed.launcher.api as agent
class Agent:
    def __init__(self, config, entrypoint): pass
    def __call__(self, *arguments):
        print("LOADED", *(name for name in sys.modules if "." not in name))
agent.elastic_launch = Agent
from lft.cli.main import run
sys.exit(run(["finetune", "quickstart", "launch.engine=ddp", "launch.gpus=2", "train.global_batch_size=2"]))
"""


def test_a_run_of_several_processes_starts_them_before_anything_of_the_training_is_loaded() -> None:
    result = subprocess.run([sys.executable, "-c", LAUNCHER], cwd=ROOT, capture_output=True, text=True, check=True)
    word, *modules = result.stdout.splitlines()[-1].split()
    assert word == "LOADED"
    assert "torch" in modules  # its agent starts them
    assert {"transformers", "datasets", "peft", "trl", "accelerate", "deepspeed"}.isdisjoint(modules)


def test_the_recipe_room_reads_yaml_only_when_there_is_yaml_to_read() -> None:
    probe = "import sys, lft.recipe; print('ruamel' in sys.modules, 'torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False", "False"]


def test_the_probe_sees_a_heavy_module() -> None:
    """The budget above can fail: a module that is loaded is reported."""
    probe = PROBE.replace("import sys", "import sys, numpy", 1)
    result = subprocess.run(
        [sys.executable, "-c", probe, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "numpy" in result.stdout.splitlines()[-1].split()
