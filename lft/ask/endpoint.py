"""Models behind an OpenAI-compatible address (vLLM, TGI, llama.cpp, a cloud): workers that share one pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lft.ask import wire
from lft.ask.meter import FREE, Limits, Meter, Spent
from lft.ask.pace import Pace, retry_after
from lft.ask.request import ROUGHLY, Failure, Form, Reply, Request, Take, rough_tokens
from lft.ask.secret import Secret
from lft.errors import InputError, MachineError

if TYPE_CHECKING:
    import aiohttp

Notify = Callable[[str], None]
_WORTH_TELLING: Final = 5.0  # seconds of waiting from which somebody should know


def _unheard(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address up to and with /v1, and how it may be asked; ``first_wait`` is the shortest back-off, in seconds."""

    name: str
    url: str
    form: Form = "chat"
    key: Secret | None = None
    limits: Limits = FREE
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 6
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    notify: Notify = _unheard
    first_wait: float = 1.0
    counted_by: str = ROUGHLY

    def count(self, text: str) -> int:
        """Tokens, estimated: the endpoint's tokenizer is not here."""
        return rough_tokens(text)

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
        """Ask with so many workers; see ``Model``.

        Raises:
            InputError: the endpoint refuses (401, 403, 404 and their like; 400, 413, 422 of the first requests when
                nothing was ever answered), or many requests in a row fail.
            MachineError: its certificate is not trusted, or aiohttp is missing.
            BudgetSpent: as it says.
        """
        try:
            import aiohttp
        except ImportError:
            raise MachineError("aiohttp is not installed", fix="pip install 'lft[evaluate]'") from None
        headers = {"Content-Type": "application/json", "User-Agent": "lft"}
        if self.key is not None:
            headers["Authorization"] = self.key.header()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            headers=headers,
        ) as session:
            await _Pass(self, session, requests, take, meter).run()


