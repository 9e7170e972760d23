"""Merging an adapter into its base and writing the model: ratios to copy + fsync of the same bytes, in one run.

    python scripts/bench/merge.py [--layers 22] [--rounds 2] [--workers 4] [--depth 3] [--folder DIR] [--slow]

A synthetic LLaMA of TinyLlama's shape (1.10 B parameters, bfloat16, 5 shards) and adapters of rank 16 on all linear
layers. Each contender runs in a process of its own, in turn, `rounds` times; the best round counts. The table: wall
seconds, their ratio to `cp` + fsync, the peak of anonymous memory (sampled every 10 ms; mapped files are the page
cache's), bytes written over the bytes of the model. Then: does each result hold the same bits as the float32 reference
(PEFT's arithmetic, tensor by tensor)? `--slow` adds PEFT (merge_and_unload and save) and, where it is installed,
mergekit; `--depth` is the number of adapters of the stacked contender.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HIDDEN, INNER, HEADS, KV, VOCABULARY, SHARDS, RANK = 2048, 5632, 32, 4, 32000, 5, 16
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN * KV // HEADS, HIDDEN),
    "self_attn.v_proj": (HIDDEN * KV // HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


@dataclass(frozen=True)
class Figures:
    """One run: wall seconds, peak anonymous bytes, bytes written."""

    seconds: float
    anonymous: int
    written: int


def make_model(folder: Path, layers: int) -> None:
    """config.json and sharded random weights (normal, 0.02), written tensor by tensor."""
    import torch
    from safetensors.torch import save_file

    names = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        names |= {f"{at}.{name}.weight": shape for name, shape in LINEAR.items()}
        names |= {f"{at}.{name}.weight": (HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
    names["model.norm.weight"] = (HIDDEN,)
    torch.manual_seed(0)
    folder.mkdir()
    weight_map: dict[str, str] = {}
    every = list(names)
    for number in range(SHARDS):
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        part = every[number * len(every) // SHARDS : (number + 1) * len(every) // SHARDS]
        tensors = {name: (torch.randn(names[name]) * 0.02).to(torch.bfloat16) for name in part}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config(layers)))


def config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "hidden_act": "silu",
        "intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": KV, "rms_norm_eps": 1e-5,
        "num_hidden_layers": layers, "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "dtype": "bfloat16",
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip


def make_adapter(folder: Path, layers: int, seed: int) -> None:
    """A LoRA as PEFT saves it; alpha = 2 r."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors = {}
    for layer in range(layers):
        for name, (rows, columns) in LINEAR.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(RANK, columns) / columns**0.5
            tensors[f"{key}.lora_B.weight"] = torch.randn(rows, RANK) * 0.002
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted(name.split(".")[-1] for name in LINEAR)
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps({**said, "base_model_name_or_path": str(folder)}))


def copied(base: Path, _: list[Path], out: Path, __: int) -> None:
    """The floor: the same bytes to the disk."""
    shutil.copytree(base, out)
    for path in out.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def merged(base: Path, adapters: list[Path], out: Path, workers: int) -> None:
    from lft.adapters.adapter import open_adapter
    from lft.adapters.deltas import read_delta
    from lft.adapters.export.merged import export_merged
    from lft.adapters.stack import stacked

    deltas = [read_delta(open_adapter(folder)) for folder in adapters]
    delta = deltas[0] if len(deltas) == 1 else stacked(deltas, [1 / len(deltas)] * len(deltas))
    export_merged(base, delta, out, workers=workers)


def by_peft(base: Path, adapters: list[Path], out: Path, _: int) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapters[0]).merge_and_unload().save_pretrained(out, max_shard_size="500MB")
    for path in out.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def by_mergekit(base: Path, adapters: list[Path], out: Path, _: int) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    said = {"merge_method": "passthrough", "dtype": "bfloat16", "models": [{"model": f"{base}+{adapters[0]}"}]}
    run_merge(MergeConfiguration.model_validate(said), str(out), MergeOptions(lora_merge_cache=str(out) + "-cache"))


CONTENDERS: dict[str, Callable[[Path, list[Path], Path, int], None]] = {
    "cp + fsync": copied,
    "lft": merged,
    "lft, stack": merged,
    "PEFT": by_peft,
    "mergekit": by_mergekit,
}


