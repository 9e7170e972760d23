"""A model in this process: batches of like length, each row with its own seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from lft.ask.meter import FREE, Limits, Meter, Spent
from lft.ask.request import Form, Reply, Request, Sampling, Take
from lft.data.example import Turn
from lft.data.prompts import prompt_format, prompt_text
from lft.literal import protected

_AHEAD: Final = 8  # batches that are sorted by length together


@dataclass(frozen=True, slots=True)
class Local:
    """A loaded model and its tokenizer; it is asked as chat where the tokenizer has a template for that."""

    name: str
    model: Any
    tokenizer: Any
    limits: Limits = FREE
    batch: int = 16
    counted_by: str = "the model's tokenizer"

    @property
    def form(self) -> Form:
        """chat for an instruction-tuned model, completion for a base model."""
        return "chat" if getattr(self.tokenizer, "chat_template", None) else "completion"

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
        """Ask batch by batch; see ``Model``. Raises BudgetSpent, and RecipeError where a prompt has no room."""
        while window := list(islice(requests, self.batch * _AHEAD)):
            window.sort(key=lambda one: (one.sampling.max_tokens, one.sampling.temperature, len(one.prompt)))
            for sampling, alike in groupby(window, key=lambda one: one.sampling):
                rows = list(alike)
                for start in range(0, len(rows), self.batch):
                    await self._batch(rows[start : start + self.batch], sampling, take, meter)

    async def _batch(self, rows: Sequence[Request], sampling: Sampling, take: Take, meter: Meter) -> None:
        texts = [self._text(row) for row in rows]
        counts = [self.count(text) for text in texts]
        most = Spent(len(rows), sum(counts), len(rows) * sampling.max_tokens)
        meter.promise(most)
        cost = Spent()
        try:
            start = time.monotonic()
            answers = await asyncio.to_thread(self._generated, texts, rows, sampling)
            seconds = time.monotonic() - start
            cost = Spent(len(rows), sum(counts), sum(one.tokens for one in answers))
        finally:
            meter.settle(most, cost)
        for row, tokens, answer in zip(rows, counts, answers, strict=True):
            take(row, Reply(answer.text, "stop" if answer.finished else "length", tokens, answer.tokens, seconds))

    def _generated(self, texts: Sequence[str], rows: Sequence[Request], sampling: Sampling) -> list[Any]:
        from lft.base.decode import Decoding, generate

        greedy = sampling.temperature == 0
        decoding = Decoding(sampling.max_tokens, sampling.top_p, sampling.temperature or 1.0, greedy)
        seeds = None if greedy else [row.seed for row in rows]
        special = self.form == "completion"
        return generate(self.model, self.tokenizer, texts, decoding, special=special, seeds=seeds)

    def _text(self, request: Request) -> str:
        """The prompt as the model reads it; what a document says never becomes a special token."""
        if isinstance(request.asked, str):
            return protected(request.asked, self.tokenizer)
        turns = tuple(Turn(one.role, one.text) for one in request.asked)
        return prompt_text(prompt_format("chat", "token", self.tokenizer), turns, self.tokenizer)


def load_local(name: str, cache: Path, limits: Limits, batch: int, notify: Callable[[str], None]) -> Local:
    """A model by hub id, folder, file.gguf or package://.

    Raises:
        InputError: it is missing or damaged.
        MachineError: there is no room for it.
    """
    from lft.base.device import device_and_dtype
    from lft.base.load import load_model, load_tokenizer
    from lft.base.resolve import resolve_base
    from lft.recipe.schema import Base

    ref = resolve_base(Base(model=name), cache, notify)
    placed = device_and_dtype("auto")
    model = load_model(ref, placed.dtype, placed.device, notify=notify)
    return Local(name, model, load_tokenizer(ref), limits, batch)
