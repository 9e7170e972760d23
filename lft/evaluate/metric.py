"""What a metric is: numbers of each row that may be added up, and how a score is made of their sums.

A mean, a ratio (words of the answers over words of the references), BLEU and chrF are functions of sums over rows.
So one definition gives the score of a suite, of a source, of a language, and of each resampling of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lft.evaluate.item import Row

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""Sums [... x k] to scores [...]; NaN where there is nothing to divide by."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A model whose hidden states are compared: its name for people, its folder, a digest of its weights, a layer."""

    name: str
    folder: str
    weights: str
    layer: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What of this machine a metric may use: processes, a cache, a place for what takes long to say, an encoder."""

    workers: int
    cache: Path
    notify: Callable[[str], None]
    encoder: Encoder | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A metric on rows of one language.

    ``sums`` is [rows x k], NaN where a row has no value; ``reasons`` says why, by the row's place. ``variant`` is all
    that one must know to get the number again: algorithm, parameters, tokenisation, stemmer, versions.
    """

    sums: Floats
    variant: str
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by name.

    ``measure`` gets rows of one language and that language; ``overlap`` says that it compares with the reference, so
    that a wrong-reference floor stands beside it. ``scale`` is what scores are multiplied with where people read them
    (100 for METEOR), ``digits`` how many they see behind the point.
    """

    name: str
    title: str
    measure: Callable[[Sequence[Row], str, Tools], Measured]
    score: Score
    better: Literal["higher", "lower", "neither"]
    overlap: bool = False
    scale: float = 1.0
    digits: int = 1


def given_elsewhere(*_: Any) -> Any:
    """In place of ``measure`` where numbers come from a judge or a harness."""
    raise RuntimeError("these numbers are given; they are not measured on texts")


def ratio(sums: Floats) -> Floats:
    """First column over second: means (value, 1) and ratios of totals."""
    below = sums[..., 1]
    divided: Floats = np.divide(sums[..., 0], below, out=np.full(below.shape, np.nan), where=below != 0)
    return divided


def means(values: Sequence[float | None]) -> Floats:
    """Rows of (value, 1) for ``ratio``; NaN where there is no value."""
    made = [(np.nan, np.nan) if value is None else (value, 1.0) for value in values]
    return np.array(made, dtype=np.float64).reshape(len(made), 2)
