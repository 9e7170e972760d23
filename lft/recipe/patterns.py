"""Which of the patterns of ``rank_pattern``, ``alpha_pattern`` and the like mean a module, as PEFT matches them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def pattern_regex(pattern: str) -> str:
    """The regular expression that PEFT makes of a pattern: a module's whole name, or its end after a dot."""
    return rf"(.*\.)?({pattern})$"


def matching(patterns: Iterable[tuple[str, T]], module: str) -> tuple[tuple[str, T], ...]:
    """The patterns that match a module, with their values, in order: PEFT takes the first.

    That order is lost when PEFT saves (0.21: json.dumps with sort_keys), so patterns that match the same module with
    different values mean something else once they are read back.
    """
    return tuple((pattern, value) for pattern, value in patterns if re.match(pattern_regex(pattern), module))
