"""Scores that took a model to find, kept by what they are of: a killed run finds none twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lft.files import append_lines, json_lines


class ScoreFile:
    """A file of JSON lines that only grows; the last line of a key counts, a torn one is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        records, _ = json_lines(path)
        self._known: dict[str, float] = {
            one["key"]: one["score"] for one in records if isinstance(one.get("score"), int | float) and "key" in one
        }

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> float:
        return self._known[key]

    def add(self, found: Mapping[str, float]) -> None:
        """Keep some scores. Raises MachineError where the disk is full."""
        lines = "".join(json.dumps({"key": key, "score": score}) + "\n" for key, score in found.items())
        append_lines(self._path, lines)
        self._known.update(found)


def score_key(*parts: str) -> str:
    """Hex sha256 of all that a score depends on."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
