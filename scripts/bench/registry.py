"""How fast the registry answers: `lft adapters list` over 10,000 versions, a locked stack, a 50 MB adapter.

    python scripts/bench/registry.py [--versions 10000] [--names 1000] [--repeats 9]

Times are medians of the repeats with their smallest and largest, on this machine, the page cache warm. The goals are
those of the registry's specification: list < 0.3 s, resolve + verify < 50 ms, import of a 50 MB adapter < 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from lft.adapters.store import blobs, disk
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.index import Query, listed, reindex
from lft.adapters.store.layout import Store, open_store
from lft.adapters.store.leases import Lease, leased
from lft.adapters.store.lockfile import make_lock, read_lock, verify, write_lock
from lft.adapters.store.manifest import WEIGHTS, Base, File, Lineage, Lora, Manifest, Parent, Target, Tokenizer

MODULES = [
    f"model.layers.{layer}.{part}"
    for layer in range(32)
    for part in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    )
]  # fmt: skip


TARGETS = tuple(Target(module, 4096, 4096, 16, "2", "1.5") for module in MODULES)


def manifest(name: str, version: str, file: File) -> Manifest:
    """A version as training a 7B model leaves it."""
    lang, domain = ("de", "fr", "en", "nl")[hash_of(name) % 4], ("recipes", "law", "general")[hash_of(name) % 3]
    return Manifest(
        kind="adapter",
        name=name,
        version=version,
        method="lora",
        files=(file,),
        base=Base("huggyllama/llama-7b", "4" * 40, "a" * 64, "b" * 64, 32_001, None),
        tokenizer=Tokenizer("c" * 64, None, "</s>", ()),
        lora=Lora(16, "F32", False, "12.5", TARGETS, ()),
        tags={"lang": (lang,), "domain": (domain,)},
        lineage=Lineage(name, "0.1.0", None, ()),
        merge=None,
        evaluation=(),
    )


def hash_of(name: str) -> int:
    return sum(name.encode())


def filled(root: Path, versions: int, names: int) -> Store:
    """A registry of small weights and manifests of full size, written without flushing: what is measured is reading."""
    store = open_store(root)
    with leased(store) as lease:
        with disk.source(b"w") as stream:
            written = blobs.put(lease, stream)
        file = File(WEIGHTS, written.size, written.sha256, "weights")
        for number in range(versions):
            name = f"space-{number % names % 7}/adapter-{number % names:05}"
            put(lease, manifest(name, f"1.0.{number // names}", file))
    return store


def put(lease: Lease, made: Manifest) -> None:
    """As ``publish`` leaves it."""
    store, text = lease.store, made.text.encode()
    path = store.blob(made.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    place = store.manifest(made.name, made.version)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.link(path, place)


def timed(act: Callable[[], object], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return found


def show_process(what: str, act: Callable[[], object], repeats: int, goal: float | None = None) -> None:
    """A process's time on the wall, and its processor time, which a busy machine changes less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = timed(act, repeats)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeats
    show(f"{what} (cpu {used:.3f} s)", times, goal)


def show(what: str, times: list[float], goal: float | None = None) -> None:
    wanted = f"   goal {goal:g} s: {'met' if median(times) < goal else 'MISSED'}" if goal else ""
    print(f"{what:<58} {median(times):8.4f} s  ({min(times):.4f} .. {max(times):.4f}){wanted}", flush=True)


def process(home: Path, *arguments: str) -> Callable[[], object]:
    """A whole process of lft."""
    words = [sys.executable, "-m", "lft.cli.main", *arguments]
    environment = {**os.environ, "LFT_HOME": str(home)}
    return lambda: subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)


