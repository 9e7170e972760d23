"""Adapters made by PEFT itself on tiny models, every number random (a fresh B is zero, which would hide mistakes)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.tiny import tiny_model

IDS = torch.tensor([[5, 9, 40, 7, 300, 31, 8]])

# What PEFT can write that this reader reads, by a name for tests; the first is the model's family.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {}),
    "rslora": ("llama", {"use_rslora": True, "lora_alpha": 12}),
    "rank pattern": ("llama", {"rank_pattern": {"v_proj": 2, r"layers\.1\.mlp\.up_proj": 7}}),
    "alpha pattern": ("llama", {"alpha_pattern": {"v_proj": 3, r"layers\.1\.mlp\..*": 40}}),
    "rslora with both patterns": (
        "llama",
        {"use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"up_proj": 3}},
    ),
    "regular expression": ("llama", {"target_modules": r".*layers\.1\..*\.(q_proj|down_proj)"}),
    "one layer": ("llama", {"layers_to_transform": [1]}),
    "embedding": ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
    "head": ("llama", {"target_modules": ["q_proj", "lm_head"]}),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "conv1d undeclared": ("gpt2", {"target_modules": ["c_attn", "c_proj"]}),
    "token rows": ("llama", {"trainable_token_indices": {"embed_tokens": [7, 5, 300]}}),
    "token rows untied": ("llama", {"trainable_token_indices": {"embed_tokens": [7, 5], "lm_head": [9, 300]}}),
    "whole modules": ("llama", {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "biases": ("qwen2", {"bias": "all"}),
    "biases of the adapted": ("qwen2", {"bias": "lora_only"}),
    "bias of B": ("qwen2", {"lora_bias": True, "target_modules": ["q_proj", "v_proj"]}),
    "dora": ("llama", {"use_dora": True}),
    "mica": ("llama", {"init_lora_weights": "mica"}),
    "gpt-neox": ("gpt_neox", {"target_modules": ["query_key_value", "dense_h_to_4h"]}),
    "opt": ("opt", {"target_modules": ["q_proj", "fc1"]}),
}
_USUAL = {
    "r": 4,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj", "up_proj"],
    "task_type": "CAUSAL_LM",
}


def made(name: str, seed: int = 0) -> PeftModel:
    """A PEFT model of a variant, all of the adapter's numbers random."""
    family, options = VARIANTS[name]
    torch.manual_seed(seed)
    tuned = get_peft_model(tiny_model(family), LoraConfig(**{**_USUAL, **options}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in tuned.named_parameters():
            if parameter.requires_grad or "lora_B" in key:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return tuned.eval()


def save(tuned: PeftModel, folder: Path) -> Path:
    """As PEFT saves it."""
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def logits(tuned: Any) -> torch.Tensor:
    """Of a fixed text."""
    with torch.no_grad():
        return tuned(input_ids=IDS).logits


def loaded(name: str, folder: Path) -> PeftModel:
    """An adapter's folder put on the variant's base by plain PEFT; any warning of its is an error."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
        return PeftModel.from_pretrained(tiny_model(VARIANTS[name][0]), str(folder)).eval()
