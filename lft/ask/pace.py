"""How fast requests may leave: limits a minute, a pause that all workers share, and back-off between tries."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MINUTE: Final = 60.0
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_LONGEST: Final = 60.0  # seconds that a back-off grows to; an endpoint may ask for more


class Window:
    """An amount that no 60 seconds may pass; ``limit`` None lets everything through."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._used = 0.0
        self._notes: deque[list[float]] = deque()

    def delay(self, now: float, amount: float) -> float:
        """Seconds until so much may be sent; more than the whole limit waits until nothing else is counted."""
        if self.limit is None:
            return 0.0
        while self._notes and self._notes[0][0] <= now - _MINUTE:
            self._used -= self._notes.popleft()[1]
        over = self._used + amount - self.limit
        if over <= 0 or not self._notes:
            return 0.0
        free_at = now
        for at, noted in self._notes:
            free_at, over = at + _MINUTE, over - noted
            if over <= 0:
                break
        return max(free_at - now, 0.0)

    def note(self, now: float, amount: float) -> list[float]:
        """Count what is sent; the note is for ``correct``."""
        note = [now, amount]
        if self.limit is not None:
            self._notes.append(note)
            self._used += amount
        return note

    def correct(self, note: list[float], amount: float) -> None:
        """What was sent was more or less than it seemed."""
        if self._notes and note[0] >= self._notes[0][0]:  # else it has left the window
            self._used += amount - note[1]
        note[1] = amount


class Pace:
    """When the next request may leave, for all workers of one model together."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self.requests = Window(requests)
        self.tokens = Window(tokens)
        self.closed_until = 0.0
        self._chance = random.Random()

    def delay(self, now: float, tokens: int) -> float:
        """Seconds until a request of so many tokens may leave."""
        return max(self.closed_until - now, self.requests.delay(now, 1), self.tokens.delay(now, tokens))

    def note(self, now: float, tokens: int) -> list[float]:
        """It leaves."""
        self.requests.note(now, 1)
        return self.tokens.note(now, tokens)

    def close(self, until: float) -> None:
        """Nobody sends before."""
        self.closed_until = max(self.closed_until, until)

    def back_off(self, first: float, tried: int, asked: float | None) -> float:
        """Seconds before the next try: what the endpoint asks for, else doubled with each try.

        Both with some chance in them, so that workers do not march.
        """
        if asked is not None:
            return asked + first * self._chance.uniform(0.0, 0.2)
        return min(first * 2.0 ** min(tried, 30), _LONGEST) * self._chance.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that an answer asks to wait: a number, or a date (read by the endpoint's own clock where it says it)."""
    said = headers.get("Retry-After", "").strip()
    try:
        return max(float(said), 0.0) if _NUMBER.fullmatch(said) else _until(said, headers, now)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(said: str, headers: Mapping[str, str], now: datetime | None) -> float | None:
    if not said:
        return None
    clock = headers.get("Date")
    here = parsedate_to_datetime(clock) if clock else now or datetime.now(UTC)
    return max((_aware(parsedate_to_datetime(said)) - _aware(here)).total_seconds(), 0.0)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
