"""Rows without a value, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NO_REFERENCE: Final = "the reference has no words"
NO_ANSWER: Final = "the answer has no words"


def split(values: Sequence[float | str]) -> tuple[list[float | None], dict[int, str]]:
    """Values with None in the place of reasons, and the reasons by place."""
    numbers = [None if isinstance(value, str) else value for value in values]
    return numbers, {place: value for place, value in enumerate(values) if isinstance(value, str)}
