"""What llama.cpp calls a model's parts: architecture and tensor names, and the order of rows that it wants.

llama.cpp rotates neighbouring halves where transformers rotates the first half against the second, so the rows of the
query and key projections of the LLaMA architecture lie in another order there (its converter's `permute`). GPT-2's and
GPT-NeoX's joint projections it turns or sorts in ways of its own, so those families are not written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lft.base.files import read_json
from lft.errors import InputError

# config.json's model_type -> llama.cpp's architecture, and whether it wants the rows of q and k in its own order.
_FAMILIES: Final = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
    "gemma": ("gemma", False),
    "gemma2": ("gemma2", False),
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base as llama.cpp sees it."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    permutes: bool
    tied: bool

    def tensor(self, name: str, where: Path) -> str:
        """llama.cpp's name (with ``.weight`` or ``.bias``) of a tensor of transformers.

        Raises:
            InputError: it has none.
        """
        import gguf

        key = next(arch for arch, text in gguf.MODEL_ARCH_NAMES.items() if text == self.name)
        found = gguf.get_tensor_name_map(key, self.layers).get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise InputError(
                f"llama.cpp has no tensor for {name} in its architecture {self.name}",
                where=str(where),
                fix="export the merged model instead: --to merged",
            )
        return str(found)

    def heads_of(self, name: str) -> int | None:
        """Heads by which the rows of a tensor are put in llama.cpp's order; None where they stay."""
        if not self.permutes:
            return None
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            return self.heads
        return self.kv_heads if name.endswith(("k_proj.weight", "k_proj.bias")) else None


def architecture(base: Path) -> Architecture:
    """Read from a base's config.json.

    Raises:
        InputError: llama.cpp's writer here does not know the family.
    """
    config: Mapping[str, Any] = read_json(base / "config.json")
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise InputError(
            f"no GGUF can be written for model_type {family}; known are {', '.join(_FAMILIES)}",
            where=str(base / "config.json"),
            fix="export the merged model (--to merged) and convert it with llama.cpp's convert_hf_to_gguf.py",
        )
    name, permutes = _FAMILIES[str(family)]
    heads = int(config.get("num_attention_heads") or config["n_head"])
    return Architecture(
        name=name,
        layers=int(config.get("num_hidden_layers") or config["n_layer"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        permutes=permutes,
        tied=bool(config.get("tie_word_embeddings", family in ("gemma", "gemma2"))),
    )


def permuted(rows: torch.Tensor, heads: int | None) -> torch.Tensor:
    """Rows of a query or key projection in llama.cpp's order. rows: [heads * width x columns], or a bias."""
    if heads is None:
        return rows
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermuted(rows: torch.Tensor, heads: int | None) -> torch.Tensor:
    """The inverse of ``permuted``."""
    if heads is None:
        return rows
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
