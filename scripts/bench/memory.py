"""Peak memory as `lft plan` predicts it against what real CPU runs take.

    python scripts/bench/memory.py [--only lora]

Each run is `lft finetune` in a process of its own with one thread; its peak is the kernel's VmHWM. With an engine it
is two processes on this machine (gloo), and the peak is that of the process with the highest; the plan's figure is that
of one device. The models have random weights and 50 to 70 M parameters (`BASES`). `--json FILE` keeps the figures;
`--table` prints Markdown for docs/memory.md.
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
PROCESSES = 2  # of a run with an engine


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
    engine: str = "none"

    @property
    def processes(self) -> int:
        return 1 if self.engine == "none" else PROCESSES

    @property
    def paired(self) -> bool:
        return self.family == "t5"


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
    # Two processes: these showed what the plan of an engine lacked; nothing was fitted.
    Case("lora", 1024, engine="ddp"),
    Case("full", 512, engine="ddp"),
    Case("lora", 1024, engine="zero1"),
    Case("full", 512, engine="zero1"),
    Case("lora", 1024, engine="zero2"),
    Case("full", 1024, engine="zero2"),
    Case("lora", 1024, engine="zero3"),
    Case("full", 1024, engine="zero3"),
    # Not looked at: engines elsewhere, and an encoder-decoder.
    Case("full", 1024, family="opt", engine="zero1"),
    Case("full", 512, accumulation=2, family="qwen2", engine="zero2"),
    Case("lora", 2048, checkpointing=True, family="qwen2", engine="zero3"),
    Case("full", 512, family="gpt_neox", engine="zero3"),
    Case("qlora", 1024, family="qwen2", engine="zero2"),
    Case("full", 512, engine="zero3-offload"),
    Case("lora", 512, family="t5"),
    Case("lora", 1024, family="t5"),
    Case("full", 512, family="t5"),
    Case("full", 1024, family="t5"),
    Case("lora", 512, family="t5", engine="ddp"),
    Case("full", 512, family="t5", engine="zero2"),
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
    "t5": {
        "vocab_size": 16000, "d_model": 512, "d_kv": 64, "d_ff": 1536, "num_layers": 6, "num_heads": 8,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0,
        "pad_token_id": 0, "eos_token_id": 1,
    },
}  # fmt: skip


def make_base(folder: Path, family: str) -> None:
    """The tokenizer of `material` and a model of the sizes above, as a model folder."""
    import torch
    from material import make_model, make_pair_model
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    if family == "t5":
        make_pair_model(folder)
        model = AutoModelForSeq2SeqLM.from_config(CONFIG_MAPPING[family](**BASES[family]), dtype=torch.float32)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # a head of its own
    else:
        make_model(folder)
        config = CONFIG_MAPPING[family](**BASES[family], **SHARED)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)


def make_rows(path: Path) -> None:
    """Long answers: split at max_length, nearly every row is full."""
    import random

    from material import words

    rng = random.Random(2)
    with path.open("w") as stream:
        for _ in range(ROWS):
            text = " ".join(words(rng, 6000))
            stream.write(json.dumps({"prompt": "write", "completion": text}) + "\n")


def make_pairs(path: Path, length: int) -> None:
    """Instructions and answers of ``length`` tokens each: a word of one token, again and again, and the end."""
    side = " ".join(["ka"] * (length - 1))
    path.write_text((json.dumps({"prompt": side, "completion": side}) + "\n") * ROWS)


def make_material(folder: Path) -> Path:
    """Models and data of all cases; the recipe that ``overrides`` change."""
    for family in BASES:
        make_base(folder / family, family)
    make_rows(folder / "rows.jsonl")
    for length in {case.length for case in CASES if case.paired}:
        make_pairs(folder / f"pairs-{length}.jsonl", length)
    return write_recipe(folder)


# An encoder-decoder's rows are pairs, which are neither packed nor split; the text marker adds no token to be trained.
PAIRED = ("data.prompt=plain", "data.newlines=marker", "data.packing=false", "data.overlong=error")


def overrides(case: Case, folder: Path) -> list[str]:
    return [
        f"base.model={folder / case.family}",
        f"data.max_length={case.length}",
        f"method.kind={'full' if case.method == 'full' else 'lora'}",
        f"method.dropout={case.dropout}",
        f"method.target_modules={case.targets}",
        f"train.micro_batch_size={case.micro}",
        f"train.global_batch_size={case.micro * case.accumulation * case.processes}",
        f"train.gradient_checkpointing={str(case.checkpointing).lower()}",
        f"train.max_steps={STEPS}",
        f"launch.engine={case.engine}",
        f"launch.gpus={case.processes}",
        *(["base.quantize=nf4"] if case.method == "qlora" else []),
        *([f"data.train={folder / f'pairs-{case.length}.jsonl'}", *PAIRED] if case.paired else []),
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


def run(recipe: Path, options: list[str], folder: Path) -> int:
    """The code path of `lft finetune`; the highest peak of its processes."""
    from lft.cli.common import quiet_libraries
    from lft.recipe import load_recipe
    from lft.train.inputs import prepare_inputs
    from lft.train.launch import Node, launch
    from lft.train.run import finetune
    from lft.train.zero import require_engine

    quiet_libraries()
    inputs = prepare_inputs(load_recipe(recipe, options).recipe, folder / "cache", lambda _: None)
    if inputs.recipe.launch.engine == "none":
        finetune(inputs, lambda _: None)
        return status("VmHWM")
    require_engine(inputs.recipe.launch, inputs.placement.device, lambda _: None)
    with tempfile.TemporaryDirectory() as peaks:
        launch(inputs.recipe, Node(), folder / "cache", None, lambda job: [__file__, "--work", str(job), peaks])
        return max(int(path.read_text()) for path in Path(peaks).iterdir())


def work(job: Path, peaks: Path) -> None:
    """One process of several, as `lft.cli.worker` is; its peak goes into a file of its own."""
    from lft.cli.common import quiet_libraries
    from lft.train import worker
    from lft.train.launch import Job

    quiet_libraries()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local, attempt = (int(os.environ[name]) for name in names)
    worker.work(Job(job), rank, size, local, attempt, lambda _: None)
    (peaks / str(rank)).write_text(str(status("VmHWM")))


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
            parse_hardware(f"{case.processes}xcpu"),
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
    print(run(recipe, overrides(case, folder), folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="runs whose method-family-engine holds this text")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--table", action="store_true", help="print Markdown")
    choice = parser.parse_args()
    if choice.one:
        run_one(choice.one)
        return
    if choice.work:
        work(*choice.work)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_material(folder)
        found = []
        for case in CASES:
            if choice.only in f"{case.method}-{case.family}-{case.engine}":
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


def engine_of(row: dict[str, object]) -> str:
    return "none" if row["engine"] == "none" else f"{PROCESSES} x {row['engine']}"


def show(row: dict[str, object], table: bool, *, first: bool) -> None:
    if first and table:
        print(
            "| base | method | engine | targets | dropout | length | micro x accum. | recompute | predicted |"
            " measured | error |"
        )
        print("|---|---|---|---|---:|---:|---|---|---:|---:|---:|")
    cells = (
        row["family"], row["method"], engine_of(row), row["targets"], row["dropout"], row["length"],
        f"{row['micro']} x {row['accumulation']}", "yes" if row["checkpointing"] else "no",
        f"{float(row['predicted']) / 2**20:,.0f}", f"{float(row['measured']) / 2**20:,.0f}", f"{error(row):+.1%}",  # type: ignore[arg-type]
    )  # fmt: skip
    print(
        "| " + " | ".join(map(str, cells)) + " |" if table else "  ".join(f"{cell!s:>10}" for cell in cells), flush=True
    )


if __name__ == "__main__":
    main()
