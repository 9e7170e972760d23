"""Training speed, memory, loss and start as ratios to a bare script, measured in one run on one machine.

    python scripts/bench/train.py [--kind lora|qlora|full|t5|zero|all] [--threads 1] [--rows 96] [--rounds 2]

lora, qlora, full   a 10.9 M LLaMA against a bare TRL script (r = 8 on all linear layers; qlora: on nf4)
t5                  an 11.6 M T5 v1.1, LoRA and full, against a bare Seq2SeqTrainer script
zero                two processes (gloo): ZeRO through lft and a bare TRL script, each against plain DDP through lft

The same data, batch and epochs for all that are compared (`contenders.py` has the table). Each contender runs in a
process of its own (or two), in turn, `rounds` times. For lora the best round counts, since a disturbed round is only
ever slower; behind its ratios: the time to the first step, where the time of lft's steps goes, and how far its
arithmetic is from what this machine's matrix products can do (`ceiling.py`). The others tell the median of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ceiling import Peak
from contenders import BARE, KINDS, METHODS, Contender, Figures, Profile, recipe_for
from material import MODELS, make_data
from tables import Rounds, show_distance, show_first_steps, show_medians, show_profiles, show_ratios

HERE = Path(__file__).resolve().parent


class Bench:
    """The material, and a process (or two) for each run; what a contender caches is its own."""

    def __init__(self, folder: Path, rows: int, threads: int) -> None:
        self.folder, self.threads = folder, threads
        for name, make in MODELS.items():
            make(folder / name)
        sizes = {"even": rows, "long-tail": 4 * rows}
        self.data = {kind: make_data(folder, folder / "llama", kind, size) for kind, size in sizes.items()}
        self.places: dict[Contender, Path] = {}
        self._python("-c", "import datasets, peft, torch, transformers, trl", home=folder / "hf")  # off a cold disk

    def measured(self, contender: Contender, what: str = "measure") -> Figures:
        """One round; lft can also tell the peak of its process (``ceiling``)."""
        if contender.is_ours:
            figures = self._lft(contender, what)
            return Figures(**{**figures, "peak": Peak(**figures["peak"]) if "peak" in figures else None})
        own = self._own(contender)
        torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={contender.processes}")
        arguments = (
            *(torchrun if contender.processes > 1 else ()),
            str(HERE / BARE[contender.model]),
            str(time.monotonic()),
            str(self.folder / contender.model),
            str(self.data[contender.data]),
            str(own / "out"),
            contender.method,
            json.dumps(contender.options),
        )
        return Figures(**json.loads(self._python(*arguments, home=own / "hf")))

    def profiled(self, contender: Contender) -> Profile:
        """Where lft's time goes, in a process of its own: the profiler slows what it looks at."""
        return Profile(**self._lft(contender, "profile"))

    def _lft(self, contender: Contender, what: str) -> dict[str, Any]:
        own = self._own(contender)
        recipe = str(recipe_for(self.folder, self.folder / contender.model, self.data[contender.data]))
        script = (str(HERE / "lft_run.py"), what, str(time.monotonic()), recipe, str(own / "cache"))
        overrides = (*METHODS[contender.method], *map(str, contender.options))
        found: dict[str, Any] = json.loads(self._python(*script, *overrides, home=own / "hf"))
        return found

    def _own(self, contender: Contender) -> Path:
        return self.places.setdefault(contender, self.folder / f"{len(self.places)}")

    def _python(self, *arguments: str, home: Path) -> str:
        """The last line that the process prints."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(arguments[:2])} failed:\n{done.stderr[-3000:]}")
        return (done.stdout.strip().splitlines() or [""])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=(*KINDS, "all"), default="lora")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), choice.rows, choice.threads)
        for kind in KINDS if choice.kind == "all" else (choice.kind,):
            if choice.kind == "all":
                print(f"\n{kind}\n")
            (show_lora if kind == "lora" else show_kind)(bench, KINDS[kind], choice.rounds)


def show_kind(bench: Bench, contenders: tuple[Contender, ...], count: int) -> None:
    show_medians(in_turn(bench, contenders, count, "measure"), bench.threads)


def show_lora(bench: Bench, contenders: tuple[Contender, ...], count: int) -> None:
    rounds = in_turn(bench, contenders, count, "ceiling")
    best = {contender: min(runs, key=lambda run: run.seconds) for contender, runs in rounds.items()}
    show_ratios(best, bench.threads)
    show_first_steps(rounds)
    ours = {contender: figures for contender, figures in best.items() if contender.is_ours}
    show_profiles({contender: bench.profiled(contender) for contender in ours})
    show_distance(ours, bench.threads)


def in_turn(bench: Bench, contenders: tuple[Contender, ...], count: int, what: str) -> Rounds:
    """``count`` rounds, in each of which every contender runs once."""
    rounds: Rounds = {contender: [] for contender in contenders}
    for _ in range(count):
        for contender in contenders:
            rounds[contender].append(bench.measured(contender, what))
    return rounds


if __name__ == "__main__":
    main()
