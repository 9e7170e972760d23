"""Give an adapter to a hub and take it from there on another machine: the same bytes, by the lock file.

    python scripts/demo_hub.py FOLDER ADAPTER [PARENT...]

What it was made from goes first, for a lock file pins that too. The hub is the one of lft's tests, on this machine: it
speaks the Hub's HTTP. The other machine is a clean home with a cache and a registry of its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lft.files import sha256
from tests.hub_server import TOKEN, HubServer


def main(work: Path, adapter: str, parents: Sequence[str]) -> None:
    (work / "hub").mkdir(exist_ok=True)
    with HubServer(work / "hub") as hub:
        here = {**hub.environment(work / "hf-here", token=TOKEN), "LFT_HOME": os.environ["LFT_HOME"]}
        there = {**hub.environment(work / "hf-there", token=TOKEN), "LFT_HOME": str(work / "elsewhere")}
        for name in (*parents, adapter):
            run(here, "lft", "adapters", "push", name, f"demo-user/{name.rpartition('/')[2]}")
        run(here, "lft", "adapters", "lock", adapter, "--file", str(work / "lft.lock"))
        print("\non another machine")
        for name in (*parents, adapter):
            run(there, "lft", "adapters", "pull", f"demo-user/{name.rpartition('/')[2]}", "--name", name)
        run(there, "lft", "adapters", "lock", "--check", "--file", str(work / "lft.lock"))
        run(there, "lft", "adapters", "export", adapter, "--to", "merged", "--out", str(work / "replayed"))
    for file in sorted((work / "replayed").glob("*.safetensors")):
        same = sha256(file) == sha256(work / "out" / "model" / file.name)
        print(f"{file.name}: {'the same bytes' if same else 'OTHER BYTES'}")
        if not same:
            sys.exit(1)


def run(environment: dict[str, str], *command: str) -> None:
    print(f"$ {shlex.join(command)}", flush=True)
    subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
