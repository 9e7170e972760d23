"""The architecture's line is one whatever a family calls its sizes, and whatever an older file leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lft.base.architecture import architecture
from lft.base.configuration import configuration
from tests.tiny import save_tiny

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "head_dim": 64, "intermediate_size": 1536, "vocab_size": 49152, "rope_theta": 1e5,
}  # fmt: skip


def line(**change: Any) -> str | None:
    said = {key: value for key, value in {**LLAMA, **change}.items() if value is not ...}
    return architecture(json.dumps(said))


def test_the_line_says_kind_and_sizes() -> None:
    assert line() == "llama hidden=576 layers=30 heads=9 kv=3 head=64 ffn=1536 vocab=49152"


@pytest.mark.parametrize(
    "change", [{"head_dim": ...}, {"rope_theta": 1e4}, {"head_dim": None}, {"torch_dtype": "float16"}]
)
def test_what_an_older_file_leaves_out_or_is_no_size_does_not_count(change: dict[str, Any]) -> None:
    assert line(**change) == line()


@pytest.mark.parametrize(
    "change",
    [{"model_type": "qwen2"}, {"hidden_size": 512}, {"num_hidden_layers": 29}, {"vocab_size": 5}, {"head_dim": 32}],
)
def test_another_size_is_another_line(change: dict[str, Any]) -> None:
    assert line(**change) != line()


def test_other_families_have_other_names_for_sizes() -> None:
    gpt2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_inner": None}
    assert architecture(json.dumps(gpt2)) == "gpt2 hidden=768 layers=12 heads=12 kv=12 head=64 vocab=50257"
    t5 = {
        "model_type": "t5",
        "d_model": 512,
        "num_layers": 6,
        "num_decoder_layers": 5,
        "num_heads": 8,
        "d_kv": 64,
        "d_ff": 2048,
    }
    assert architecture(json.dumps(t5)) == "t5 hidden=512 layers=6 decoder=5 heads=8 kv=8 head=64 ffn=2048"
    vision = {"model_type": "gemma3", "text_config": {"hidden_size": 640}, "vision_config": {"hidden_size": 9}}
    assert architecture(json.dumps(vision)) == "gemma3 hidden=640"


@pytest.mark.parametrize(
    "said", ["", "{}", '{"model_type": "llama"}', '{"hidden_size": 4}', '{"model_type": 3, "hidden_size": 4}']
)
def test_nothing_recorded_is_no_line(said: str) -> None:
    assert architecture(said) is None


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "opt"])
def test_real_configurations_have_one(family: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, family)
    assert str(architecture(configuration(tmp_path))).startswith(f"{family} hidden=")
