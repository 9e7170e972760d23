"""llama.cpp itself reads what is written for it: these run where `pip install llama-cpp-python` was done (minutes)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import read_delta
from lft.adapters.export.gguf_lora import export_gguf_lora
from lft.adapters.export.gguf_model import export_gguf
from lft.adapters.export.merged import export_merged
from tests.adapters.test_export_merged import loaded, saved_adapter, saved_base

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
pytestmark = pytest.mark.slow

PROMPT = "the old cat reads under the tree and"
COUNT = 24


def greedy(model: Any, tokenizer: Any) -> list[int]:
    ids = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        made = model.generate(input_ids=ids, max_new_tokens=COUNT, do_sample=False, eos_token_id=None)
    return list(made[0, ids.shape[1] :].tolist())


def greedy_there(tokenizer: Any, **which: Any) -> list[int]:
    model = llama_cpp.Llama(n_ctx=256, n_threads=1, verbose=False, logits_all=False, **which)
    ids = model.tokenize(PROMPT.encode(), add_bos=False, special=True)
    assert ids == tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    made: list[int] = []
    for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
        made.append(token)
        if len(made) == COUNT:
            break
    return made


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_llama_cpp_goes_on_as_transformers_does(tmp_path: Path, family: str) -> None:
    base = saved_base(tmp_path / "base", family, hidden=64, vocab=300)
    delta = read_delta(open_adapter(saved_adapter(base, tmp_path / "adapter", r=8)))
    merged = export_merged(base, delta, tmp_path / "merged").folder
    tokenizer = AutoTokenizer.from_pretrained(base)
    wanted = greedy(loaded(merged), tokenizer)
    assert wanted != greedy(loaded(base), tokenizer)
    plain = export_gguf(base, tmp_path / "base.gguf", "base").file
    lora = export_gguf_lora(base, delta, tmp_path / "lora.gguf", name="a", base_name="b").file
    whole = export_gguf(merged, tmp_path / "merged.gguf", "merged").file
    assert greedy_there(tokenizer, model_path=str(whole)) == wanted
    assert greedy_there(tokenizer, model_path=str(plain), lora_path=str(lora)) == wanted
