"""The wrong-reference floor: what an overlap metric gives answers to somebody else's question."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lft.evaluate.item import Row
from lft.evaluate.metric import Floats, Metric, Tools

SEED: Final = 20_230_418


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """Sums [rows x k] against other items' references; None, and why, where there is no other reference."""

    sums: Floats | None
    how: str


def floor(metric: Metric, rows: Sequence[Row], lang: str, tools: Tools, seed: int = SEED) -> Floor:
    """Score each answer against the reference of another item of its language.

    The same texts and seed give the same floor, in whichever order the rows come.
    """
    given = wrong_references([row.item.reference for row in rows], seed)
    if not given:
        return Floor(None, "no floor: fewer than two different references")
    wrong = [replace(row, item=replace(row.item, reference=given.get(row.item.reference, ""))) for row in rows]
    sums = metric.measure(wrong, lang, tools).sums
    return Floor(sums, f"floor: each reference swapped for another of {len(given):,} (seed {seed})")


def wrong_references(references: Sequence[str], seed: int) -> dict[str, str]:
    """Another text for each different text that has words, each used once; empty where there is no other."""
    texts = sorted({text for text in references if text.strip()})
    if len({" ".join(text.split()) for text in texts}) < 2:
        return {}
    random.Random(seed).shuffle(texts)
    return dict(zip(texts, texts[1:] + texts[:1], strict=True))
