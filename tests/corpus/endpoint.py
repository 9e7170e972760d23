"""An OpenAI-compatible endpoint on the loopback whose answers follow from the prompt, with faults on demand.

``with Endpoint() as stub`` runs one in a thread; ``python -m tests.corpus.endpoint LATENCY`` one in its own process,
which prints its address and, asked at /busy, how many requests it had at once on average.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import Any

from aiohttp import web


def answer_to(prompt: str) -> str:
    """What the stub says to a prompt: never the same to two of them."""
    return f"Write about topic {hashlib.sha256(prompt.encode()).hexdigest()[:10]}."


class Endpoint:
    """``faults`` are used up, one a request; ``always`` holds for prompts that contain a word."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.faults: list[str] = []
        self.always: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived: list[float] = []
        self.sent: Counter[str] = Counter()  # prompts whose answer went out whole
        self.seen: Counter[str] = Counter()
        self.most_at_once = self._now = 0
        self._area = self._changed = 0.0
        self._first = self._last = 0.0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.url = ""

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.start())
        self._ready.set()
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._post)
        app.router.add_post("/v1/completions", self._post)
        app.router.add_get("/busy", self._busy)
        app.router.add_get("/v1/models", lambda _: web.json_response({"object": "list", "data": [{"id": "stub"}]}))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    def _count(self, change: int) -> None:
        now = time.perf_counter()
        self._first = self._first or now
        self._area += self._now * (now - (self._changed or now))
        self._changed = self._last = now
        self._now += change
        self.most_at_once = max(self.most_at_once, self._now)

    async def _busy(self, _: web.Request) -> web.Response:
        span = self._last - self._first
        return web.json_response({"mean": self._area / span if span else 0.0, "seconds": span, "n": len(self.arrived)})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self._count(1)
        self.arrived.append(time.monotonic())
        try:
            body = json.loads(await request.read())
            prompt = body.get("prompt") or body["messages"][-1]["content"]
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self.seen[prompt] += 1
            always = next((fault for word, fault in self.always.items() if word in prompt), None)
            fault = always or (self.faults.pop(0) if self.faults else "")
            if self.latency and not fault.endswith("-now"):
                await asyncio.sleep(self.latency)
            if fault in FAULTS:
                return await FAULTS[fault](self, request, prompt)
            return await self._say(request, body, prompt, fault)
        finally:
            self._count(-1)

    async def _say(self, request: web.Request, body: dict[str, Any], prompt: str, fault: str) -> web.Response:
        text = {"empty": "", "null": None, "echo": prompt, "quoted": f'"{answer_to(prompt)}"'}.get(
            fault, answer_to(prompt)
        )
        text = fault[5:] if fault.startswith("text:") else text
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if fault == "length" else "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        said: dict[str, Any] = {"model": "other" if fault == "renamed" else body["model"], "choices": [choice]}
        if fault != "no-usage":
            said["usage"] = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 10}
        self.sent[prompt] += 1
        return web.json_response(said)


async def _slow(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def _cut(stub: Endpoint, request: web.Request, prompt: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = 500
    await response.prepare(request)
    await response.write(b'{"choices": [{"message": {"content": "Wri')
    assert request.transport is not None
    request.transport.close()
    return response


async def _drop(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def _status(number: int, message: str = "no", **headers: str) -> Any:
    async def answer(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
        echoed = request.headers.get("Authorization", "")
        return web.json_response({"error": {"message": f"{message} {echoed}"}}, status=number, headers=headers)

    return answer


async def _dated(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
    when = formatdate(time.time() + 1, usegmt=True)
    return web.json_response({}, status=429, headers={"Retry-After": when})


async def _garbage(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
    return web.Response(text="<html>it works!</html>", content_type="text/html")


async def _odd(stub: Endpoint, request: web.Request, prompt: str) -> web.Response:
    return web.json_response({"error": "the model is loading"})


async def _renamed_key(stub: Endpoint, request: web.Request, prompt: str) -> web.StreamResponse:
    body = stub.bodies[-1]
    if "max_tokens" in body:
        said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return web.json_response({"error": {"message": said}}, status=400)
    return await stub._say(request, body, prompt, "")


FAULTS: dict[str, Any] = {
    "timeout": _slow,
    "cut": _cut,
    "drop": _drop,
    "garbage": _garbage,
    "odd": _odd,
    "429": _status(429, "slow down", **{"Retry-After": "1"}),
    "429-date": _dated,
    "429-bare": _status(429, "slow down"),
    "500": _status(500, "oops"),
    "503": _status(503, "overloaded"),
    "301": _status(301, "moved", Location="http://127.0.0.1:9/v1"),
    "400": _status(400, "too long"),
    "400-now": _status(400, "too long"),
    "413": _status(413, "too long"),
    "422": _status(422, "too long"),
    "401": _status(401, "Incorrect API key provided:"),
    "403": _status(403, "not allowed"),
    "404": _status(404, "The model `nothing` does not exist"),
    "renamed-key": _renamed_key,
}


async def _alone(latency: float) -> None:
    stub = Endpoint(latency)
    await stub.start()
    print(stub.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_alone(float(sys.argv[1])))
