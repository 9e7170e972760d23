"""What a manifest says about an adapter, measured from its files; no product B A is ever formed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from lft.adapters.adapter import Adapter, LowRank
from lft.adapters.store.manifest import AddedToken, Base, Lora, Quantization, Target, Tokenizer, decimal
from lft.adapters.tensors import read_array
from lft.base.architecture import architecture
from lft.base.files import read_json
from lft.files import sha256


def base_of(adapter: Adapter) -> Base:
    """The base as lft bound it, else as PEFT named it; empty where neither did."""
    binding, configuration = adapter.binding, adapter.configuration
    if binding is None:
        return Base(configuration.base or "", configuration.revision, None, None, None, None)
    kind = binding.quantize
    return Base(
        binding.base,
        binding.revision,
        binding.weights,
        hashlib.sha256(binding.config.encode()).hexdigest() if binding.config else None,
        binding.rows,
        Quantization(kind, binding.double_quant, binding.compute_dtype) if kind else None,
        architecture(binding.config),
    )


def tokenizer_of(adapter: Adapter) -> Tokenizer:
    """The base's tokenizer by fingerprint, the adapter's template, end of text and trained rows."""
    config = _map(adapter.folder / "tokenizer_config.json")
    end = config.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    texts = _texts(adapter.folder, config)
    numbers = sorted({number for rows in adapter.rows for number in rows.tokens})
    return Tokenizer(
        adapter.binding.tokenizer if adapter.binding else None,
        _template(adapter.folder, config),
        end if isinstance(end, str) else None,
        tuple(AddedToken(number, texts.get(number)) for number in numbers),
    )


def lora_of(adapter: Adapter) -> Lora | None:
    """Ranks, shapes and norms; None for a method that is no sum of low rank.

    Raises:
        InputError: a norm is not finite.
    """
    if not adapter.low_rank and not adapter.whole:
        return None
    norms = [_norm(one) for one in adapter.low_rank]
    targets = tuple(
        Target(one.module, *one.delta_shape, one.r, decimal(one.scale), decimal(norm))
        for one, norm in zip(adapter.low_rank, norms, strict=True)
    )
    dtypes = {info.dtype for one in adapter.low_rank for info in (one.a, one.b)}
    return Lora(
        max((one.r for one in adapter.low_rank), default=0),
        ",".join(sorted(dtypes)),
        _is_canonical(adapter),
        decimal(float(np.sqrt(sum(norm * norm for norm in norms)))),
        targets,
        tuple(one.tensor for one in adapter.whole),
    )


def _norm(one: LowRank) -> float:
    """‖s B A‖ with ‖B A‖² = tr((Bᵀ B)(A Aᵀ)): two r x r products instead of one m x n."""
    a, b = (read_array(info).astype(np.float64) for info in (one.a, one.b))
    squared = float(np.sum((b.T @ b) * (a @ a.T)))
    return abs(one.scale) * float(np.sqrt(max(squared, 0.0)))


def _is_canonical(adapter: Adapter) -> bool:
    """Whether every reader scales it alike: factor 1, one rank, no variant."""
    said = adapter.configuration
    plain = not (said.use_rslora or said.use_dora or said.lora_bias or said.rank_pattern or said.alpha_pattern)
    return plain and said.alpha == said.r


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return sha256(folder / "chat_template.jinja")
    text = config.get("chat_template")
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else None


def _texts(folder: Path, config: dict[str, Any]) -> dict[int, str]:
    """Added tokens by id, from whichever file has them."""
    found: dict[int, str] = {}
    listed = _map(folder / "tokenizer.json").get("added_tokens")
    decoder = config.get("added_tokens_decoder")
    tokens: list[tuple[Any, Any]] = list(decoder.items()) if isinstance(decoder, dict) else []
    tokens += [(token.get("id"), token) for token in listed or () if isinstance(token, dict)]
    for number, token in tokens:
        text = token.get("content") if isinstance(token, dict) else None
        if str(number).isdigit() and isinstance(text, str):
            found[int(number)] = text
    return found


def _map(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
