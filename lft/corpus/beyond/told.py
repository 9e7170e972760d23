"""What the options past the paper say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Told:
    """Figures of the step's report, and how many requests failed that may not another time."""

    figures: dict[str, Any] = field(default_factory=dict)
    open: int = 0
