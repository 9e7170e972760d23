"""Peak memory as `lft plan` predicts it against what real CPU runs take.

    python scripts/bench/memory.py [--only lora]

Each run is `lft finetune` in a process of its own with one thread; its peak is the kernel's VmHWM. The models have
random weights and 50 to 70 M parameters (`BASES`). `--json FILE` keeps the figures; `--table` prints Markdown for
docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS, STEPS = 8, 2


@dataclass(frozen=True)
class Case:
    method: str  # lora, full or qlora
    length: int
    micro: int = 1
    checkpointing: bool = False
    accumulation: int = 1
    targets: str = "all-linear"
    dropout: float = 0.0
    family: str = "llama"


CASES = (
    Case("lora", 512),
    Case("lora", 1024),
    Case("lora", 2048),
    Case("lora", 1024, micro=2),
    Case("lora", 2048, checkpointing=True),
    Case("lora", 2048, micro=2, checkpointing=True),
    Case("lora", 1024, targets="[q_proj,v_proj]"),
    Case("lora", 1024, dropout=0.05),
    Case("lora", 1024, family="opt"),
    Case("full", 512),
    Case("full", 1024),
    Case("full", 1024, accumulation=2),
    Case("full", 2048, checkpointing=True),
    Case("full", 1024, family="opt"),
    Case("qlora", 512),
    Case("qlora", 1024),
    Case("qlora", 2048, checkpointing=True),
    # Not looked at when the two shares of `lft.plan.activations` were set: these show what they are worth elsewhere.
    Case("lora", 1024, family="qwen2"),
    Case("lora", 2048, checkpointing=True, family="qwen2"),
    Case("lora", 512, micro=4, family="gpt_neox"),
    Case("full", 1024, family="qwen2"),
    Case("full", 512, micro=2, accumulation=2, family="qwen2"),
    Case("qlora", 1024, family="qwen2"),
)


SHARED = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 4096}
BASES: dict[str, dict[str, object]] = {
    "llama": {
        "vocab_size": 16000, "hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12,
        "intermediate_size": 2048, "tie_word_embeddings": False,
    },
    "opt": {
        "vocab_size": 16000, "hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12, "ffn_dim": 3072,
        "word_embed_proj_dim": 768, "tie_word_embeddings": True,
    },
    "qwen2": {
        "vocab_size": 32000, "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
        "num_key_value_heads": 2, "intermediate_size": 1536, "tie_word_embeddings": True,
    },
    "gpt_neox": {
        "vocab_size": 24000, "hidden_size": 640, "num_hidden_layers": 8, "num_attention_heads": 10,
        "intermediate_size": 2560, "tie_word_embeddings": False,
    },
}  # fmt: skip


def make_base(folder: Path, family: str) -> None:
    """The tokenizer of `material` and a model of the sizes above, as a model folder."""
    import torch
    from material import make_model
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    make_model(folder)
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**BASES[family], **SHARED)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def make_rows(path: Path) -> None:
    """Long answers: split at max_length, nearly every row is full."""
    import random

    from material import words

    rng = random.Random(2)
    with path.open("w") as stream:
        for _ in range(ROWS):
            text = " ".join(words(rng, 6000))
            stream.write(json.dumps({"prompt": "write", "completion": text}) + "\n")


def overrides(case: Case, folder: Path) -> list[str]:
    return [
        f"base.model={folder / case.family}",
        f"data.max_length={case.length}",
        f"method.kind={'full' if case.method == 'full' else 'lora'}",
        f"method.dropout={case.dropout}",
        f"method.target_modules={case.targets}",
        f"train.micro_batch_size={case.micro}",
        f"train.global_batch_size={case.micro * case.accumulation}",
        f"train.gradient_checkpointing={str(case.checkpointing).lower()}",
        f"train.max_steps={STEPS}",
        *(["base.quantize=nf4"] if case.method == "qlora" else []),
    ]


def write_recipe(folder: Path) -> Path:
    path = folder / "bench.yaml"
    path.write_text(
        f"""name: memory
