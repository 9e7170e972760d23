"""Small real models and tokenizers, built in code: no downloads, well under a second each.

``tiny_tokenizer()`` is a byte-level BPE trained on made-up sentences; ``tiny_model("llama", len(tokenizer))`` is a
randomly initialised causal model of that family; ``save_tiny(folder, "llama")`` writes both as a model folder.
``tiny_pair_tokenizer()``, ``tiny_pair_model("t5")`` and ``save_tiny_pair(folder, "t5")`` are their encoder-decoder kin:
a Unigram vocabulary without a line break, as T5's.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "opt", "gpt2", "gpt_neox")
PAIR_FAMILIES = ("t5", "t5-v1.1", "mt5")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>")
PAD, BOS, EOS, UNK = 0, 1, 2, 3
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% if m['role'] == 'assistant' %}</s>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_TEXT = (
    "the a red blue green cat dog bird runs jumps sleeps over under near big small old new house tree river stone "
    "cloud night day sings reads writes counts seven eight nine ten apples pears roads"
)
WORDS = _TEXT.split()

# What differs between families; everything else is said once in `tiny_config`.
_OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": None},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": True},
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 64, "use_parallel_residual": True},
}


def sentence(rng: random.Random, words: int) -> str:
    """A made-up sentence of so many words."""
    return " ".join(rng.choice(WORDS) for _ in range(words)) + "."


def sentences(count: int, seed: int = 0, low: int = 4, high: int = 40) -> list[str]:
    """Made-up sentences, the same ones for the same seed."""
    rng = random.Random(seed)
    return [sentence(rng, rng.randint(low, high)) for _ in range(count)]


@functools.cache
def _trained_bpe(vocab: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(sentences(500), trainer)
    return bpe.to_str()


def tiny_tokenizer(vocab: int = 384, *, chat: bool = True, pad: str | None = "<pad>") -> PreTrainedTokenizerBase:
    """A fast byte-level BPE tokenizer (pad 0, bos 1, eos 2, unk 3); a fresh object at each call.

    ``vocab`` is an upper bound (at least 270); ``chat=False`` leaves the chat template out, ``pad=None`` the pad token.
    It adds no bos of its own.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_bpe(vocab)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_config(family: str, vocab: int, **kw: Any) -> Any:
    """The configuration of a two-layer model of hidden size 32; ``kw`` overrides any key of that family's config."""
    from transformers import CONFIG_MAPPING

    if family not in _OWN:
        raise ValueError(f"unknown family {family!r}; one of {', '.join(FAMILIES)}")
    hidden = kw.pop("hidden", 32)
    layers = kw.pop("layers", 2)
    sizes: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    if family not in ("opt", "gpt2"):
        sizes["intermediate_size"] = hidden * 2
    return CONFIG_MAPPING[family](**{**sizes, **_OWN[family], **kw})


def tiny_model(family: str = "llama", vocab: int = 384, *, seed: int = 0, **kw: Any) -> PreTrainedModel:
    """A randomly initialised float32 causal model of a family, in eval mode; the same weights for the same seed.

    ``kw`` goes to the configuration (``tie_word_embeddings=True``, ``attn_implementation="sdpa"``, ``hidden=64``,
    ``layers=1`` ...). ``vocab`` is the number of embedding rows.
    """
    import torch
    from transformers import AutoModelForCausalLM

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        return AutoModelForCausalLM.from_config(tiny_config(family, vocab, **kw), dtype=torch.float32).eval()
    finally:
        torch.random.set_rng_state(state)


def save_tiny(folder: Path, family: str = "llama", *, vocab: int = 384, extra_rows: int = 0, **kw: Any) -> Path:
    """Write a tiny model and its tokenizer as a model folder (safetensors) and return the folder.

    ``extra_rows`` gives the embedding more rows than the tokenizer has tokens, as OPT and T5 have. A
    ``max_shard_size`` keyword shards the weights.
    """
    shard = kw.pop("max_shard_size", "5GB")
    chat = kw.pop("chat", True)
    tokenizer = tiny_tokenizer(vocab, chat=chat)
    model = tiny_model(family, len(tokenizer) + extra_rows, **kw)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _trained_unigram(vocab: int) -> tuple[tuple[str, float], ...]:
    """Pieces and scores in T5's order: <pad>, </s>, <unk>, then those learnt."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=list("▁abcdefghijklmnopqrstuvwxyz.,!?-[]NLEOI"),
        show_progress=False,
    )
    unigram.train_from_iterator(sentences(500), trainer)
    return tuple((piece, score) for piece, score in json.loads(unigram.to_str())["model"]["vocab"])


def tiny_pair_tokenizer(vocab: int = 160) -> PreTrainedTokenizerBase:
    """A T5 tokenizer (pad 0, eos 1, unk 2): white space becomes ▁, runs of it one, and a line break is lost."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=list(_trained_unigram(vocab)), extra_ids=0)


def tiny_pair_model(family: str = "t5", vocab: int = 168, *, seed: int = 0, **kw: Any) -> PreTrainedModel:
    """A randomly initialised float32 encoder-decoder, in eval mode.

    ``t5`` has the tied head behind scaled states of v1.0; ``t5-v1.1`` and ``mt5`` have gated layers and a head of their
    own, no scale. ``kw`` goes to the configuration.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, MT5Config, T5Config

    if family not in PAIR_FAMILIES:
        raise ValueError(f"unknown family {family!r}; one of {', '.join(PAIR_FAMILIES)}")
    sizes = {"vocab_size": vocab, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    own = {} if family == "t5" else {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
    config = (MT5Config if family == "mt5" else T5Config)(
        **{**sizes, **own, "decoder_start_token_id": 0, "dropout_rate": 0.0, **kw}
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32).eval()
        if own:  # transformers 5 ties it at first; a checkpoint with two matrices unties it
            model.lm_head.weight = torch.nn.Parameter(torch.randn(vocab, config.d_model) * config.d_model**-0.5)
    finally:
        torch.random.set_rng_state(state)
    return model


def save_tiny_pair(folder: Path, family: str = "t5", *, extra_rows: int = 8, **kw: Any) -> Path:
    """Write a tiny encoder-decoder and its tokenizer as a model folder (safetensors) and return the folder."""
    tokenizer = tiny_pair_tokenizer()
    model = tiny_pair_model(family, len(tokenizer) + extra_rows, **kw)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
