"""A model, a tokenizer and data sets for the benchmarks, made from a seed: the same bytes on every machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LENGTH = 512
RANK, ALPHA = 8, 16  # of LoRA, on all linear layers


@dataclass(frozen=True, slots=True)
class Shape:
    """A LLaMA model; without grouped keys and values, and with a head of its own."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear layers of one block: q, k, v, o, gate, up, down."""
        wide = (self.hidden, self.intermediate)
        return (*((self.hidden, self.hidden),) * 4, wide, wide, wide[::-1])


SHAPE = Shape(hidden=256, intermediate=768, layers=8, heads=4, vocabulary=8000)
PAIR_LAYERS = 4  # of T5's encoder, and of its decoder; its other sizes are those of SHAPE


def words(rng: random.Random, count: int) -> list[str]:
    syllables = ["ka", "lo", "mi", "ren", "sta", "vor", "un", "be", "tri", "el", "do", "sha", "gi", "pe", "wun", "ax"]
    return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(count)]


def make_model(folder: Path) -> None:
    """LLaMA architecture, 10.9 M parameters (hidden 256, 8 layers, vocabulary 8,000), random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_sentences(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.hidden,
        intermediate_size=SHAPE.intermediate,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.heads,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_pair_model(folder: Path) -> None:
    """T5 v1.1 architecture, 11.6 M parameters (hidden 256, 4 + 4 layers, vocabulary 8,000), random weights, no dropout:
    what is dropped is drawn by chance, and losses are compared."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=SHAPE.vocabulary,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=list("▁abcdefghijklmnopqrstuvwxyz[]-NL"),
        show_progress=False,
    )
    unigram.train_from_iterator(_sentences(), trainer)
    pieces = [(piece, score) for piece, score in json.loads(unigram.to_str())["model"]["vocab"]]
    T5Tokenizer(vocab=pieces, extra_ids=0).save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=SHAPE.vocabulary,
        d_model=SHAPE.hidden,
        d_kv=SHAPE.hidden // SHAPE.heads,
        d_ff=SHAPE.intermediate,
        num_layers=PAIR_LAYERS,
        num_heads=SHAPE.heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    model = T5ForConditionalGeneration(config)
    # transformers 5 ties it at first; a checkpoint with two matrices unties it
    head = torch.randn(SHAPE.vocabulary, SHAPE.hidden) * SHAPE.hidden**-0.5
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder)


MODELS = {"llama": make_model, "t5": make_pair_model}


def _sentences() -> Iterator[str]:
    """What the tokenizers are trained on."""
    rng = random.Random(0)
    lexicon = words(rng, 30000)
    return (" ".join(rng.choices(lexicon, k=40)) for _ in range(4000))


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