def locked_stack(store: Store, depth: int, size: int) -> Path:
    """A stack of adapters, each trained on the one before, locked; the place of the lock file."""
    below: tuple[Parent, ...] = ()
    for number in range(depth):
        content = np.random.default_rng(number).bytes(size)
        with leased(store) as lease:
            with disk.source(content) as stream:
                written = blobs.put(lease, stream)
            file = File(WEIGHTS, written.size, written.sha256, "weights")
            made = replace(manifest(f"stack/{number}", "1.0.0", file), lineage=Lineage("x", None, None, below))
            with disk.source(made.text) as text:
                blobs.put(lease, text)
        put_name(store, made)
        below = (Parent(made.digest, made.weights, "below", None),)
    path = store.root.parent / "lft.lock"
    write_lock(make_lock(store, [f"stack/{depth - 1}"]), path)
    return path


def put_name(store: Store, made: Manifest) -> None:
    disk.link_once(store.blob(made.digest), store.manifest(made.name, made.version))


def resolve_and_verify(store: Store, path: Path, depth: int, *, whole: bool) -> None:
    lock = read_lock(path)
    assert lock.resolved(store, f"stack/{depth - 1}")
    assert verify(store, lock, whole=whole) == []


def big_adapter(folder: Path, megabytes: int) -> Path:
    """A PEFT folder of about so many MB of float32 factors of rank 16."""
    from safetensors.numpy import save_file

    count = round(megabytes * 1e6 / (2 * 16 * 4096 * 4))
    chance = np.random.default_rng(0)
    tensors = {}
    for module in MODULES[:count]:
        name = f"base_model.model.{module}"
        tensors[f"{name}.lora_A.weight"] = chance.standard_normal((16, 4096), dtype=np.float32)
        tensors[f"{name}.lora_B.weight"] = chance.standard_normal((4096, 16), dtype=np.float32)
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    parts = sorted({module.rpartition(".")[2] for module in MODULES[:count]})
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": parts, "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def imported(home: Path, folder: Path) -> None:
    add_adapter(open_store(home / disk.unique()), folder, Origin(name="me/big", base="org/base"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.perf_counter()
        store = filled(home / "registry", asked.versions, asked.names)
        print(f"{asked.versions:,} versions of {asked.names:,} names made in {time.perf_counter() - began:.1f} s")
        show("reindex, in process", timed(lambda: reindex(store), 1))
        time.sleep(2.1)  # folders that changed just now are read once more
        listed(store)
        show_process(
            "python -c pass", lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), asked.repeats
        )
        show_process("lft --help", process(home, "--help"), asked.repeats)
        show_process("lft adapters list", process(home, "adapters", "list"), asked.repeats, 0.3)
        show_process("lft adapters list --all", process(home, "adapters", "list", "--all"), asked.repeats, 0.3)
        few = process(home, "adapters", "list", "--lang", "de", "--domain", "law")
        show_process("lft adapters list --lang de --domain law", few, asked.repeats, 0.3)
        show("all versions, in process", timed(lambda: listed(store, Query(all_versions=True)), asked.repeats))
        for size in (1_000_000, 50_000_000):
            lock = locked_stack(open_store(home / f"stack-{size}" / "registry"), 3, size)
            place = open_store(home / f"stack-{size}" / "registry")
            what = f"a locked stack of 3 x {size // 10**6} MB: resolve, verify"
            show(what, timed(lambda p=place, f=lock: resolve_and_verify(p, f, 3, whole=False), asked.repeats), 0.05)  # type: ignore[misc]
            show(
                "  the same, every byte read",
                timed(lambda p=place, f=lock: resolve_and_verify(p, f, 3, whole=True), asked.repeats),  # type: ignore[misc]
            )
        lock = locked_stack(store, 3, 1_000_000)
        show(
            f"the same among {asked.versions:,} versions, by size",
            timed(lambda: resolve_and_verify(store, lock, 3, whole=False), asked.repeats),
            0.05,
        )
        big = big_adapter(home / "big", 50)
        show("import of a 50 MB adapter, in process", timed(lambda: imported(home, big), 3), 1.0)


if __name__ == "__main__":
    main()
