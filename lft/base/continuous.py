"""Many answers, where a row that has ended leaves and the next prompt takes its place (continuous batching).

A batch that waits for its longest answer goes on computing rows that have ended. Here:

    keys and values [rows x heads x T x d],      ··aaaaa    a ends, c is read      ····ccc
    padded on the left                           bbbbbbb    apart and put in   →   bbbbbbb

Models whose cache is not one plain pair of tensors a layer (sliding windows, encoders, state spaces) are answered in
batches as before, by ``decode.generate``.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lft.base.decode import (
    Answer,
    Asking,
    Decoding,
    answer_of,
    drawn,
    generate,
    is_paired,
    prompt_ids,
    require_room,
    stop_ids,
    warpers,
)  # fmt: skip
from lft.base.load import ensure_pad

_REFILL: Final = 4  # a quarter of the places must be free before prompts are read: reading few is dear


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    asking: Asking,
    seeds: Sequence[int] | None,
    width: int,
) -> Iterator[tuple[int, Answer]]:
    """The place of each prompt and its answer, as answers end; prompts of like length belong beside each other.

    Args:
        model: a causal or an encoder-decoder model.
        tokenizer: its tokenizer.
        prompts: in the model's format, what the user said in them protected (``lft.literal``).
        decoding: how tokens are chosen.
        asking: how prompts are read and answers end.
        seeds: one for each prompt, so that a row's draws do not depend on who stands beside it; None only for greedy.
        width: rows at once.

    Raises:
        RecipeError: a prompt and its answer would be longer than the model has positions.
    """
    if not _keeps_places(model, decoding):
        yield from _by_batches(model, tokenizer, prompts, decoding, asking, seeds, width)
        return
    import torch

    rows = [prompt_ids(tokenizer, prompt, asking.special, False) for prompt in prompts]
    require_room(model, max(map(len, rows), default=0), decoding.max_new_tokens)
    stops = frozenset(stop_ids(model, tokenizer, asking.stop))
    streams = [torch.Generator(model.device).manual_seed(seed) for seed in seeds] if seeds is not None else None
    flow = _Flow(model, ensure_pad(tokenizer), decoding, stops, warpers(decoding))
    waiting = deque(_Row(place, ids, streams[place] if streams else None) for place, ids in enumerate(rows))
    training = model.training
    model.eval()
    try:
        for row in _ended(flow, waiting, width):
            yield row.place, answer_of(tokenizer, row.made, stops, asking.restored)
    finally:
        model.train(training)


@dataclass(slots=True, eq=False)
class _Row:
    """A prompt, the stream that it draws from (None: greedy), and what was made so far."""

    place: int
    prompt: list[int]
    stream: Any
    made: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Live:
    """Rows under way: their cache over T tokens and its mask [rows x T]."""

    rows: list[_Row]
    cache: Any
    mask: Any


@dataclass(frozen=True, slots=True)
class _Flow:
    """What all rows share."""

    model: Any
    pad: int
    decoding: Decoding
    stops: frozenset[int]
    warped: Any

    def read(self, rows: list[_Row]) -> _Live:
        """Prompts read as one batch, with the first token of each answer."""
        import torch

        from lft.base.roomy_cache import roomy_cache

        width = max(len(row.prompt) for row in rows)
        ids = [[self.pad] * (width - len(row.prompt)) + row.prompt for row in rows]
        seen = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
        mask = torch.tensor(seen, device=self.model.device)
        live = _Live(rows, roomy_cache(self.model.config), mask)
        self._forward(live, torch.tensor(ids, device=self.model.device), (mask.cumsum(-1) - 1).clamp(min=0))
        return live

    def step(self, live: _Live) -> None:
        """One token more for every row."""
        import torch

        last = torch.tensor([[row.made[-1]] for row in live.rows], device=self.model.device)
        live.mask = torch.cat([live.mask, live.mask.new_ones(len(live.rows), 1)], dim=1)
        self._forward(live, last, live.mask.sum(-1, keepdim=True) - 1)

    def _forward(self, live: _Live, ids: Any, positions: Any) -> None:
        import torch

        with torch.no_grad():
            logits = self.model(
                input_ids=ids,
                attention_mask=live.mask,
                position_ids=positions,
                past_key_values=live.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            streams = None if self.decoding.greedy else [row.stream for row in live.rows]
            chosen = drawn(self.warped(None, logits.float()), streams).tolist()
        for row, token in zip(live.rows, chosen, strict=True):
            row.made.append(token)

    def over(self, row: _Row) -> bool:
        """Whether a row has said what it may say."""
        return row.made[-1] in self.stops or len(row.made) >= self.decoding.max_new_tokens


def _ended(flow: _Flow, waiting: deque[_Row], width: int) -> Iterator[_Row]:
    """Rows as they end."""
    live: _Live | None = None
    while waiting or live:
        free = width - (len(live.rows) if live else 0)
        if waiting and (live is None or free * _REFILL >= width):
            fresh = flow.read([waiting.popleft() for _ in range(min(free, len(waiting)))])
            live = _joined(live, fresh) if live else fresh
        elif live:
            flow.step(live)
        if live:
            over = [row for row in live.rows if flow.over(row)]
            live = _without(live, over) if over else live
            yield from over


def _joined(one: _Live, other: _Live) -> _Live:
    """Two sets of rows as one, padded on the left to the longer."""
    import torch

    length = max(one.mask.shape[1], other.mask.shape[1])
    for mine, theirs in zip(one.cache.layers, other.cache.layers, strict=True):
        mine.hold(
            torch.cat([_widened(mine.keys, length, 2), _widened(theirs.keys, length, 2)]),
            torch.cat([_widened(mine.values, length, 2), _widened(theirs.values, length, 2)]),
        )
    mask = torch.cat([_widened(one.mask, length, 1), _widened(other.mask, length, 1)])
    return _Live(one.rows + other.rows, one.cache, mask)


def _widened(tensor: Any, length: int, axis: int) -> Any:
    import torch

    missing = [*tensor.shape]
    missing[axis] = length - tensor.shape[axis]
    return torch.cat([tensor.new_zeros(missing), tensor], dim=axis) if missing[axis] else tensor


def _without(live: _Live, over: Sequence[_Row]) -> _Live | None:
    """The rows that go on, without the columns that only the others needed."""
    import torch

    left = [number for number, row in enumerate(live.rows) if row not in over]
    if not left:
        return None
    chosen = torch.tensor(left, device=live.mask.device)
    mask = live.mask[chosen]
    first = int(mask.any(0).int().argmax())
    for layer in live.cache.layers:
        layer.hold(layer.keys[chosen, :, first:], layer.values[chosen, :, first:])
    return _Live([live.rows[number] for number in left], live.cache, mask[:, first:])


def _keeps_places(model: Any, decoding: Decoding) -> bool:
    """Whether rows of this model's cache can be taken out and put in."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if is_paired(model) or decoding.beams > 1 or decoding.repetition_penalty != 1.0:
        return False
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = inspect.signature(inner.forward).parameters
    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    return plain and {"position_ids", "past_key_values", "logits_to_keep"} <= set(taken)


def _by_batches(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    asking: Asking,
    seeds: Sequence[int] | None,
    width: int,
) -> Iterator[tuple[int, Answer]]:
    for start in range(0, len(prompts), width):
        places = range(start, min(start + width, len(prompts)))
        made = generate(
            model, tokenizer, prompts[start : places.stop], decoding, asking,
            seeds=None if seeds is None else seeds[start : places.stop],
        )  # fmt: skip
        yield from zip(places, made, strict=True)
