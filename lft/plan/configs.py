"""Sizes of well-known bases that come with lft, for planning where a base is not on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class KnownBase:
    """A published base: its names, its number of parameters as published, and the sizes of its config.json."""

    names: tuple[str, ...]
    parameters: int
    config: Mapping[str, Any]


def known_bases() -> tuple[KnownBase, ...]:
    """All bases of the table."""
    rows = json.loads((DATA / "configs.json").read_text(encoding="utf-8"))
    return tuple(KnownBase(tuple(row["names"]), row["parameters"], row["config"]) for row in rows)


def known_config(name: str) -> Mapping[str, Any] | None:
    """The configuration of a base by its hub id, whatever its case; None when the table has no such base."""
    wanted = name.lower()
    return next((base.config for base in known_bases() if wanted in map(str.lower, base.names)), None)
