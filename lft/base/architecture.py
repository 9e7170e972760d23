"""The architecture of a base in one line: kind of model and sizes, whichever library version wrote config.json.

    llama hidden=576 layers=30 heads=9 kv=3 head=64 ffn=1536 vocab=49152

Two bases with the same line have tensors of the same shapes, as far as one can tell without them; whether they compute
the same only their weights and the rest of their configuration say (``lft.base.fingerprint``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

# What a size is called by the families of models.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "hidden": ("hidden_size", "d_model", "n_embd", "dim"),
    "layers": ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers"),
    "decoder": ("num_decoder_layers", "decoder_layers"),
    "heads": ("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads"),
    "kv": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head": ("head_dim", "d_kv"),
    "ffn": ("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "encoder_ffn_dim"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "vocab": ("vocab_size",),
}


def architecture(config: str) -> str | None:
    """The line, from the text of ``lft.base.configuration``; None where that says no kind of model or no size.

    Args:
        config: JSON, empty where nothing was recorded.
    """
    said = json.loads(config or "{}")
    kind = said.get("model_type")
    sizes = _sizes(said.get("text_config") if isinstance(said.get("text_config"), dict) else said)
    if not isinstance(kind, str) or not sizes:
        return None
    return " ".join([kind, *(f"{name}={sizes[name]}" for name in _NAMES if name in sizes)])


def _sizes(said: Mapping[str, Any]) -> dict[str, int]:
    """Sizes by their short names; what older files leave to be worked out is filled in."""
    found: dict[str, int] = {}
    for name, keys in _NAMES.items():
        value = next((said[key] for key in keys if type(said.get(key)) is int), None)
        if value is not None:
            found[name] = value
    hidden, heads = found.get("hidden"), found.get("heads")
    if heads:
        found.setdefault("kv", heads)
        if hidden and hidden % heads == 0:
            found.setdefault("head", hidden // heads)
    return found