def one_run(name: str, base: Path, adapters: list[Path], out: Path, workers: int) -> Figures:
    """In this process; the watch samples what the kernel calls anonymous."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], told("/proc/self/status", "RssAnon:") * 1024)

    watcher = threading.Thread(target=watch)
    before, began = told("/proc/self/io", "write_bytes:"), time.monotonic()
    watcher.start()
    CONTENDERS[name](base, adapters, out, workers)
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    return Figures(seconds, peak[0], told("/proc/self/io", "write_bytes:") - before)


def told(path: str, key: str) -> int:
    return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(key))


def reference_differs(base: Path, adapter: Path, out: Path) -> tuple[int, int]:
    """Values of a merged model whose bits are not the float32 reference's, and all of its values."""
    import torch
    from safetensors import safe_open

    from lft.base.headers import read_headers

    factors = safe_open(adapter / "adapter_model.safetensors", framework="pt")
    known = set(factors.keys())
    odd = every = 0
    theirs = {tensor.name: tensor for tensor in read_headers(out)}
    for tensor in read_headers(base):
        with safe_open(tensor.file, framework="pt") as stream:
            weight = stream.get_tensor(tensor.name)
        key = f"base_model.model.{tensor.name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in known:
            b, a = factors.get_tensor(f"{key}.lora_B.weight"), factors.get_tensor(f"{key}.lora_A.weight")
            weight += (b @ a) * 2.0
        with safe_open(theirs[tensor.name].file, framework="pt") as stream:
            found = stream.get_tensor(tensor.name)
        odd += int((found.view(torch.int16) != weight.view(torch.int16)).sum())
        every += weight.numel()
    return odd, every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    choice = parser.parse_args()
    if choice.run:
        name, base, out, workers, *adapters = choice.run
        print(json.dumps(asdict(one_run(name, Path(base), [Path(a) for a in adapters], Path(out), int(workers)))))
        return
    with tempfile.TemporaryDirectory(dir=choice.folder) as folder:
        compare(Path(folder), choice)


def compare(folder: Path, choice: argparse.Namespace) -> None:
    base, adapters = folder / "base", [folder / f"adapter{number}" for number in range(choice.depth)]
    make_model(base, choice.layers)
    for number, adapter in enumerate(adapters):
        make_adapter(adapter, choice.layers, number + 1)
    size = sum(path.stat().st_size for path in base.iterdir())
    names = list(CONTENDERS) if choice.slow else ["cp + fsync", "lft", "lft, stack"]
    best: dict[str, Figures] = {}
    bits: dict[str, str] = {}
    for _ in range(choice.rounds):
        for name in names:
            found = apart(
                name, base, adapters if name == "lft, stack" else adapters[:1], folder / "out", choice.workers
            )
            if found is None:
                continue
            best[name] = min(found, best.get(name, found), key=lambda figures: figures.seconds)
            if name in ("lft", "PEFT") and name not in bits:
                bits[name] = "{:,} of {:,} differ".format(*reference_differs(base, adapters[0], folder / "out"))
    print(f"{size / 1e9:.2f} GB, {choice.workers} workers, {os.cpu_count()} processors, best of {choice.rounds}\n")
    print(f"{'':12} {'s':>7} {'ratio':>6} {'anon. GB':>9} {'written':>8}  bits")
    for name, figures in best.items():
        ratio = figures.seconds / best["cp + fsync"].seconds
        print(
            f"{name:12} {figures.seconds:7.1f} {ratio:6.2f} {figures.anonymous / 1e9:9.2f} "
            f"{figures.written / size:8.3f}  {bits.get(name, '')}"
        )
    print("\nratio: wall over cp + fsync; anon.: peak of anonymous memory; written: bytes over those of the model")
    print(f"bits: against the float32 reference; lft, stack: {choice.depth} adapters in one rounding")


def apart(name: str, base: Path, adapters: list[Path], out: Path, workers: int) -> Figures | None:
    """A contender in a process of its own, one thread for each of lft's workers; None where it is not installed."""
    for left in (out, out.with_name(f"{out.name}-cache")):  # mergekit takes a cache that is there for its own
        shutil.rmtree(left, ignore_errors=True)
    os.sync()
    command = [sys.executable, __file__, "--run", name, str(base), str(out), str(workers), *map(str, adapters)]
    threads = str(os.cpu_count()) if name in ("PEFT", "mergekit") else "1"
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    if done.returncode and name == "mergekit" and "No module named 'mergekit'" in done.stderr:
        print("mergekit is not installed", file=sys.stderr)
        return None
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return Figures(**json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
