"""Text from a model: sampling settings as a typed object, and one function that runs them.

It lives in this room since training (samples before and after) and evaluation both need it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from lft.base.load import ensure_pad
from lft.base.positions import require_positions
from lft.literal import encoded

OnText = Callable[[str], None]


class Restored(Protocol):
    """Turns decoded text into what was meant: a prompt format may write line breaks in its own way."""

    def __call__(self, decoded: str) -> str:
        """The whole text."""

    def settled(self, decoded: str) -> str:
        """The part of an unfinished text that no further text can change."""


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


@dataclass(frozen=True, slots=True)
class Asking:
    """How prompts are read and answers end.

    Args:
        special: whether the tokenizer adds BOS (false for chat, whose template writes it).
        stop: a token of the prompt format that ends an answer, beside EOS.
        restored: undoes what the prompt format did to line breaks.
    """

    special: bool = True
    stop: int | None = None
    restored: Restored | None = None


_PLAINLY: Final = Asking()


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    asking: Asking = _PLAINLY,
    *,
    on_text: OnText | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Answer]:
    """Answers to prompts, as one batch: left-padded for a decoder, right-padded for an encoder.

    Args:
        model: a causal or an encoder-decoder model.
        tokenizer: its tokenizer.
        prompts: prompts already in the model's format, what the user said in them protected (``lft.literal``).
        decoding: how tokens are chosen; the seed makes it repeatable.
        asking: how prompts are read and answers end.
        on_text: called with text as it is made; for one prompt only.
        seeds: one for each prompt instead of ``decoding.seed``: a row's draws then do not depend on its batch.

    Raises:
        RecipeError: prompt and answer would be longer than the model has positions.
    """
    import torch

    paired = is_paired(model)
    rows = [prompt_ids(tokenizer, prompt, asking.special, paired) for prompt in prompts]
    pad = ensure_pad(tokenizer)
    ids, mask = _padded(rows, pad, paired, model.device)
    require_room(model, ids.shape[1], decoding.max_new_tokens)
    stops = stop_ids(model, tokenizer, asking.stop)
    training = model.training
    model.eval()
    torch.manual_seed(decoding.seed)
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            pad_token_id=pad,
            eos_token_id=stops,
            streamer=_streamer(tokenizer, on_text, asking.restored),
            **(decoding.arguments() if seeds is None else _drawn_by_row(decoding, seeds, model.device)),
        )
    model.train(training)
    given = 1 if paired else ids.shape[1]  # a decoder with an encoder begins with its start token
    return [answer_of(tokenizer, row[given:].tolist(), stops, asking.restored) for row in made]


def _drawn_by_row(decoding: Decoding, seeds: Sequence[int], device: Any) -> dict[str, Any]:
    """Arguments of ``model.generate`` under which each row draws by its own seed.

    The library draws for a whole batch from one stream. Here the draw is the last processor of the logits, which
    leaves one token of each row, and greedy search takes it.
    """
    import torch
    from transformers import LogitsProcessorList

    streams = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def draw(_: Any, scores: Any) -> Any:
        return torch.full_like(scores, -torch.inf).scatter(1, drawn(scores, streams)[:, None], 0.0)

    settings = replace(decoding, greedy=True).arguments()
    return {**settings, "logits_processor": LogitsProcessorList([*warpers(decoding), draw])}


def warpers(decoding: Decoding) -> Any:
    """What makes logits into those that are drawn from: nothing where the likeliest token is taken."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    sampled = LogitsProcessorList()
    if decoding.temperature != 1.0 and not decoding.greedy:
        sampled.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_p < 1.0 and not decoding.greedy:
        sampled.append(TopPLogitsWarper(decoding.top_p))
    return sampled


def drawn(scores: Any, streams: Sequence[Any] | None) -> Any:
    """A token for each row of scores [rows x vocabulary], drawn from the row's stream; the likeliest with None."""
    import torch

    if streams is None:
        return scores.argmax(-1)
    shares = torch.softmax(scores.float(), dim=-1)
    rows = zip(shares, streams, strict=True)
    return torch.cat([torch.multinomial(share, 1, generator=stream) for share, stream in rows])


def is_paired(model: Any) -> bool:
    """Whether a model is an encoder-decoder."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def require_room(model: Any, prompt: int, new: int) -> None:
    """Raise RecipeError where a prompt and its answer (tokens) are longer than the model has positions."""
    config = getattr(model, "config", None)
    if config is not None:
        fix = f"lower --max-new-tokens (now {new}) or shorten the prompt: together at most {{}}"
        require_positions(config, prompt + new, f"a prompt of {prompt:,} tokens and its answer", fix)


def _padded(rows: Sequence[list[int]], pad: int, right: bool, device: Any) -> tuple[Any, Any]:
    """Ids and attention mask, both [B x the longest row]."""
    import torch

    width = max(map(len, rows))
    spare = [[0] * (width - len(row)) for row in rows]
    ids, mask = [], []
    for row, gap in zip(rows, spare, strict=True):
        filled, seen = [pad] * len(gap), [1] * len(row)
        ids.append(row + filled if right else filled + row)
        mask.append(seen + gap if right else gap + seen)
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def stop_ids(model: Any, tokenizer: Any, stop: int | None = None) -> list[int]:
    """Every token that ends an answer: the tokenizer's EOS, those of the generation settings, the prompt format's."""
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = more if isinstance(more, list) else [] if more is None else [more]
    return sorted({tokenizer.eos_token_id, *listed} | ({stop} if stop is not None else set()))


def prompt_ids(tokenizer: Any, prompt: str, special: bool, paired: bool) -> list[int]:
    """A prompt as ids, open at its end for a decoder and closed for an encoder (``paired``)."""
    ids = encoded(tokenizer, [prompt], add_special_tokens=special)[0]
    eos = tokenizer.eos_token_id
    # T5-like tokenizers close every text with EOS; an open prompt must not end with it.
    opened = ids[:-1] if special and ids[-1:] == [eos] and len(ids) > 1 else ids
    return [*opened, eos] if paired else opened


def answer_of(tokenizer: Any, ids: list[int], stops: Collection[int], restored: Restored | None) -> Answer:
    """Generated ids as text, up to the first token that ends an answer."""
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    kept = ids if end is None else ids[:end]
    text = str(tokenizer.decode(kept, skip_special_tokens=True))
    return Answer((restored(text) if restored else text).strip(), len(kept), end is not None)


def _streamer(tokenizer: Any, on_text: OnText | None, restored: Restored | None) -> Any:
    if on_text is None:
        return None
    from transformers import TextStreamer

    passed = _Restoring(on_text, restored)

    class Forward(TextStreamer):  # type: ignore[misc]
        """Hands finished words on instead of printing them."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            passed.take(text, stream_end)

    return Forward(tokenizer, skip_prompt=True, skip_special_tokens=True)


@dataclass(slots=True)
class _Restoring:
    """Text as it is made, restored, and handed on no sooner than it stands."""

    hand_on: OnText
    restored: Restored | None
    decoded: str = ""
    told: int = 0

    def take(self, text: str, last: bool) -> None:
        """The next stretch of decoded text, and whether it is the last."""
        if self.restored is None:
            self.hand_on(text)
            return
        self.decoded += text
        ready = self.restored(self.decoded) if last else self.restored.settled(self.decoded)
        if len(ready) > self.told:
            self.hand_on(ready[self.told :])
            self.told = len(ready)
