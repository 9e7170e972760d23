"""Adapters' folders written tensor by tensor, right or wrong, without torch or PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.raw_safetensors import Raw, write_tensors

CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "lft/tiny",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "v_proj"],
    "init_lora_weights": True,
}
_TYPES = {"float32": "F32", "float16": "F16", "int32": "I32", "float64": "F64"}


def raw(name: str, values: np.ndarray) -> Raw:
    """An array as it lies in a file."""
    return Raw(name, _TYPES[values.dtype.name], values.shape, np.ascontiguousarray(values).tobytes())


def bfloat16(name: str, values: np.ndarray) -> Raw:
    """An array cut to bfloat16."""
    upper = (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return Raw(name, "BF16", values.shape, upper.tobytes())


def pair(module: str, r: int = 4, rows: int = 6, columns: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """A module's A and B by PEFT's names."""
    numbers = np.random.default_rng([seed, *module.encode()])
    return {
        f"base_model.model.{module}.lora_A.weight": numbers.standard_normal((r, columns), dtype=np.float32),
        f"base_model.model.{module}.lora_B.weight": numbers.standard_normal((rows, r), dtype=np.float32),
    }


def pairs(*modules: str, **sizes: int) -> dict[str, np.ndarray]:
    """Several modules' A and B."""
    return {name: values for module in modules for name, values in pair(module, **sizes).items()}


def write_adapter(folder: Path, tensors: Mapping[str, np.ndarray] | list[Raw] | None = None, **config: Any) -> Path:
    """A PEFT folder; of two modules where no tensors are given. A key of the configuration that is ... is left out."""
    if tensors is None:
        tensors = pairs("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj")
    found = tensors if isinstance(tensors, list) else [raw(name, values) for name, values in tensors.items()]
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "adapter_model.safetensors", found)
    said = {key: value for key, value in {**CONFIG, **config}.items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder
