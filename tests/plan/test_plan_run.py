"""Steps, tokens, time, disk and the launch line."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.plan.amount import Amount, counted, estimated, published, run_of, steps_of
from lft.plan.batch import BatchPlan, batch_plan
from lft.plan.configs import known_config
from lft.plan.families import shape_of
from lft.plan.hardware import Device, Fleet, parse_hardware
from lft.plan.launch import launch_lines, launch_words, slurm_script
from lft.plan.overview import Plan, plan_run
from lft.plan.report import lasting, report_lines, size
from lft.plan.setup import setup_of
from lft.plan.timing import flops_per_token, pace_of
from lft.recipe import load_recipe
from lft.recipe.schema import Recipe

OPT = shape_of(known_config("facebook/opt-125m") or {})
LLAMA = shape_of(known_config("huggyllama/llama-7b") or {})


def recipe(*overrides: str) -> Recipe:
    return load_recipe("llama7b-lora", overrides, allow_unsupported=True).recipe


def planned(hardware: str = "A100-80GB", nodes: int = 1, *overrides: str, amount: Amount | None = None) -> Plan:
    return plan_run(recipe(*overrides), LLAMA, parse_hardware(hardware, nodes), amount)


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(0, 5), st.integers(1, 4), st.floats(0.1, 4))
def test_steps_are_those_that_training_counts(rows: int, power: int, devices: int, epochs: float) -> None:
    from lft.train.arguments import total_steps

    train = recipe(f"train.epochs={epochs}").train
    batch = BatchPlan(2**power * 3 * devices, 2**power, 3, devices)
    assert steps_of(train, batch, rows) == total_steps(train, rows, batch)


def test_max_steps_wins_over_epochs() -> None:
    train, amount = recipe("train.max_steps=10").train, Amount(100, 100_000, 50, "said")
    assert run_of(train, BatchPlan(8, 1, 8, 1), 2048, amount) is not None
    found = run_of(train, BatchPlan(8, 1, 8, 1), 2048, amount)
    assert found is not None
    assert (found.steps, found.tokens) == (10, 10 * 8 * 2000)


def test_without_data_or_max_steps_nothing_is_made_up() -> None:
    assert run_of(recipe().train, BatchPlan(8, 1, 8, 1), 2048, None) is None
    steps = run_of(recipe("train.max_steps=5").train, BatchPlan(8, 1, 8, 1), 100, None)
    assert steps is not None
    assert (steps.steps, steps.tokens) == (5, 4000)


def test_an_estimate_states_its_assumption() -> None:
    found = estimated(recipe().data, 1000, 4_000_000, "the files")
    assert found.tokens == 1_000_000
    assert found.rows == math.ceil(1_000_000 / (0.97 * 2048))
    assert found.how == "the files; assumed 4 characters a token, rows 97% full"
    assert estimated(recipe("data.packing=false").data, 1000, 4_000_000, "x").rows == 1000
    assert counted(recipe().data, [3, 4], 1).tokens == 7


def test_the_card_of_longform_is_known() -> None:
    found = published(recipe().data)
    assert found is not None
    assert found.examples == 23_652
    assert published(recipe("data.train=a/b").data) is None


def flops(*overrides: str) -> float:
    return flops_per_token(setup_of(recipe("data.eoi=text", *overrides), LLAMA, parse_hardware("A100"), 1))


def test_a_token_costs_six_operations_a_parameter_in_full_and_four_with_an_adapter() -> None:
    kept = ("train.gradient_checkpointing=false", "data.max_length=1")
    computed = LLAMA.total - LLAMA.parts.embedding - LLAMA.parts.norms
    assert flops("method.kind=full", *kept) / computed == pytest.approx(6, rel=1e-3)
    adapter = 39_976_960  # r = 16 on all linear layers
    assert flops(*kept) == pytest.approx(4 * computed + 6 * adapter, rel=1e-3)
    again = flops("data.max_length=1") - flops(*kept)
    assert again / (computed - LLAMA.parts.head) == pytest.approx(2, rel=1e-3)


def test_attention_costs_grow_with_the_length() -> None:
    kept = "train.gradient_checkpointing=false"
    more = flops(kept, "data.max_length=4096") - flops(kept, "data.max_length=2048")
    assert more == pytest.approx(3 * 32 * 4 * 4096 * 1024)


def test_twice_the_devices_are_twice_as_fast_and_an_unknown_peak_is_no_speed() -> None:
    one, two = (pace_of(setup_of(recipe(), LLAMA, parse_hardware(text), 1)) for text in ("A100", "2xA100"))
    assert one is not None
    assert two is not None
    assert two.tokens_per_second == pytest.approx(2 * one.tokens_per_second)
    assert one.utilisation == 0.4
    half = pace_of(setup_of(recipe(), LLAMA, parse_hardware("A100"), 1), 0.2)
    assert half is not None
    assert half.tokens_per_second == pytest.approx(one.tokens_per_second / 2)
    unknown = Fleet(Device("mine", None, 0.0, 0.0))
    assert pace_of(setup_of(recipe(), LLAMA, unknown, 1)) is None


def test_emulated_bfloat16_runs_at_the_speed_of_float32() -> None:
    pace = pace_of(setup_of(recipe("base.dtype=bfloat16"), LLAMA, parse_hardware("V100"), 1), 1.0)
    assert pace is not None
    assert pace.tokens_per_second * pace.flops == pytest.approx(15.7e12)


def test_disk_holds_one_checkpoint_more_than_are_kept() -> None:
    disk = planned("A100", 1, "train.keep_last=2").disk
    assert disk.kept == 3
    assert disk.checkpoint == 3 * disk.result
    assert disk.run == 3 * disk.checkpoint + disk.result
    assert disk.base == 2 * LLAMA.total
    full = planned("8xH200", 1, "method.kind=full", "train.keep_best=true", "launch.engine=zero2").disk
    assert (full.result, full.kept) == (2 * LLAMA.total, 4)


def test_the_launch_line_says_only_what_the_recipe_does_not() -> None:
    one = planned()
    assert launch_lines(launch_words("r.yaml", ["train.epochs=1"], one, ("none", 1, 1)), one.setup.fleet) == [
        "lft finetune r.yaml train.epochs=1"
    ]
    many = planned("8xA100-80GB", 4)
    lines = launch_lines(launch_words("r.yaml", ["data.train=a b"], many, ("none", 1, 1)), many.setup.fleet)
    assert lines[0] == (
        "lft finetune r.yaml 'data.train=a b' launch.engine=ddp launch.gpus=8 --nodes 4 --node-rank 0 --rdzv HOST:29500"
    )
    assert "--node-rank 1 ... 3" in lines[1]


@pytest.mark.parametrize(("hardware", "nodes"), [("8xA100-80GB", 4), ("A100-80GB", 1), ("cpu-64GB", 2)])
def test_the_slurm_script_is_a_shell_script(hardware: str, nodes: int, tmp_path: Path) -> None:
    plan = planned(hardware, nodes, "train.max_steps=100")
    script = slurm_script(launch_words("my recipe.yaml", ["data.train=$HOME/a'b"], plan, ("none", 1, 1)), plan)
    path = tmp_path / "job.sbatch"
    path.write_text(script)
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert f"#SBATCH --nodes={nodes}\n" in script
    assert ("#SBATCH --gpus-per-node=" in script) is hardware.startswith(("8", "A"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_slurm_script_starts_lft_on_each_machine_with_its_number(nodes: int, tmp_path: Path) -> None:
    """A pretended srun runs the task once a machine; lft writes down what it was given."""
    tools = {
        "scontrol": 'printf "node-a\\n"; sleep 0.2; printf "node-b\\nnode-c\\n"',  # it need not say all at once
        "srun": 'while [[ "$1" == --* ]]; do shift; done\n'
        'for id in $(seq 0 $((SLURM_NNODES - 1))); do SLURM_NODEID=$id "$@"; done',
        "lft": f'printf "%s|" "$@" >> {tmp_path}/calls; echo >> {tmp_path}/calls',
    }
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    plan = planned("8xA100-80GB", nodes, "train.max_steps=100", "train.global_batch_size=96")
    (tmp_path / "job").write_text(slurm_script(launch_words("a b.yaml", ["x=$HOME"], plan, ("none", 1, 1)), plan))
    known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[a-c]"}
    subprocess.run(["bash", str(tmp_path / "job")], env={**known, "SLURM_NNODES": str(nodes)}, check=True)
    calls = [line.split("|")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert len(calls) == nodes
    assert all(call[:3] == ["finetune", "a b.yaml", "x=$HOME"] for call in calls)
    if nodes > 1:
        assert [call[-1] for call in calls] == ["0", "1", "2"]
        assert calls[0][-6:-1] == ["--nodes", "3", "--rdzv", "node-a:20007", "--node-rank"]


@pytest.mark.parametrize(
    ("hardware", "overrides"),
    [
        ("8xA100-80GB", ()),
        ("T4", ("method.kind=full",)),
        ("RTX4090", ("base.quantize=nf4", "data.max_length=8192")),
        ("cpu", ("base.dtype=float32",)),
        ("8xH100", ("launch.engine=zero3-offload", "method.kind=full")),
    ],
)
def test_the_report_has_80_columns_and_every_part(hardware: str, overrides: tuple[str, ...]) -> None:
    plan = planned(hardware, 1, *overrides, amount=Amount(10, 20_000, 12, "said"))
    lines = list(report_lines(plan, "a test", ["lft finetune x"]))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for label in (
        "model",
        "trained",
        "batch",
        "engine",
        "optimizer" if plan.memory.optimizer else "host",
        "highest",
        "data",
        "time",
        "disk",
        "run",
    ):
        assert f"\n{label}" in text or f"\n  {label}" in text
    assert ("to make it fit" in text) is not plan.fits


def test_long_commands_are_broken_where_a_shell_joins_them() -> None:
    command = shlex.join(["lft", "finetune", "r.yaml", *(f"train.epochs={number}" for number in range(12))])
    lines = list(report_lines(planned(), "a test", [command]))
    at = lines.index("run")
    joined = "\n".join(lines[at + 1 :])
    assert shlex.split(joined.replace("\\\n", " ")) == shlex.split(command)


def test_times_and_sizes_are_written_as_people_say_them() -> None:
    assert [lasting(s) for s in (0.2, 45, 600, 7200, 400_000)] == ["1 s", "45 s", "10 min", "2.0 h", "4.6 days"]
    assert [size(b) for b in (900, 35e6, 6.1e9)] == ["1 kB", "35 MB", "6.1 GB"]


def test_the_batch_of_the_plan_is_the_batch_of_training_where_no_memory_is_known() -> None:
    short: Any = recipe("data.max_length=512")
    assert plan_run(short, OPT, parse_hardware("cpu")).batch == batch_plan(short)
