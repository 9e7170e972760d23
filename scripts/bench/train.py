"""Training speed and memory as ratios to a bare TRL script, measured in one run on one machine.

    python scripts/bench/train.py [--threads 1] [--rows 96] [--rounds 2]

Same model (10.9 M LLaMA, LoRA r = 8 on all linear layers), same data, same batch and steps. Each contender runs in a
process of its own, in turn, `rounds` times; the best round counts, since a disturbed round is only ever slower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from material import make_data, make_model

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    name: str
    data: str
    options: dict[str, object] | tuple[str, ...]  # TRL's SFTConfig options, or lft overrides


CONTENDERS = (
    Contender(
        "lft, no packing", "even", ("data.packing=false", "train.micro_batch_size=4", "train.global_batch_size=8")
    ),
    Contender("TRL, padded", "even", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}),
    Contender(
        "lft, packed", "long-tail", ("data.packing=true", "train.micro_batch_size=1", "train.global_batch_size=2")
    ),
    Contender("TRL, padded", "long-tail", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}),
    Contender(
        "TRL, bfd packing",
        "long-tail",
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "packing": True},
    ),
    Contender(
        "TRL, padding-free",
        "long-tail",
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "padding_free": True, "max_length": None},
    ),
)


@dataclass(frozen=True)
class Figures:
    supervised: float
    steps: int
    seconds: float
    final_loss: float
    memory: int

    @property
    def rate(self) -> float:
        return self.supervised / self.seconds


def recipe_for(folder: Path, data: Path) -> Path:
    path = folder / f"{data.stem}.yaml"
    path.write_text(
        f"""name: bench
base: {{model: {folder / "model"}, dtype: float32}}
data:
  {{train: {data}, split: {{train: train, validation: null}}, format: prompt-completion, eoi: text, max_length: 512}}
method: {{kind: lora, r: 8, alpha: 16, dropout: 0.0, target_modules: all-linear}}
train: {{epochs: 1, learning_rate: 1.0e-3, schedule: cosine, warmup_ratio: 0.03, save_every: end}}
output: {{runs: {folder / "runs"}}}
"""
    )
    return path


def measure(contender: Contender, folder: Path, data: Path, threads: int) -> Figures:
    if isinstance(contender.options, tuple):
        command = [str(HERE / "lft_run.py"), str(recipe_for(folder, data)), str(folder / "cache"), *contender.options]
    else:
        options = dict(contender.options)
        command = [
            str(HERE / "bare_trl.py"),
            str(folder / "model"),
            str(data),
            str(folder / "trl"),
            json.dumps(options),
        ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{contender.name} failed:\n{done.stderr[-3000:]}")
    return Figures(**json.loads(done.stdout.strip().splitlines()[-1]))


def best(rounds: list[Figures]) -> Figures:
    return min(rounds, key=lambda figures: figures.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        data = {
            "even": make_data(folder, folder / "model", "even", choice.rows),
            "long-tail": make_data(folder, folder / "model", "long-tail", 4 * choice.rows),
        }
        rounds: dict[int, list[Figures]] = {index: [] for index in range(len(CONTENDERS))}
        for _ in range(choice.rounds):
            for index, contender in enumerate(CONTENDERS):
                rounds[index].append(measure(contender, folder, data[contender.data], choice.threads))
        show([best(rounds[index]) for index in range(len(CONTENDERS))], choice.threads)


def show(figures: list[Figures], threads: int) -> None:
    print(f"{threads} thread(s) a process; best of the rounds\n")
    print(
        f"{'data':10} {'contender':18} {'steps':>5} {'s':>7} {'sup. tok/s':>10} {'ratio':>6} {'loss':>7} "
        f"{'GiB':>5} {'ratio':>6}"
    )
    for data in ("even", "long-tail"):
        group = [(c, f) for c, f in zip(CONTENDERS, figures, strict=True) if c.data == data]
        ours = group[0][1]
        for contender, one in group:
            ratio, memory = ours.rate / one.rate, ours.memory / one.memory
            print(
                f"{data:10} {contender.name:18} {one.steps:5} {one.seconds:7.1f} {one.rate:10.0f} {ratio:6.2f} "
                f"{one.final_loss:7.4f} {one.memory / 2**30:5.2f} {memory:6.2f}"
            )
    print("\nratio: lft over the contender of that line (speed: higher is better; memory: lower is better)")


if __name__ == "__main__":
    main()
