"""What a server must be told to load an adapter, and what it refuses: vLLM, SGLang."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final

from lft.adapters.deltas import Delta
from lft.errors import InputError

# vllm's --max-lora-rank takes one of these.
VLLM_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def vllm_line(name: str, folder: Path, base: str, delta: Delta) -> str:
    """The command that serves a base with this adapter.

    Raises:
        InputError: vLLM refuses such an adapter, or takes no rank as high.
    """
    most = vllm_rank(delta, folder)
    module = json.dumps({"name": name, "path": str(folder), "base_model_name": base})
    return shlex.join(["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(most), "--lora-modules", module])


def vllm_rank(delta: Delta, folder: Path) -> int:
    """The least rank of those that vLLM takes which holds the adapter's.

    Raises:
        InputError: vLLM refuses such an adapter, or takes no rank as high.
    """
    rank = _servable(delta, folder)
    if rank > VLLM_RANKS[-1]:
        raise InputError(
            f"its rank is {rank}, and vLLM takes {VLLM_RANKS[-1]} at most",
            where=str(folder),
            fix=f"compress it: --rank {VLLM_RANKS[-1]}",
        )
    return next(one for one in VLLM_RANKS if one >= rank)


def sglang_line(name: str, folder: Path, base: str, delta: Delta) -> str:
    """The command that serves a base with this adapter.

    Raises:
        InputError: such servers refuse this adapter.
    """
    rank = _servable(delta, folder)
    module = json.dumps({"lora_name": name, "lora_path": str(folder), "pinned": True})
    command = ["python", "-m", "sglang.launch_server", "--model-path", base, "--enable-lora"]
    return shlex.join([*command, "--max-lora-rank", str(rank), "--lora-paths", module])


def _servable(delta: Delta, folder: Path) -> int:
    """The rank, where the adapter is nothing but low-rank pairs: these servers refuse the rest, or leave it out."""
    rest = [*delta.rows, *delta.whole, *delta.added]
    if rest:
        raise InputError(
            f"servers take low-rank changes alone, and this adapter also changes {rest[0]}",
            where=str(folder),
            fix="serve the merged model instead: --to merged",
        )
    return max(pair.rank for pair in delta.factors.values())
