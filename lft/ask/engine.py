"""A model in vLLM's engine, in this process: prompts as tokens in, tokens out, each answer with its own seed.

Written after vLLM's documentation (``LLM``, ``SamplingParams``, ``LoRARequest``); it was never run on a GPU.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lft.ask.meter import FREE, Limits, Meter, Spent
from lft.ask.request import Form, Reply, Request, Sampling, Take
from lft.base.decode import Asking, answer_of, prompt_ids
from lft.errors import MachineError

_AHEAD: Final = 512  # requests that the engine orders itself; what they made is on the disk before the next ones


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter as vLLM reads it: a PEFT folder, and the least of vLLM's ranks that holds its own."""

    name: str
    folder: Path
    rank: int


@dataclass(frozen=True, slots=True)
class Engine:
    """vLLM's ``LLM`` with a model, the tokenizer that prompts and answers are read with, and what ends an answer."""

    name: str
    llm: Any
    tokenizer: Any
    ready: Asking
    stops: tuple[int, ...]
    lora: Lora | None = None
    limits: Limits = FREE
    counted_by: str = "the model's tokenizer"

    @property
    def form(self) -> Form:
        """Texts in the model's own format."""
        return "completion"

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
        """Ask them window by window; see ``Model``. Raises MachineError where the engine fails."""
        while window := list(islice(requests, _AHEAD)):
            rows = [prompt_ids(self.tokenizer, str(one.asked), self.ready.special, False) for one in window]
            start = time.monotonic()
            made = await asyncio.to_thread(self._made, window, rows)
            for request, ids, one in zip(window, rows, made, strict=True):
                answer = answer_of(self.tokenizer, list(one.token_ids), self.stops, self.ready.restored)
                spent = Spent(1, len(ids), answer.tokens)
                meter.promise(spent)
                meter.settle(spent, spent)
                finish = "stop" if one.finish_reason == "stop" else "length"
                take(request, Reply(answer.text, finish, len(ids), answer.tokens, time.monotonic() - start))

    def _made(self, requests: Sequence[Request], rows: Sequence[list[int]]) -> list[Any]:
        """The first (and only) output of each request."""
        from vllm.lora.request import LoRARequest

        lora = LoRARequest(self.lora.name, 1, str(self.lora.folder)) if self.lora else None
        try:
            found = self.llm.generate(
                [{"prompt_token_ids": ids} for ids in rows],
                [self._parameters(one.sampling, one.seed) for one in requests],
                use_tqdm=False,
                lora_request=lora,
            )
        except (RuntimeError, ValueError) as error:
            raise MachineError(f"vLLM failed: {_first(error)}", fix="lower its load, or leave out --engine") from None
        return [one.outputs[0] for one in found]

    def _parameters(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams

        greedy = sampling.temperature == 0
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=1.0 if greedy else sampling.top_p,
            seed=None if greedy else seed,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(self.stops),
            detokenize=False,
        )


def open_engine(folder: Path, dtype: str, lora: Lora | None) -> Any:
    """vLLM's ``LLM`` with the model of a folder.

    Args:
        folder: config.json, safetensors, tokenizer.
        dtype: torch's name of it.
        lora: an adapter that will be asked.

    Raises:
        MachineError: it cannot start here.
    """
    from vllm import LLM

    more: dict[str, Any] = {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora.rank} if lora else {}
    try:
        return LLM(model=str(folder), tokenizer=str(folder), dtype=dtype, seed=0, **more)
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise MachineError(f"vLLM cannot start with this model: {_first(error)}", where=str(folder)) from None


def vllm_version() -> str:
    """The version of vLLM that is installed.

    Raises:
        MachineError: there is none.
    """
    try:
        import vllm
    except ImportError as error:
        fix = "pip install vllm on a machine with a GPU, or leave out --engine"
        raise MachineError(f"vLLM cannot be imported ({error})", fix=fix) from None
    return str(vllm.__version__)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
