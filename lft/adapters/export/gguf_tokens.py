"""A byte-level BPE tokenizer as GGUF's metadata say it.

llama.cpp splits text before BPE by rules of its own, each with a name; a model's rule is recognised by what its
tokenizer.json says, to the letter. A wrong name would cut other tokens than training did, so an unknown one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.adapters.vocabulary import template_of
from lft.base.files import read_json
from lft.errors import InputError

_NORMAL, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5  # gguf.TokenType
_WORDS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS: Final = {f"{_WORDS}\\p{{N}}{{1,3}}{_REST}": "llama-bpe", f"{_WORDS}\\p{{N}}{_REST}": "qwen2"}
_ELSEWHERE: Final = "write --to merged, and convert it with llama.cpp's convert_hf_to_gguf.py"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What llama.cpp needs of a tokenizer: texts by id, their kinds, merges, and the rule of splitting."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    pre: str
    special: Mapping[str, int]  # bos, eos, unk, pad
    adds_bos: bool
    chat_template: str | None


def vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Read from a model folder.

    Args:
        folder: with tokenizer.json and tokenizer_config.json.
        rows: rows of the embedding; ids beyond the tokens get names that no text has.

    Raises:
        InputError: no byte-level BPE, or one whose splitting llama.cpp has no name for.
    """
    file = folder / "tokenizer.json"
    said: dict[str, Any] = read_json(file) if file.is_file() else {}
    model = said.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise InputError(
            "no GGUF vocabulary is written for a tokenizer that is no byte-level BPE", where=str(folder), fix=_ELSEWHERE
        )
    ids = {text: int(number) for text, number in model["vocab"].items()}
    added = {int(token["id"]): token for token in said.get("added_tokens") or []}
    texts = {number: text for text, number in ids.items()} | {n: token["content"] for n, token in added.items()}
    if max(texts) >= rows:
        raise InputError(f"the tokenizer has id {max(texts)}, the embedding {rows:,} rows", where=str(file))
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    return Vocabulary(
        tokens=tuple(texts.get(number, f"[PAD{number}]") for number in range(rows)),
        kinds=tuple(_kind(number, texts, added) for number in range(rows)),
        merges=tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or []),
        pre=split_rule(said, file),
        special=_special(config, {text: number for number, text in texts.items()}),
        adds_bos=bool(config.get("add_bos_token", _writes_bos(said))),
        chat_template=template_of(folder),
    )


def _kind(number: int, texts: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if number not in texts:
        return _UNUSED
    if number not in added:
        return _NORMAL
    return _CONTROL if added[number].get("special") else _USER


def split_rule(said: Mapping[str, Any], where: Path) -> str:
    """llama.cpp's name for how a tokenizer splits text before BPE.

    Raises:
        InputError: it has none, as far as is known here.
    """
    steps = _steps(said.get("pre_tokenizer") or {})
    kinds = [step.get("type") for step in steps]
    if said.get("normalizer") not in (None, {"type": "NFC"}):
        kinds = ["normalizer"]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True) and not steps[0].get("add_prefix_space"):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True):
        name = _SPLITS.get((steps[0].get("pattern") or {}).get("Regex", ""))
        if name is not None and steps[0].get("behavior") == "Isolated":
            return name
    raise InputError(
        f"llama.cpp's name for this tokenizer's way of splitting text is not known here ({', '.join(map(str, kinds))})",
        where=str(where),
        fix=_ELSEWHERE,
    )


def _steps(pre: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(pre["pretokenizers"]) if pre.get("type") == "Sequence" else [pre]


def _writes_bos(said: Mapping[str, Any]) -> bool:
    """Whether the post-processor puts a token before every text."""
    post = said.get("post_processor") or {}
    steps = list(post["processors"]) if post.get("type") == "Sequence" else [post]
    return any(
        "SpecialToken" in (step.get("single") or [{}])[0] for step in steps if step.get("type") == "TemplateProcessing"
    )


def _special(config: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for part in ("bos", "eos", "unk", "pad"):
        said = config.get(f"{part}_token")
        text = str(said.get("content") if isinstance(said, dict) else said)
        if text in ids:
            found[part] = ids[text]
    return found
