"""datatrove's vLLM inference: requests become files, its executors start servers beside them, answers are read back.

<work>/<digest of the requests>/requests/00000.jsonl …   one file a task
                                answers/  logs/          datatrove's; a task that is done is not done again
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lft.ask.meter import FREE, Limits, Meter
from lft.ask.request import ROUGHLY, Failure, Form, Reply, Request, Take, from_json, rough_tokens
from lft.corpus.schema import Run
from lft.corpus.step import read_records
from lft.errors import InputError, MachineError
from lft.files import new_folder

Server = Literal["vllm", "endpoint"]
_NEEDED: Final = ("datatrove", "aiofiles", "httpx", "orjson")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A model that vLLM serves on the machines of ``run``; ``gpus`` is for one server, ``context`` its longest text.

    ``server`` and ``url`` are for a server that stands already (tests); datatrove starts vLLM otherwise.
    """

    name: str
    work: Path
    run: Run
    form: Form = "chat"
    limits: Limits = FREE
    concurrency: int = 256
    timeout: float = 120.0
    gpus: int = 1
    context: int = 8192
    server: Server = "vllm"
    url: str | None = None
    counted_by: str = ROUGHLY

    def count(self, text: str) -> int:
        """Tokens, estimated."""
        return rough_tokens(text)

    async def answer(self, requests: Iterator[Request], take: Take, _meter: Meter) -> None:
        """Ask them all in one job; see ``Model``.

        Raises:
            MachineError: vLLM is not installed where it would have to run.
            InputError: a job was handed to SLURM and is not finished yet.
        """
        self._require_packages()
        folder, asked = await asyncio.to_thread(self._written, requests)
        if not asked:
            return
        executor = self.executor(folder)
        await asyncio.to_thread(executor.run)
        if len(list((folder / "logs" / "completions").glob("*"))) < self.run.tasks:
            raise InputError(
                "the job is under way and not finished", where=str(folder), fix="run the same command again when it is"
            )
        for path in sorted((folder / "answers").glob("*.jsonl")):
            for record in read_records(path):
                take(from_json(record["metadata"]["request"]), _outcome(record["metadata"]["answer"][0]))
                asked -= 1
        if asked:  # datatrove only warns where it cannot write one
            raise InputError(
                f"{asked} answers were not written",
                where=str(folder / "logs"),
                fix=f"remove {folder} and run the same command again",
            )

    def executor(self, folder: Path) -> Any:
        """datatrove's executor of ``run`` over the pipeline."""
        pipeline = self.pipeline(folder)
        tasks, workers, logs = self.run.tasks, self.run.workers, str(folder / "logs")
        if self.run.executor == "local":
            from datatrove.executor import LocalPipelineExecutor

            return LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=logs)
        if self.run.executor == "ray":
            from datatrove.executor import RayPipelineExecutor

            return RayPipelineExecutor(
                pipeline, tasks=tasks, workers=workers, logging_dir=logs, gpus_per_task=self.gpus
            )
        from datatrove.executor import SlurmPipelineExecutor

        if self.run.slurm is None:
            raise ValueError("the build file's rules let no SLURM run through without its section")
        slurm = self.run.slurm
        return SlurmPipelineExecutor(
            pipeline, tasks=tasks, workers=workers, logging_dir=logs, gpus_per_task=self.gpus, job_name="lft-ask",
            partition=slurm.partition, time=slurm.time, cpus_per_task=slurm.cpus, mem_per_cpu_gb=slurm.memory,
        )  # fmt: skip

    def pipeline(self, folder: Path) -> list[Any]:
        """Reader, inference, and the writer that inference writes to."""
        from datatrove.pipeline.inference.run_inference import InferenceRunner
        from datatrove.pipeline.readers import JsonlReader
        from datatrove.pipeline.writers import JsonlWriter

        writer = JsonlWriter(str(folder / "answers"), output_filename="${rank}.jsonl", compression=None)
        runner = InferenceRunner(rollout, self.config(), writer, metadata_key="answer")
        return [JsonlReader(str(folder / "requests"), glob_pattern="*.jsonl"), runner]

    def config(self) -> Any:
        """What datatrove's server and its clients are told."""
        from datatrove.pipeline.inference.run_inference import InferenceConfig

        return InferenceConfig(
            server_type=self.server,
            model_name_or_path=self.name,
            endpoint_url=self.url,
            model_max_context=self.context,
            use_chat=self.form == "chat",
            max_concurrent_generations=self.concurrency,
            request_timeout=self.timeout,
            tp=self.gpus,
            # datatrove starts vLLM with --trust-remote-code; the last flag counts.
            model_kwargs={"trust-remote-code": False},
        )

    def _require_packages(self) -> None:
        """vLLM where it would run here; and what datatrove imports while it waits for a server, for ever if need be."""
        here = ("vllm",) if self.server == "vllm" and self.run.executor == "local" else ()
        missing = [name for name in (*here, *_NEEDED) if not importlib.util.find_spec(name)]
        if "vllm" in missing:
            raise MachineError(
                "vLLM is not installed on this machine",
                where=self.limits.where,
                fix="pip install vllm (it needs a GPU), or kind: openai with the address of a running server",
            )
        if missing:
            raise MachineError(f"{' and '.join(missing)} is not installed", fix="pip install 'lft[corpus]'")

    def _written(self, requests: Iterator[Request]) -> tuple[Path, int]:
        """The job's folder with its requests, one file a task, and how many they are."""
        self.work.mkdir(parents=True, exist_ok=True)
        digest, counted = hashlib.sha256(), 0
        with new_folder(self.work / "requests.new") as draft, ExitStack() as stack:
            paths = [draft / f"{task:05}.jsonl" for task in range(self.run.tasks)]
            files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
            for counted, request in enumerate(requests, 1):
                key = request.key(self.name)
                digest.update(key.encode())
                record = {"id": key, "text": request.prompt, "metadata": {"request": asdict(request)}}
                files[counted % len(files)].write(json.dumps(record) + "\n")
        folder = self.work / digest.hexdigest()[:16]
        if counted and not (folder / "requests").exists():
            folder.mkdir(exist_ok=True)
            (self.work / "requests.new").rename(folder / "requests")
        return folder, counted


async def rollout(document: Any, generate: Callable[[dict[str, Any]], Awaitable[Any]]) -> dict[str, Any]:
    """datatrove's rollout of one request: its answer, or why there is none, as JSON."""
    from datatrove.pipeline.inference.types import InferenceError

    request = from_json(document.metadata["request"])
    try:
        result = await generate(payload(request))
    except InferenceError as error:
        return {"reason": f"no answer: {str(error.error)[:200]}"}
    usage = result.usage or {}
    read = usage.get("prompt_tokens", rough_tokens(request.prompt))
    written = usage.get("completion_tokens", rough_tokens(result.text))
    return {"text": result.text, "finish": result.finish_reason or "", "tokens_in": read, "tokens_out": written}


def payload(request: Request) -> dict[str, Any]:
    """What vLLM is sent, but for the model's name."""
    from lft.ask.wire import body_of

    body: dict[str, Any] = json.loads(body_of(request, ""))
    del body["model"]
    return body


def _outcome(answer: dict[str, Any]) -> Reply | Failure:
    if "reason" in answer:
        return Failure(answer["reason"], lasting=True)  # no other job is started for it
    return Reply(answer["text"], answer["finish"], answer["tokens_in"], answer["tokens_out"], 0.0)