class _Pass:
    """One pass over requests: the workers, and the first error, which ends it once what is under way is done."""

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        requests: Iterator[Request],
        take: Take,
        meter: Meter,
    ) -> None:
        self.to, self.session, self.requests, self.take, self.meter = endpoint, session, requests, take, meter
        self.address = endpoint.url.rstrip("/") + wire.PATHS[endpoint.form]
        self.pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self.tokens_key: wire.TokensKey = "max_tokens"
        self.error: BaseException | None = None
        self.ended = asyncio.Event()
        self.freed = asyncio.Event()  # something that was promised came free
        self.failed_in_a_row = 0
        self.first: list[Request] = []
        self.refused_of_first = 0
        self.told: set[str] = set()

    async def run(self) -> None:
        """All of it. Raises the first error."""
        await asyncio.gather(*(self._work() for _ in range(self.to.concurrency)))
        if self.error is not None:
            raise self.error

    async def _work(self) -> None:
        while self.error is None:
            try:
                request = next(self.requests, None)
                if request is None:
                    return
                if len(self.first) < _FIRST:
                    self.first.append(request)
                most = Spent(1, self.to.count(request.prompt), request.sampling.max_tokens)
                while self.error is None and not self.meter.promise(most):
                    self.freed.clear()
                    await self.freed.wait()
                if self.error is None:
                    await self._one(request, most)
            except Exception as error:
                self._end(error)

    async def _one(self, request: Request, most: Spent) -> None:
        cost = Spent()
        try:
            outcome = await self._outcome(request, most)
            if isinstance(outcome, Reply):
                cost = Spent(1, outcome.tokens_in, outcome.tokens_out)
        finally:
            self.meter.settle(most, cost)
            self.freed.set()
        if outcome is not None:
            self.take(request, outcome)

    async def _outcome(self, request: Request, most: Spent) -> Reply | Failure | None:
        """What came of a request after all its tries; None where the pass ended between two of them."""
        wait, reason = 0.0, ""
        for tried in range(self.to.retries + 1):
            await self._turn(most.tokens, wait)
            if self.error is not None:
                return None
            found = await self._try(request, most)
            if isinstance(found, Reply | Failure):
                self.failed_in_a_row = 0
                return found
            wait, reason = self._wait(found, tried), found.reason
        return self._failed(Failure(f"no answer after {self.to.retries + 1} tries, the last: {reason}"))

    def _failed(self, failure: Failure) -> Failure:
        """Some documents may be too much for an endpoint; when none gets through, it is down."""
        self.failed_in_a_row += 1
        if self.failed_in_a_row >= max(4, self.to.concurrency):
            self._end(
                InputError(
                    f"the last {self.failed_in_a_row} requests all failed; {failure.reason}",
                    where=wire.shown(self.address),
                    fix="see that it runs; what it answered is in the ledger, so run the same command again",
                )
            )
        return failure

    def _wait(self, trouble: wire.Trouble, tried: int) -> float:
        """Seconds before the next try; a 429 stops everybody for so long."""
        seconds = self.pace.back_off(self.to.first_wait, tried, trouble.wait)
        if trouble.shared:
            self.pace.close(asyncio.get_running_loop().time() + seconds)
        waiting = f", waiting {seconds:.0f} s" if seconds >= _WORTH_TELLING else ""
        self._say(f"{trouble.reason}: asked again{waiting}", f"{trouble.reason[:20]}{bool(waiting)}")
        return seconds

    async def _turn(self, tokens: int, wait: float) -> None:
        """Until this request may leave."""
        clock = asyncio.get_running_loop().time
        ready = clock() + wait
        while self.error is None and (delay := max(ready - clock(), self.pace.delay(clock(), tokens))) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), delay)

    async def _try(self, request: Request, most: Spent) -> Reply | Failure | wire.Trouble:
        import aiohttp

        start = time.monotonic()
        note = self.pace.note(asyncio.get_running_loop().time(), most.tokens)
        called = self.tokens_key
        body = wire.body_of(request, self.to.name, called)
        try:
            async with self.session.post(self.address, data=body, allow_redirects=False) as response:
                raw = await response.read()
        except TimeoutError:
            return wire.Trouble(f"nothing within {self.to.timeout:g} s")
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            raise MachineError(
                f"no safe connection ({type(error).__name__})", where=wire.shown(self.address), fix="check the address"
            ) from None
        except (aiohttp.ClientError, OSError) as error:  # never their text: it may hold the headers
            return wire.Trouble(f"a broken connection ({type(error).__name__})")
        if response.status != 200:
            return self._refused(response.status, raw, retry_after(response.headers), called, request)
        found = wire.answered(raw, request, time.monotonic() - start)
        if isinstance(found, wire.Trouble):
            return wire.Trouble(self._hidden(found.reason))
        self.pace.tokens.correct(note, found.reply.tokens_in + found.reply.tokens_out)
        return self._accepted(found)

    def _accepted(self, found: wire.Answered) -> Reply:
        asked, reply = self.to.name, found.reply
        if found.model and not found.model.startswith(asked) and not asked.endswith(found.model):
            self._say(f"{asked!r} was asked, and {found.model!r} says that it answers", "model")
        if not found.counted:
            self._say(f"the endpoint does not count tokens; {ROUGHLY} are taken", "usage")
        if self.to.key is None:
            return reply
        text = self.to.key.hidden_in_reply(reply.text)
        return Reply(text, reply.finish, reply.tokens_in, reply.tokens_out, reply.seconds)

    def _refused(
        self, status: int, raw: bytes, wait: float | None, called: wire.TokensKey, request: Request
    ) -> Failure | wire.Trouble:
        said = self._hidden(wire.message_of(raw))
        reason = f"HTTP {status} ({said})" if said else f"HTTP {status}"
        if wire.is_transient(status):
            return wire.Trouble(reason, wait, shared=status == 429 or wait is not None)
        if status == 400 and "max_completion_tokens" in said and called == "max_tokens":
            self.tokens_key = "max_completion_tokens"  # what newer models of one maker call it
            return wire.Trouble("max_tokens is called max_completion_tokens here", 0.0)
        refusal = f"{_WHY.get(status, 'the endpoint refuses')}: {reason}"
        if status not in _OF_ONE or self._all_are_refused(request):
            raise InputError(refusal, where=self._where(request), fix=_FIX)
        self._say(f"{request.id}: {refusal}; the run goes on without this answer", f"refused {status}")
        return Failure(refusal, lasting=True)

    def _all_are_refused(self, request: Request) -> bool:
        """Whether the first requests of the run are refused one as the other: then it is not the documents' fault.

        It is judged by those that left first, since a refusal is back before any answer is.
        """
        self.refused_of_first += any(one is request for one in self.first)
        return self.refused_of_first == _FIRST and self.meter.spent.answers == 0

    def _where(self, request: Request) -> str:
        return f"{self.to.limits.where} {wire.shown(self.address)} (model {self.to.name}, document {request.id})"

    def _hidden(self, text: str) -> str:
        return self.to.key.hidden(text) if self.to.key else text

    def _say(self, line: str, once: str) -> None:
        if once not in self.told:
            self.told.add(once)
            self.to.notify(line)

    def _end(self, error: BaseException) -> None:
        self.error = self.error or error
        self.ended.set()
        self.freed.set()


_OF_ONE: Final = (400, 413, 422)  # too long, or held back by a filter: other requests may pass
_FIRST: Final = 3
_WHY: Final = {
    400: "the endpoint cannot read the request",
    401: "the endpoint does not know the key",
    403: "this key may not use the model",
    404: "the address or the model does not exist",
    413: "the endpoint cannot take a request of this size",
    422: "the endpoint cannot read the request",
}
_FIX: Final = "correct the backend and run the same command again; what was answered is in the ledger"
