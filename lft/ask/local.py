"""A model in this process: rows of like length side by side, each with its own seed."""

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
from lft.base.continuous import answers
from lft.base.decode import Asking, Decoding
from lft.data.example import Turn
from lft.data.prompts import prompt_format, prompt_text
from lft.literal import protected

_AHEAD: Final = 32  # times the batch: requests that are sorted by length together


@dataclass(frozen=True, slots=True)
class Local:
    """A loaded model and its tokenizer.

    It is asked as chat where the tokenizer has a template for that, else it goes on with a text. With ``ready`` what it
    is asked are texts in the model's own format already (``lft.data.prompts``), read as that says.
    """

    name: str
    model: Any
    tokenizer: Any
    limits: Limits = FREE
    batch: int = 16
    counted_by: str = "the model's tokenizer"
    ready: Asking | None = None

    @property
    def form(self) -> Form:
        """chat for an instruction-tuned model, completion for a base model."""
        chat = self.ready is None and getattr(self.tokenizer, "chat_template", None)
        return "chat" if chat else "completion"

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
        """Ask them window by window; see ``Model``. Raises BudgetSpent, and RecipeError where a prompt has no room."""
        while window := list(islice(requests, self.batch * _AHEAD)):
            window.sort(key=lambda one: (one.sampling.max_tokens, one.sampling.temperature, len(one.prompt)))
            for sampling, alike in groupby(window, key=lambda one: one.sampling):
                rows = list(alike)
                share = self.batch if self.limits.bounded else len(rows)  # what is promised at once stays small
                for start in range(0, len(rows), share):
                    await self._asked(rows[start : start + share], sampling, take, meter)

    async def _asked(self, rows: Sequence[Request], sampling: Sampling, take: Take, meter: Meter) -> None:
        texts = [self._text(row) for row in rows]
        most = {place: Spent(1, self.count(text), sampling.max_tokens) for place, text in enumerate(texts)}
        meter.promise(sum(most.values(), Spent()))
        start = time.monotonic()
        made = self._made(texts, rows, sampling)
        try:
            while (found := await asyncio.to_thread(next, made, None)) is not None:
                place, answer = found
                tokens = most[place].tokens_in
                meter.settle(most.pop(place), Spent(1, tokens, answer.tokens))
                finish, seconds = "stop" if answer.finished else "length", time.monotonic() - start
                take(rows[place], Reply(answer.text, finish, tokens, answer.tokens, seconds))
        finally:
            meter.settle(sum(most.values(), Spent()), Spent())

    def _made(self, texts: Sequence[str], rows: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Any]]:
        greedy = sampling.temperature == 0
        decoding = Decoding(sampling.max_tokens, sampling.top_p, sampling.temperature or 1.0, greedy)
        seeds = None if greedy else [row.seed for row in rows]
        asking = self.ready or Asking(special=self.form == "completion")
        return answers(self.model, self.tokenizer, texts, decoding, asking, seeds, self.batch)

    def _text(self, request: Request) -> str:
        """The prompt as the model reads it; what a document says never becomes a special token."""
        if isinstance(request.asked, str):
            return request.asked if self.ready else protected(request.asked, self.tokenizer)
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
