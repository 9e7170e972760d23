"""Models that answer by a rule, for tests of what is made of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lft.ask.meter import FREE, Meter
from lft.ask.request import Failure, Reply, Request, Take


class Rule:
    """A chat model whose answer is a function of the prompt; None is a failure. ``asked`` holds all prompts."""

    form, limits, counted_by = "chat", FREE, "words"

    def __init__(self, rule: Callable[[str], str | None], name: str = "rule") -> None:
        self.rule, self.name = rule, name
        self.asked: list[str] = []

    def count(self, text: str) -> int:
        return len(text.split())

    async def answer(self, requests: Iterator[Request], take: Take, _meter: Meter) -> None:
        for request in requests:
            self.asked.append(request.prompt)
            text = self.rule(request.prompt)
            take(request, Failure("no answer") if text is None else Reply(text, "stop", 1, 1, 0.0))
