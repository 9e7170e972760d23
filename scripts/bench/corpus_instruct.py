"""The instruct step against an endpoint of fixed latency in another process: is it kept busy, and what does it cost?

    python scripts/bench/corpus_instruct.py [--requests 2000] [--concurrency 32] [--latency 0.2] [--repeats 3]

Busy is the mean number of requests at the endpoint, between the first that arrives and the last that is answered, over
the concurrency. Processor time is this process's own (user and system) a request; a bare aiohttp loop with the same
bodies stands beside it. The goals: at least 95 % busy, less than 1 ms a request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import aiohttp

from lft.ask.endpoint import Endpoint
from lft.ask.wire import body_of
from lft.corpus.document import Document
from lft.corpus.instruct.plan import question
from lft.corpus.instruct.run import instruct
from lft.corpus.schema import Build

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("a", "red", "house", "river", "stands", "runs", "over", "under", "near", "small", "old", "night", "seven")


def documents(count: int) -> list[Document]:
    """Texts of about 220 words, as help pages have."""
    chance = random.Random(0)
    return [
        Document(
            f"{n:016x}",
            " ".join(" ".join(chance.choices(WORDS, k=11)).capitalize() + "." for _ in range(20)),
            "made", "en", "CC0-1.0", f"made:{n}",
        )
        for n in range(count)
    ]  # fmt: skip


def build(url: str, concurrency: int) -> Build:
    backend = {"kind": "openai", "model": "stub", "url": url, "concurrency": concurrency}
    source = {"name": "made", "kind": "text", "path": "x", "licence": "CC0-1.0"}
    return Build.model_validate({"name": "bench", "sources": (source,), "instruct": {"backend": backend}})


@contextmanager
def stub(latency: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.corpus.endpoint", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def busy(url: str) -> tuple[float, float]:
    """Mean requests at the endpoint, and the seconds from the first to the last."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/busy") as answer:
        said = json.load(answer)
    return said["mean"], said["seconds"]


def step(url: str, found: list[Document], concurrency: int) -> float:
    """Processor seconds of the whole instruct step."""
    model = Endpoint("stub", url, concurrency=concurrency)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "3-instruct").mkdir()
        start = time.process_time()
        report = instruct(build(url, concurrency), found, Path(folder) / "3-instruct", model, print)
        spent = time.process_time() - start
    assert report.kept == len(found)
    return spent


def bare(url: str, found: list[Document], concurrency: int) -> float:
    """Processor seconds of the least that could be done: send the bodies, read the answers."""
    model = Endpoint("stub", url, concurrency=concurrency)
    settings = build(url, concurrency)
    bodies = iter([body_of(question(settings, one, model).request, "stub") for one in found])

    async def work(session: aiohttp.ClientSession) -> None:
        for body in bodies:
            async with session.post(f"{url}/chat/completions", data=body) as response:
                json.loads(await response.read())

    async def run() -> None:
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=concurrency)) as session:
            await asyncio.gather(*(work(session) for _ in range(concurrency)))

    start = time.process_time()
    asyncio.run(run())
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    found = documents(args.requests)
    for name, measured in (("bare aiohttp", bare), ("instruct", step)):
        costs, shares = [], []
        for _ in range(args.repeats):
            with stub(args.latency) as url:
                costs.append(measured(url, found, args.concurrency) / args.requests * 1e3)
                shares.append(busy(url)[0] / args.concurrency)
        print(
            f"{name:13} {median(costs):.2f} ms of processor time a request ({min(costs):.2f} to {max(costs):.2f}), "
            f"{median(shares):.1%} busy ({min(shares):.1%} to {max(shares):.1%})",
            flush=True,
        )


if __name__ == "__main__":
    main()
