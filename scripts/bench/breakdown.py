"""Where the time of a step goes, from torch's profiler: self time of each operator, grouped."""

from __future__ import annotations

import time
from typing import Any

GROUPS = ("matmul", "attention", "elementwise", "optimizer", "data", "other")
MATMUL = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::matmul", "aten::linear", "mkldnn")


class Watch:
    """A profiler that is opened after one step and closed after another."""

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._profiler = profile(activities=[ProfilerActivity.CPU])
        self._began = self.seconds = 0.0

    def open(self) -> None:
        """Begin to record."""
        self._profiler.__enter__()
        self._began = time.perf_counter()

    def close(self) -> None:
        """End recording."""
        self.seconds = time.perf_counter() - self._began
        self._profiler.__exit__(None, None, None)

    def shares(self) -> dict[str, float]:
        """Share of the recorded time by group, adding up to 1.

        ``elementwise`` is all other tensor work: sums, softmax, copies. ``optimizer`` includes gradient clipping.
        ``other`` is autograd's and Python's own time, between operators.
        """
        spent = dict.fromkeys(GROUPS, 0.0)
        for event in self._profiler.events():
            spent[_group(event)] += event.self_cpu_time_total / 1e6
        spent["other"] += max(self.seconds - sum(spent.values()), 0.0)
        return {group: spent[group] / sum(spent.values()) for group in GROUPS}


def _group(event: Any) -> str:
    name, around = event.name, _names_around(event)
    if any(outer.startswith("Optimizer.") for outer in around) or "_foreach_" in name:
        return "optimizer"
    if any("DataLoader" in outer for outer in around):
        return "data"
    if any("scaled_dot_product" in outer or "ScaledDotProduct" in outer for outer in around):
        return "attention"
    if name.startswith(MATMUL):
        return "matmul"
    return "elementwise" if name.startswith("aten::") else "other"


def _names_around(event: Any) -> list[str]:
    """The event's name and those of the events that it is part of."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return names
