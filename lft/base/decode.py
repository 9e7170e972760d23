"""Text from a model: sampling settings as a typed object, and one function that runs them.

It lives in this room since training (samples before and after) and evaluation both need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lft.base.load import ensure_pad

OnText = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen.

    The default is the paper's: nucleus sampling with p = 0.9 (arXiv 2304.08460; the model cards' ``top_p=0.9``).
    """

    max_new_tokens: int = 512
    top_p: float = 0.9
    temperature: float = 1.0
    greedy: bool = False
    beams: int = 1
    seed: int = 42
    repetition_penalty: float = 1.0

    def arguments(self) -> dict[str, Any]:
        """Arguments of ``model.generate``; every sampling switch is given, so no model default slips in."""
        sampled = not self.greedy and self.beams == 1
        settings: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": sampled,
            "num_beams": self.beams,
            "repetition_penalty": self.repetition_penalty,
        }
        if sampled:
            settings |= {"top_p": self.top_p, "temperature": self.temperature, "top_k": 0}
        return settings


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated text and how it ended."""

    text: str
    tokens: int
    finished: bool  # ended with a stop token, not at the limit


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    special: bool = True,
    stop: int | None = None,
    on_text: OnText | None = None,
) -> list[Answer]:
    """Answers to prompts, as one left-padded batch.

    Args:
        model: a causal model.
        tokenizer: its tokenizer.
        prompts: prompts already in the model's format.
        decoding: how tokens are chosen; the seed makes it repeatable.
        special: whether the tokenizer adds BOS (false for chat, whose template writes it).
        stop: a token of the prompt format that ends an answer, beside EOS.
        on_text: called with text as it is made; for one prompt only.
    """
    import torch

    rows = [_prompt_ids(tokenizer, prompt, special) for prompt in prompts]
    width, pad = max(map(len, rows)), ensure_pad(tokenizer)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    stops = stop_ids(model, tokenizer, stop)
    training = model.training
    model.eval()
    torch.manual_seed(decoding.seed)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            pad_token_id=pad,
            eos_token_id=stops,
            streamer=_streamer(tokenizer, on_text),
            **decoding.arguments(),
        )
    model.train(training)
    return [_answer(tokenizer, row[width:].tolist(), stops) for row in made]


def stop_ids(model: Any, tokenizer: Any, stop: int | None = None) -> list[int]:
    """Every token that ends an answer: the tokenizer's EOS, those of the generation settings, the prompt format's."""
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = more if isinstance(more, list) else [] if more is None else [more]
    return sorted({tokenizer.eos_token_id, *listed} | ({stop} if stop is not None else set()))


def _prompt_ids(tokenizer: Any, prompt: str, special: bool) -> list[int]:
    ids: list[int] = tokenizer(prompt, add_special_tokens=special)["input_ids"]
    # T5-like tokenizers close every text with EOS; an open prompt must not end with it.
    return ids[:-1] if special and ids[-1:] == [tokenizer.eos_token_id] and len(ids) > 1 else ids


def _answer(tokenizer: Any, ids: list[int], stops: Sequence[int]) -> Answer:
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    kept = ids if end is None else ids[:end]
    return Answer(tokenizer.decode(kept, skip_special_tokens=True).strip(), len(kept), end is not None)


def _streamer(tokenizer: Any, on_text: OnText | None) -> Any:
    if on_text is None:
        return None
    from transformers import TextStreamer

    hand_on = on_text

    class Forward(TextStreamer):  # type: ignore[misc]
        """Hands finished words on instead of printing them."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002
            hand_on(text)

    return Forward(tokenizer, skip_prompt=True, skip_special_tokens=True)
