"""A tiny GGUF file, written as llama.cpp's converter writes a llama: its names, its order of q and k rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tiny import BOS, EOS, UNK, tiny_model, tiny_tokenizer

_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def save_tiny_gguf(file: Path, *, seed: int = 0, **kw: Any) -> Path:
    """Write ``tiny_model("llama")`` with its tokenizer as float32 GGUF and return the path."""
    from gguf import GGUFWriter

    tokenizer = tiny_tokenizer()
    model = tiny_model("llama", len(tokenizer), seed=seed, **kw)
    config = model.config
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    _add_tokenizer(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        values = tensor.numpy()
        if heads:
            rows, width = values.shape
            values = values.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)
        writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _TOP:
        return f"{_TOP[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{_LAYER[rest]}.weight"


def _add_tokenizer(writer: Any, tokenizer: Any) -> None:
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["id"] for token in stored["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([token for token, _ in sorted(stored["model"]["vocab"].items(), key=lambda pair: pair[1])])
    writer.add_token_types([3 if number in special else 1 for number in range(len(tokenizer))])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["model"]["merges"]]
    )
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
