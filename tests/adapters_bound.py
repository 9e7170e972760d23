"""``lft.json`` of adapters that no training made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lft.base.binding import Binding
from lft.base.fingerprint import fingerprint


def record(**change: Any) -> dict[str, Any]:
    """What the file of a sound adapter holds."""
    sound = {
        "base": "lft/tiny", "revision": None, "weights": "a" * 64, "tokenizer": "b" * 64, "rows": 384, "recipe": "",
        "tags": {}, "lft": "0.1.0", "below": [], "quantize": None, "double_quant": True, "compute_dtype": "auto",
        "config": {}, "name": "", "format": 2,
    }  # fmt: skip
    return {**sound, **change}


def bind(adapter: Path, base: Path, rows: int, **also: Any) -> Path:
    """Write an adapter's ``lft.json`` for a base folder."""
    identity = fingerprint(base, None)
    known = {
        "base": "lft/tiny", "revision": None, "recipe": "", "tags": {}, "lft": "0.1.0",
        "config": identity.config, "rows": rows,
    }  # fmt: skip
    Binding(weights=identity.weights, tokenizer=identity.tokenizer, **{**known, **also}).save(adapter)
    return adapter
