"""What an answer is like by itself: its length, how it ended, what it repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import numpy as np

from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.reasons import NO_REFERENCE, split
from lft.evaluate.metrics.words import words

REPEATED: Final = 4  # words of the n-grams that ``repetition`` looks at
_WORDS: Final = "lower-cased letters and digits of any script, Chinese characters and kana one by one"

Value = Callable[[Row], float | str]


def distinct(tokens: Sequence[str], n: int) -> float | None:
    """Different n-grams over all n-grams; None for a text that has none."""
    total = len(tokens) - n + 1
    if total < 1:
        return None
    return len(set(zip(*(tokens[skip:] for skip in range(n)), strict=False))) / total


def _distinct(n: int, row: Row) -> float | str:
    found = distinct(words(row.output.text), n)
    return f"the answer has fewer than {n} words" if found is None else found


def _repetition(row: Row) -> float | str:
    found = _distinct(REPEATED, row)
    return found if isinstance(found, str) else 1 - found


def _words(row: Row) -> float:
    return float(len(words(row.output.text)))


def _ended(finish: Literal["stop", "length"], row: Row) -> float | str:
    return (
        "it is not known how the answer ended" if row.output.finish == "unknown" else float(row.output.finish == finish)
    )


def _measure(value: Value, variant: str, rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    numbers, reasons = split([value(row) for row in rows])
    return Measured(means(numbers), f"mean of rows; {variant}", reasons)


def _length_ratio(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    sums = np.full((len(rows), 2), np.nan)
    reasons = {}
    for place, row in enumerate(rows):
        wanted = len(words(row.item.reference))
        if wanted:
            sums[place] = len(words(row.output.text)), wanted
        else:
            reasons[place] = NO_REFERENCE
    return Measured(sums, f"words of all answers over words of all references; {_WORDS}", reasons)


def _of_distinct(n: int) -> Metric:
    variant = f"different {n}-grams of an answer over all that it has; {_WORDS}"
    return Metric(
        f"distinct-{n}", f"distinct-{n}", partial(_measure, partial(_distinct, n), variant), ratio, "higher", scale=100
    )


DISTINCT: Final = tuple(_of_distinct(n) for n in (1, 2, 3))
REPETITION: Final = Metric(
    "repetition",
    f"repetition (rep-{REPEATED})",
    partial(_measure, _repetition, f"share of an answer's {REPEATED}-grams that it had before; {_WORDS}"),
    ratio,
    "lower",
    scale=100,
)
WORDS: Final = Metric("words", "words", partial(_measure, _words, _WORDS), ratio, "neither", digits=0)
LENGTH_RATIO: Final = Metric("length-ratio", "length ratio", _length_ratio, ratio, "neither", digits=2)
EOS_RATE: Final = Metric(
    "eos-rate",
    "ended by itself",
    partial(_measure, partial(_ended, "stop"), "answers that ended before the limit of tokens"),
    ratio,
    "higher",
    scale=100,
)
TRUNCATION_RATE: Final = Metric(
    "truncation-rate",
    "cut off",
    partial(_measure, partial(_ended, "length"), "answers that the limit of tokens ended"),
    ratio,
    "lower",
    scale=100,
)
