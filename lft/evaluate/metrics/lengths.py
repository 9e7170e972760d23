"""Whether an answer has the length that its instruction asks for: S_l, LIFE score, and what can be counted.

S_l is LongBench-Write's (arXiv 2408.07055), the LIFE score LIFEBench's (arXiv 2505.16234).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, get_args

import numpy as np

from lft.data.sentences import paragraphs, sentences
from lft.evaluate.item import Relation, Row, Wanted
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.reasons import split
from lft.evaluate.metrics.words import written, written_variant

TOLERANCE: Final = 0.1  # of a wanted number of words: nobody counts them one by one

Score = Callable[[int, Wanted], float]

_NUMBERED: Final = re.compile(
    r"^[^\S\n]*(?:#{1,6} )?(?:\*\*)?(?:step |schritt |paso |étape |шаг )?\d{1,3}[.):]", re.I | re.M
)
_BULLET: Final = re.compile(r"^[^\S\n]*[-*•–—‣][^\S\n]", re.M)
_LINE: Final = re.compile(r"^.*\w.*$", re.M)
_RUN: Final = re.compile(r"([.!?…‽。！？\"'”’»›)\]*_“])\1{9,}")


def s_l(number: int, wanted: int) -> float:
    """LongBench-Write's S_l from 0 to 1: 1 at the wanted length, 0 from four times it and down from a third of it."""
    if number > wanted:
        return max(0.0, 1 - (number / wanted - 1) / 3)
    return max(0.0, 1 - (wanted / number - 1) / 2) if number else 0.0


def life(number: int, wanted: Wanted) -> float:
    """LIFEBench's length score from 0 to 1: e^(5d) for what is too short by d of the length, e^(-2d) for too long."""
    deviation = (number - wanted.number) / wanted.number
    if (wanted.relation == "at-most" and deviation <= 0) or (wanted.relation == "at-least" and deviation >= 0):
        return 1.0
    return math.exp(5 * deviation if deviation < 0 else -2 * deviation)


def count(text: str, lang: str, wanted: Wanted) -> int:
    """How many of what is wanted a text has."""
    if wanted.unit == "words":
        return written(text, lang)
    if wanted.unit == "paragraphs":
        return len(paragraphs(text))
    if wanted.unit == "steps":
        return steps(text)
    # a thousand stops in a row end one sentence too, and would take the reader of sentences minutes
    return sentences(_RUN.sub(r"\1\1\1", text), lang).count


def steps(text: str) -> int:
    """Numbered lines ("3.", "3)", "Step 3:"), else lines with a bullet, else lines that are not empty."""
    for pattern in (_NUMBERED, _BULLET, _LINE):
        found = sum(1 for _ in pattern.finditer(text))
        if found:
            return found
    return 0


def holds(text: str, lang: str, wanted: Wanted) -> bool:
    """Whether a text has the length that was asked for; words may be a tenth off where just so many were asked for."""
    number = count(text, lang, wanted)
    if wanted.relation == "at-most":
        return number <= wanted.number
    if wanted.relation == "at-least":
        return number >= wanted.number
    return abs(number - wanted.number) <= (TOLERANCE * wanted.number if wanted.unit == "words" else 0)


def _mean_over_wanted(score: Score, relations: Sequence[str], row: Row) -> float | str:
    wanted = (one for one in row.item.wanted if one.unit == "words" and one.number > 0)
    asked = [one for one in wanted if one.relation in relations]
    if not asked:
        return "the instruction asks for no number of words" + (" to be met" if len(relations) == 1 else "")
    number = written(row.output.text, row.item.lang)
    return sum(score(number, one) for one in asked) / len(asked)


def _measure(
    score: Score,
    relations: Sequence[str],
    variant: str,
    rows: Sequence[Row],
    lang: str,
    tools: Tools,  # noqa: ARG001
) -> Measured:
    numbers, reasons = split([_mean_over_wanted(score, relations, row) for row in rows])
    return Measured(means(numbers), f"{variant}, mean of rows; {written_variant(lang)}", reasons)


def _constraints(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    sums = np.full((len(rows), 2), np.nan)
    for place, row in enumerate(rows):
        if row.item.wanted:
            held = sum(holds(row.output.text, lang, one) for one in row.item.wanted)
            sums[place] = held, len(row.item.wanted)
    reasons = {place: "the instruction asks for no length" for place, row in enumerate(rows) if not row.item.wanted}
    return Measured(
        sums,
        f"wanted lengths that hold over wanted lengths; so many words within {TOLERANCE:.0%}, all else to the one; "
        "sentences as lft.data.sentences counts; steps: numbered lines, else bullets, else lines; "
        f"{written_variant(lang)}",
        reasons,
    )


def _s_l(number: int, wanted: Wanted) -> float:
    return s_l(number, wanted.number)


_S_L: Final = partial(_measure, _s_l, ("equal",), "LongBench-Write S_l")
_LIFE: Final = partial(_measure, life, get_args(Relation), "LIFEBench length score by relation")

S_L: Final = Metric("s-l", "S_l", _S_L, ratio, "higher", scale=100)
LIFE: Final = Metric("life", "LIFE score", _LIFE, ratio, "higher", scale=100)
CONSTRAINTS: Final = Metric("constraints", "lengths that hold", _constraints, ratio, "higher", scale=100)
