"""vLLM in this process, with a stand-in that has its interface and computes with transformers and PEFT.

The stand-in keeps what it was called with. The real vLLM was never run: it needs a GPU.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lft.evaluate.result import Result, load_result, results_below
from tests.cli.test_evaluate import SUITE
from tests.typed import Typed, registry_of

ROWS = """{"topic": "the cat runs", "text": "the dog sleeps all day", "lang": "en"}
{"topic": "ein Hund", "text": "der Hund schläft", "lang": "de"}
{"topic": "a longer text on the cat and on what it saw", "text": "it saw a bird", "lang": "en"}
"""
GREEDY = ("decoding.temperature=0", "decoding.samples=1")


@dataclass
class SamplingParams:
    """vLLM's settings of one request, by its names; a misspelt one is an error there too."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int = 16
    stop_token_ids: list[int] = field(default_factory=list)
    detokenize: bool = True


@dataclass
class LoRARequest:
    """vLLM's name for an adapter of a request."""

    lora_name: str
    lora_int_id: int
    lora_path: str


class LLM:
    """A greedy engine over transformers; keeps all calls."""

    made: tuple[LLM, ...] = ()

    def __init__(self, model: str, *, tokenizer: str, dtype: str, seed: int, **more: Any) -> None:
        from transformers import AutoModelForCausalLM

        self.model, self.dtype, self.more, self.calls = model, dtype, more, []
        self.network = AutoModelForCausalLM.from_pretrained(model).eval()
        LLM.made = (*LLM.made, self)

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], *, use_tqdm: bool,
        lora_request: LoRARequest | None,
    ) -> list[Any]:  # fmt: skip
        self.calls.append((prompts, sampling_params, lora_request))
        network = self.network
        if lora_request is not None:
            from peft import PeftModel

            network = PeftModel.from_pretrained(network, lora_request.lora_path).eval()
        pairs = zip(prompts, sampling_params, strict=True)
        return [SimpleNamespace(outputs=[_one(network, prompt["prompt_token_ids"], how)]) for prompt, how in pairs]


def _one(network: Any, ids: list[int], how: SamplingParams) -> Any:
    import torch

    made = network.generate(
        input_ids=torch.tensor([ids]), max_new_tokens=how.max_tokens, do_sample=False, eos_token_id=how.stop_token_ids
    )[0, len(ids) :].tolist()
    return SimpleNamespace(token_ids=made, finish_reason="stop" if made[-1] in how.stop_token_ids else "length")


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """A registry with lft/de on ./base, a suite, and the stand-in under vLLM's name."""
    registry_of(tmp_path, "de")
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "mine.yaml").write_text(SUITE)
    vllm, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    vllm.__dict__.update(LLM=LLM, SamplingParams=SamplingParams, __version__="0.0.stand-in")
    request.__dict__.update(LoRARequest=LoRARequest)
    for module in (vllm, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "made", ())
    return Typed(tmp_path, tmp_path, monkeypatch, capsys)


def asked(typed: Typed, into: str, *words: str) -> Result:
    typed("evaluate", "mine.yaml", "--offline", "--workers", 1, "--into", into, *words)
    return load_result(results_below(Path(into))[0])


@pytest.mark.parametrize("who", [("--model", "./base", "--prompt", "plain"), ("--adapter", "lft/de")])
def test_greedy_answers_are_those_of_transformers(typed: Typed, who: tuple[str, ...]) -> None:
    there = asked(typed, "vllm", *GREEDY, *who, "--engine", "vllm")
    here = asked(typed, "transformers", *GREEDY, *who)
    assert [row.output for row in there.rows] == [row.output for row in here.rows]
    assert there.subject.identity != here.subject.identity  # another engine rounds in another way
    assert "bits-per-byte" in here.columns
    assert "bits-per-byte" not in there.columns  # said on the way: nobody sees its probabilities


def test_the_engine_is_told_adapter_rank_seeds_and_stops_and_asked_once(typed: Typed) -> None:
    asked(typed, "a", "--adapter", "lft/de", "--engine", "vllm")
    (engine,) = LLM.made
    assert engine.more == {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8}
    ((prompts, settings, lora),) = engine.calls
    assert (len(prompts), lora.lora_name, lora.lora_int_id) == (6, "de", 1)
    assert len({one.seed for one in settings}) == 6
    assert {(one.temperature, one.top_p, one.max_tokens) for one in settings} == {(1.0, 0.9, 12)}
    assert all(2 in one.stop_token_ids for one in settings)
    asked(typed, "a", "--adapter", "lft/de", "--engine", "vllm")
    assert LLM.made[-1].calls == []  # the ledger had them


@pytest.mark.parametrize(
    ("words", "code", "wanted"),
    [
        (("--adapter", "lft/de", "--adapter", "lft/de*0.5"), 2, "vLLM takes one adapter as it is"),
        (("--adapter", "lft/de*0.5"), 2, "vLLM takes one adapter as it is"),
        (("--model", "./base", "--batch-size", "4"), 2, "--batch-size would be ignored"),
        (("--run", "r"), 2, "--engine would be ignored"),
    ],
)
def test_what_vllm_cannot_do_is_one_line(typed: Typed, words: tuple[str, ...], code: int, wanted: str) -> None:
    assert wanted in typed("evaluate", "mine.yaml", "--offline", "--engine", "vllm", *words, code=code).err
    assert not LLM.made


def test_without_vllm_the_cure_is_named_before_anything_is_loaded(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    said = typed("evaluate", "mine.yaml", "--offline", "--engine", "vllm", "--model", "./base", code=4).err
    assert "pip install vllm" in said


def test_an_engine_that_cannot_start_is_one_line(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("Failed to infer device type\nmore")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", broken)
    words = ("evaluate", "mine.yaml", "--offline", "--engine", "vllm", "--model", "./base", "--prompt", "plain")
    said = typed(*words, code=4).err
    assert "vLLM cannot start with this model: Failed to infer device type" in said
    assert "more" not in said
