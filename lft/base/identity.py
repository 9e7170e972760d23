"""Which adapter a folder holds, by what it does: its tensors, and what its configuration makes of them.

    adapter_model.safetensors ──▶ sha256 ────────────────┐
    adapter_config.json ──▶ what changes the result ─────┴──▶ sha256: the identity

Other numbers in the configuration (``lora_alpha``) are another adapter, though the tensors are the same. The order of
keys, the base's name, and what only training reads (dropout, how A and B began) are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.base.configuration import canonical
from lft.base.files import read_json, unique_keys
from lft.errors import InputError
from lft.files import sha256

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
# Names and versions, what only training reads, and what PEFT itself reads no more.
_IGNORED: Final = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "enable_lora", "eva_config", "inference_mode",
        "loftq_config", "lora_dtype", "lora_ga_config", "lorap_emb_lr", "lorap_lr_ratio", "megatron_config",
        "megatron_core", "merge_weights", "peft_version", "progressbar", "revision", "runtime_config", "task_type",
    }
)  # fmt: skip
_DROPOUTS: Final = ("dropout", "dropout_p")  # ends of names
# PEFT's defaults, which one version writes and another leaves out. Of LoRA no option that counts is true by default.
_LORA: Final[Mapping[str, Any]] = {"r": 8, "lora_alpha": 8, "bias": "none", "qalora_group_size": 16}


@dataclass(frozen=True, slots=True)
class Identity:
    """An adapter by content: ``digest`` (hex sha256) of what it does; ``weights`` is that of its tensors' file."""

    digest: str
    weights: str

    def is_meant(self, recorded: str) -> bool:
        """Whether a record means this adapter; ``lft.json`` of formats 1 to 3 named one by its weights alone."""
        return recorded in (self.digest, self.weights)


def identity(folder: Path) -> Identity:
    """The identity of the adapter in a folder.

    Raises:
        InputError: its configuration cannot be read.
        OSError: it has no weights.
    """
    return identity_of(read_json(folder / CONFIG), sha256(folder / WEIGHTS))


def identity_of(configuration: Any, weights: str) -> Identity:
    """The identity from the content of ``adapter_config.json`` and the sha256 of the weights.

    Raises:
        InputError: the configuration is no JSON object.
    """
    if not isinstance(configuration, dict):
        raise InputError("it does not hold a map", where=CONFIG, fix="fetch the file again")
    text = canonical({"config": meaning(configuration), "weights": weights})
    return Identity(hashlib.sha256(text.encode()).hexdigest(), weights)


def identity_in(configuration: bytes, weights: str) -> Identity | None:
    """``identity_of`` from the bytes of the file; None where they are no configuration."""
    try:
        return identity_of(json.loads(configuration, object_pairs_hook=unique_keys), weights)
    except (ValueError, RecursionError, InputError):
        return None


def meaning(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration changes what the adapter does, in one form."""
    lora = str(configuration.get("peft_type")).lower() in ("lora", "trainable_tokens")
    unsaid: tuple[Any, ...] = (None, [], {}, False) if lora else (None, [], {})
    found = {}
    for key, value in configuration.items():
        plain = _plain(value)
        if key in _IGNORED or key.endswith(_DROPOUTS) or _is_start(key, plain):
            continue
        if any(plain == one and type(plain) is type(one) for one in unsaid) or (lora and plain == _LORA.get(key)):
            continue
        found[key] = plain
    return found


def _plain(value: Any) -> Any:
    """16.0 and 16 are one number, and names in another order are the same names: PEFT saves them from a set."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(set(value)) if all(isinstance(item, str) for item in value) else [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_start(key: str, value: Any) -> bool:
    """Whether this is how A and B began; a start by name may have changed the base, and counts."""
    return key.startswith("init_") and (not isinstance(value, str) or value in ("gaussian", "orthogonal"))
