"""A model, a tokenizer and data sets for the benchmarks, made from a seed: the same bytes on every machine."""

from __future__ import annotations

import json
import random
from pathlib import Path

VOCABULARY, LENGTH = 8000, 512


def words(rng: random.Random, count: int) -> list[str]:
    syllables = ["ka", "lo", "mi", "ren", "sta", "vor", "un", "be", "tri", "el", "do", "sha", "gi", "pe", "wun", "ax"]
    return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(count)]


def make_model(folder: Path) -> None:
    """LLaMA architecture, 10.9 M parameters (hidden 256, 8 layers, vocabulary 8,000), random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rng = random.Random(0)
    lexicon = words(rng, 30000)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((" ".join(rng.choices(lexicon, k=40)) for _ in range(4000)), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_data(folder: Path, model: Path, kind: str, rows: int) -> Path:
    """Instruction / output pairs; returns the file.

    ``even``: like LongForm's how-to part, prompt 60 to 160 and output 120 to 280 tokens.
    ``long-tail``: whole length lognormal with median 60, at most 512 tokens (stack.md, packing), a fifth of it prompt.
    """
    from transformers import AutoTokenizer

    rng = random.Random(1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    lexicon = words(rng, 3000)
    path = folder / f"{kind}.jsonl"
    with path.open("w") as stream:
        for _ in range(rows):
            if kind == "even":
                prompt, output = rng.randint(60, 160), rng.randint(120, 280)
            else:
                whole = min(max(int(rng.lognormvariate(4.1, 0.9)), 12), LENGTH - 12)
                prompt, output = whole // 5, whole - whole // 5
            pair = {
                "prompt": _text(rng, lexicon, tokenizer, prompt),
                "completion": _text(rng, lexicon, tokenizer, output),
            }
            stream.write(json.dumps(pair) + "\n")
    return path


def _text(rng: random.Random, lexicon: list[str], tokenizer: object, tokens: int) -> str:
    ids = tokenizer(" ".join(rng.choices(lexicon, k=tokens)))["input_ids"][: max(tokens, 1)]  # type: ignore[operator]
    return tokenizer.decode(ids).strip() or "ka"  # type: ignore[attr-defined]
