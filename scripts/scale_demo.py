"""Three small LLaMAs that know nothing yet, and real help texts to train them on: sizes for `lft evaluate scale`.

    lft corpus select gnome-help 'select.quotas={}'          # apt install gnome-user-docs
    python scripts/scale_demo.py corpora/gnome-help scale    # writes scale/0.3M, scale/1.5M, scale/7M, scale/scale.yaml
    lft evaluate scale scale/scale.yaml technical-docs --offline --metric bits-per-byte \
        decoding.max_new_tokens=32 --base ./scale/0.3M --base ./scale/1.5M --base ./scale/7M

The tokenizer is a byte-level BPE of 2,048 tokens trained on the same texts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

SIZES = {"0.3M": (64, 4), "1.5M": (128, 6), "7M": (256, 8)}  # width, layers
VOCABULARY = 2048
RECIPE = """\
name: scale-demo
base: {{model: {first}, dtype: float32}}
data:
  train: {data}
  split: {{validation: null}}
  format: longform
  prompt: plain
  max_length: 512
  overlong: split
  packing: true
method: {{kind: full}}
train: {{epochs: 1, learning_rate: 1.0e-3, schedule: cosine, warmup_ratio: 0.05, global_batch_size: 1}}
"""


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    build, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    rows = list(pairs(build / "2-select"))
    (out / "data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    save_bases(out, [row["output"] for row in rows])
    first = next(iter(SIZES))
    (out / "scale.yaml").write_text(RECIPE.format(first=(out / first).resolve(), data=(out / "data.jsonl").resolve()))
    print(f"{len(rows):,} texts and {len(SIZES)} bases in {out}")


def pairs(folder: Path) -> Iterator[dict[str, str]]:
    """Each document as the answer to its title."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            document = json.loads(line)
            if "text" in document:
                title = document.get("title") or document["text"].partition("\n")[0][:80]
                yield {"input": title, "output": document["text"]}


def save_bases(out: Path, texts: list[str]) -> None:
    """One tokenizer, and a model of each size with random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special, alphabet = ["<pad>", "<s>", "</s>"], sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator(texts, trainer)
    names = dict(zip(("pad_token", "bos_token", "eos_token"), special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    for name, (width, layers) in SIZES.items():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=width // 32, max_position_embeddings=1024, tie_word_embeddings=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)


if __name__ == "__main__":
    main()