base: {{model: {folder}, dtype: float32}}
data:
  train: {folder / "rows.jsonl"}
  split: {{train: train, validation: null}}
  format: prompt-completion
  eoi: text
  overlong: split
  packing: true
train: {{epochs: 1, save_every: end}}
output: {{runs: {folder / "runs"}}}
"""
    )
    return path


def run(recipe: Path, options: list[str], cache: Path) -> None:
    """The code path of `lft finetune`."""
    from lft.cli.common import quiet_libraries
    from lft.recipe import load_recipe
    from lft.train.inputs import prepare_inputs
    from lft.train.run import finetune

    quiet_libraries()
    finetune(prepare_inputs(load_recipe(recipe, options).recipe, cache, lambda _: None), lambda _: None)


def status(key: str) -> int:
    """A figure of this process in bytes: VmHWM (highest resident memory) or VmRSS (resident now)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no /proc/self/status: this measures on Linux alone")


def predict(case: Case, folder: Path, recipe: Path) -> dict[str, object]:
    from lft.plan.families import shape_of
    from lft.plan.hardware import parse_hardware
    from lft.plan.memory import memory_of
    from lft.plan.setup import setup_of
    from lft.recipe import load_recipe

    shape = shape_of(json.loads((folder / case.family / "config.json").read_text()))
    memory = memory_of(
        setup_of(
            load_recipe(recipe, overrides(case, folder), allow_unsupported=True).recipe,
            shape,
            parse_hardware("cpu"),
            case.micro,
        )
    )
    return {"predicted": memory.total, "moment": memory.moment, "parts": asdict(memory)}


def measure(case: Case, folder: Path, recipe: Path) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    job = {"case": asdict(case), "folder": str(folder), "recipe": str(recipe)}
    command = [sys.executable, "-W", "ignore", __file__, "--one", json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case} failed:\n{done.stderr[-3000:]}")
    return int(done.stdout.strip().splitlines()[-1])


def run_one(job: str) -> None:
    given = json.loads(job)
    case, folder, recipe = Case(**given["case"]), Path(given["folder"]), Path(given["recipe"])
    run(recipe, overrides(case, folder), folder / "cache")
    print(status("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="runs whose method-family holds this text")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--table", action="store_true", help="print Markdown")
    choice = parser.parse_args()
    if choice.one:
        run_one(choice.one)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in BASES:
            make_base(folder / family, family)
        make_rows(folder / "rows.jsonl")
        recipe = write_recipe(folder)
        found = []
        for case in CASES:
            if choice.only in f"{case.method}-{case.family}":
                found.append(
                    {**asdict(case), **predict(case, folder, recipe), "measured": measure(case, folder, recipe)}
                )
                show(found[-1], choice.table, first=len(found) == 1)
    worst = max(abs(error(row)) for row in found)
    print(f"\n{len(found)} runs; largest error {worst:.1%}")
    if choice.json:
        choice.json.write_text(json.dumps(found, indent=1) + "\n")


def error(row: dict[str, object]) -> float:
    return float(row["predicted"]) / float(row["measured"]) - 1  # type: ignore[arg-type]


def show(row: dict[str, object], table: bool, *, first: bool) -> None:
    if first and table:
        print(
            "| base | method | targets | dropout | length | micro x accum. | recompute | predicted | measured | error |"
        )
        print("|---|---|---|---:|---:|---|---|---:|---:|---:|")
    cells = (
        row["family"], row["method"], row["targets"], row["dropout"], row["length"],
        f"{row['micro']} x {row['accumulation']}", "yes" if row["checkpointing"] else "no",
        f"{float(row['predicted']) / 2**20:,.0f}", f"{float(row['measured']) / 2**20:,.0f}", f"{error(row):+.1%}",  # type: ignore[arg-type]
    )  # fmt: skip
    print(
        "| " + " | ".join(map(str, cells)) + " |" if table else "  ".join(f"{cell!s:>10}" for cell in cells), flush=True
    )


if __name__ == "__main__":
    main()
