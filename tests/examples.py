"""Examples, tokenizers and text strategies that the tests of data and batches share."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.example import Example, Turn
from lft.data.prompts import EOI, PromptFormat
from lft.data.tokens import IGNORE, Encoder, Tokens
from tests.tiny import tiny_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Any text but half characters, weighted towards what breaks tokenizers: emoji families, flags, combining marks, CJK,
# right-to-left, zero width, line breaks, the replacement character.
_ODD = "👩‍👩‍👧‍👦🇺🇦🏽é̂ñ́你好吗한국어שלוםمرحبا\u200b\u200f\u202e\ufeff\ufffd\r\n\t\x00\x85\u2028 "
texts = st.text(
    st.one_of(
        st.sampled_from(_ODD),
        st.sampled_from("abc cat. [EO]I!?'s 12"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
written = texts.filter(lambda text: bool(text.strip()))


def example(instruction: str, output: str, **more: Any) -> Example:
    """One question, one answer."""
    return Example((Turn("user", instruction), Turn("assistant", output)), **more)


def talk(*contents: str, system: str | None = None) -> Example:
    """A conversation: user and assistant in turn."""
    turns = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(contents)]
    return Example(((Turn("system", system),) if system else ()) + tuple(turns))


@dataclass(frozen=True)
class ExampleList:
    """Examples in memory, as the data room's sources are."""

    examples: Sequence[Example]
    verdicts: tuple[str, ...] = ("made in the test",)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(repr(self.examples).encode()).hexdigest())

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)


def eoi_tokenizer(**kw: Any) -> Any:
    """The tiny tokenizer with [EOI] as one token."""
    tokenizer = tiny_tokenizer(**kw)
    extend_tokenizer(tokenizer, [EOI])
    return tokenizer


def encoder(max_length: int = 4096, overlong: Any = "error", form: PromptFormat | None = None, **kw: Any) -> Encoder:
    """An encoder in LongForm's format with the tiny tokenizer, unless told otherwise."""
    tokenizer = kw.pop("tokenizer", None) or eoi_tokenizer(**kw)
    return Encoder(tokenizer, form or PromptFormat("longform-eoi"), max_length, overlong)


def encoded(one: Encoder, *examples: Example) -> list[Tokens]:
    """The token sequences of examples."""
    return [tokens for _, tokens in one.encode(examples)]


def labels_of(tokens: Tokens) -> list[int]:
    """The ids that are in the loss."""
    return [label for label in tokens.labels if label != IGNORE]


def prompt_of(tokens: Tokens) -> list[int]:
    """The ids before the first label."""
    first = next(place for place, label in enumerate(tokens.labels) if label != IGNORE)
    return list(tokens.input_ids[:first])


def merging_tokenizer(*merges: tuple[str, str]) -> Any:
    """The tiny tokenizer with more merges, which come first: (\"]\", \"!\") makes `]!` one token."""
    from tokenizers import Tokenizer

    tokenizer = tiny_tokenizer()
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model = spec["model"]
    for left, right in merges:
        model["vocab"][left + right] = len(model["vocab"])
    model["merges"] = [list(pair) for pair in merges] + model["merges"]
    return _wrapped(Tokenizer.from_str(json.dumps(spec)))


def closing_tokenizer(single: str) -> Any:
    """The tiny tokenizer with a post-processor of its own, as LLaMA (``<s> $A``) or T5 (``$A </s>``) have one."""
    from tokenizers import processors

    tokenizer = eoi_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def byte_fallback_tokenizer() -> Any:
    """A LLaMA-like tokenizer: words begin with ▁, and a character that it lacks becomes one token a byte."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.,!?[]EOI\n"]
    merges = [("▁", "c"), ("▁c", "a"), ("▁ca", "t"), ("▁", "a"), ("▁", "▁")]
    vocab = special + [f"<0x{byte:02X}>" for byte in range(256)] + letters + [a + b for a, b in merges]
    bpe = Tokenizer(
        models.BPE({token: i for i, token in enumerate(vocab)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(bpe)


def _wrapped(backend: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def t5_tokenizer(shared_data: Path, folder: Path) -> Any:
    """The real T5 tokenizer: sentencepiece, and every text closed with EOS."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    packed = (shared_data / "tokenizers" / "t5" / "spiece.model.gz").read_bytes()
    (folder / "spiece.model").write_bytes(gzip.decompress(packed))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}', encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def ids_at_generation(tokenizer: Any, form: PromptFormat, prompt: str) -> list[int]:
    """The very ids that ``lft.base.decode.generate`` hands to a model."""
    from lft.base.decode import Asking, Decoding, generate

    model = _Spy()
    generate(model, tokenizer, [prompt], Decoding(greedy=True), Asking(form.adds_special_tokens))
    return model.seen


class _Spy:
    """Stands for a model that answers nothing."""

    device = "cpu"
    training = False
    seen: list[int]

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def generate(self, input_ids: Any, **_: Any) -> Any:
        self.seen = input_ids[0].tolist()
        return input_ids
