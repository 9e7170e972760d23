"""Ask a model for what the ledger does not hold yet; answers count once they are on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lft.ask.ledger import Ledger, entry_of
from lft.ask.meter import Meter, Spent
from lft.ask.request import Failure, Model, Reply, Request

Notify = Callable[[str], None]
_LINGER: Final = 0.02  # seconds in which answers gather before they are flushed to the disk together
_EVERY: Final = 15.0  # seconds between two lines of progress


@dataclass(frozen=True, slots=True)
class Asked:
    """What was done: answers given now, answers that lay there, and why a request (by its key) has none.

    ``open`` counts those of the failed that another run may have answered.
    """

    answered: int
    known: int
    spent: Spent
    failed: Mapping[str, str] = field(default_factory=dict)
    open: int = 0


def ask(model: Model, requests: Iterable[Request], ledger: Ledger, notify: Notify) -> Asked:
    """Ask every request whose answer the ledger lacks; afterwards ``ledger.get(request.key(model.name))`` has it.

    Requests are pulled one at a time as there is room for them, so they may be made from documents as these are read.

    Raises:
        LftError: the model refuses, the budget is spent, the disk is full; what was answered is in the ledger.
    """
    work = _Work(model, ledger, notify)
    asyncio.run(work.run(iter(requests)))
    return Asked(work.answered, work.known, work.meter.spent, work.failed, work.open)


class _Work:
    """Outcomes on their way to the disk."""

    def __init__(self, model: Model, ledger: Ledger, notify: Notify) -> None:
        self.model, self.ledger, self.notify = model, ledger, notify
        self.meter = Meter(model.limits, ledger.spent(model.name))
        self.answered = self.known = self.open = 0
        self.failed: dict[str, str] = {}
        self._asked: set[str] = set()
        self._arrived: list[tuple[Request, Reply | Failure]] = []
        self._news = asyncio.Event()
        self._over = False
        self._error: Exception | None = None
        self._told_at = time.monotonic()

    async def run(self, requests: Iterator[Request]) -> None:
        """All of it: what has arrived is flushed however the asking ends."""
        flushing = asyncio.create_task(self._flush())
        try:
            await self.model.answer(self._unanswered(requests), self._take, self.meter)
        finally:
            self._over = True
            self._news.set()
            await flushing
        if self._error is not None:
            raise self._error

    def _unanswered(self, requests: Iterator[Request]) -> Iterator[Request]:
        for request in requests:
            key = request.key(self.model.name)
            if key in self.ledger:
                self.known += 1
            elif key not in self._asked:
                self._asked.add(key)
                yield request

    def _take(self, request: Request, outcome: Reply | Failure) -> None:
        if self._error is not None:
            raise self._error
        self._arrived.append((request, outcome))
        self._news.set()

    async def _flush(self) -> None:
        while not (self._over and not self._arrived):
            await self._news.wait()
            if not self._over:
                await asyncio.sleep(_LINGER)
            self._news.clear()
            group, self._arrived = self._arrived, []
            try:
                await asyncio.to_thread(self._written, group)
            except Exception as error:
                self._error = error
                return
            self._tell()

    def _written(self, group: list[tuple[Request, Reply | Failure]]) -> None:
        entries = [entry_of(request, self.model.name, outcome) for request, outcome in group]
        if entries:
            self.ledger.add(entries)
        self.open += sum(isinstance(one, Failure) and not one.lasting for _, one in group)
        for entry in entries:
            self._asked.discard(entry.key)
            if entry.reason:
                self.failed[entry.key] = entry.reason
            else:
                self.answered += 1

    def _tell(self) -> None:
        if time.monotonic() - self._told_at >= _EVERY:
            self._told_at = time.monotonic()
            failed = f", {len(self.failed):,} without an answer" if self.failed else ""
            self.notify(f"{self.model.limits.told(self.meter.spent)}{failed}")
