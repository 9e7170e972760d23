"""datatrove's inference without a GPU: its own runner and executor, with an endpoint where vLLM would stand."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from lft.ask.asking import ask
from lft.ask.ledger import open_ledger
from lft.ask.request import Message, Request, Sampling
from lft.corpus.cluster import Cluster, payload, rollout
from lft.corpus.schema import Run
from lft.errors import MachineError
from tests.corpus.endpoint import Endpoint, answer_to

for _name in ("datatrove", "aiofiles", "httpx", "orjson"):
    pytest.importorskip(_name)


def requests(count: int, chat: bool = True) -> list[Request]:
    texts = [f"prompt number {n}" for n in range(count)]
    return [
        Request(f"d{n}", f"{n:064x}", (Message("user", text),) if chat else text, Sampling(), n)
        for n, text in enumerate(texts)
    ]


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("chat", [True, False])
def test_answers_of_datatroves_runner_come_into_the_ledger(chat: bool, tmp_path: Path) -> None:
    found = requests(7, chat)
    with Endpoint() as stub, open_ledger(tmp_path / "l") as ledger:
        model = Cluster(
            "stub", tmp_path / "work", Run(tasks=2), "chat" if chat else "completion", server="endpoint",
            url=stub.url.removesuffix("/v1"),
        )  # fmt: skip
        done = ask(model, found, ledger, quiet)
        assert (done.answered, done.failed) == (7, {})
        entries = [ledger.get(one.key("stub")) for one in found]
        assert [entry.text for entry in entries if entry] == [answer_to(one.prompt) for one in found]
        assert all(entry.tokens_out == 10 for entry in entries if entry)
        assert {body["seed"] for body in stub.bodies} == set(range(7))
        again = ask(model, found, ledger, quiet)
    assert (again.answered, again.known) == (0, 7)
    assert sum(stub.seen.values()) == 7


def test_what_vllm_is_started_with_runs_no_code_of_a_models_repository(tmp_path: Path) -> None:
    config = Cluster("org/model", tmp_path, Run(), concurrency=64, gpus=4, context=4096).config()
    assert (config.server_type, config.model_name_or_path, config.use_chat) == ("vllm", "org/model", True)
    assert (config.tp, config.model_max_context, config.max_concurrent_generations) == (4, 4096, 64)
    assert config.model_kwargs == {"trust-remote-code": False}


def test_slurm_gets_what_the_build_file_says(tmp_path: Path) -> None:
    run = Run.model_validate(
        {"executor": "slurm", "tasks": 8, "workers": 4, "slurm": {"partition": "gpu", "time": "01:00:00", "memory": 16}}
    )
    executor = Cluster("org/model", tmp_path, run, gpus=2).executor(tmp_path)
    assert (executor.tasks, executor.workers, executor.partition, executor.time) == (8, 4, "gpu", "01:00:00")
    assert (executor.gpus_per_task, executor.mem_per_cpu_gb) == (2, 16)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_one_message_says_so(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger, pytest.raises(MachineError, match="vLLM is not installed"):
        ask(Cluster("org/model", tmp_path / "work", Run()), requests(1), ledger, quiet)


class _Asked:
    def __init__(self, request: Request) -> None:
        from dataclasses import asdict

        self.metadata = {"request": asdict(request)}


def test_a_rollout_returns_the_answer_or_its_reason() -> None:
    from datatrove.pipeline.inference.types import InferenceError, InferenceResult

    (one,) = requests(1)
    sent: list[dict[str, Any]] = []

    async def answers(body: dict[str, Any]) -> InferenceResult:
        sent.append(body)
        return InferenceResult("Write.", "stop", {"prompt_tokens": 3, "completion_tokens": 2})

    async def fails(body: dict[str, Any]) -> InferenceResult:
        raise InferenceError(None, "BadRequestError: too long", body)

    assert asyncio.run(rollout(_Asked(one), answers)) == {
        "text": "Write.", "finish": "stop", "tokens_in": 3, "tokens_out": 2,
    }  # fmt: skip
    assert sent == [payload(one)]
    assert "model" not in sent[0]
    assert asyncio.run(rollout(_Asked(one), fails)) == {"reason": "no answer: BadRequestError: too long"}
