"""Metrics and results that tests make up: numbers without models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Floats, Measured, Metric, ratio
from lft.evaluate.result import Column, LeftOut, Result, Subject, SuiteRef


def unmeasured(*_: Any) -> Measured:
    raise AssertionError("nothing is measured here")


def bleu_like(sums: Floats) -> Floats:
    """Corpus BLEU of ten sums: matches and totals of four n-grams, lengths of answers and references."""
    matches, totals = sums[..., :4], sums[..., 4:8]
    precisions = np.log(matches / totals).mean(axis=-1)
    brevity = np.minimum(0.0, 1 - sums[..., 9] / sums[..., 8])
    score: Floats = np.exp(precisions + brevity)
    return score


MEAN = Metric("meteor", "METEOR", unmeasured, ratio, "higher", overlap=True, scale=100.0)
RATIO = Metric("length-ratio", "Length ratio", unmeasured, ratio, "neither", digits=2)
REPEATED = Metric("repetition", "Repetition", unmeasured, ratio, "lower", scale=100.0)
BLEU = Metric("bleu", "BLEU", unmeasured, bleu_like, "higher", overlap=True, scale=100.0)
NLTK = {"en": "NLTK 3.10, WordNet", "de": "NLTK 3.10"}
METRICS = {one.name: one for one in (RATIO, MEAN, REPEATED, BLEU)}


def bleu_sums(generator: np.random.Generator, rows: int) -> Floats:
    totals = generator.integers(20, 60, (rows, 1)) - np.arange(4)
    matches = generator.binomial(totals, np.array([0.6, 0.4, 0.3, 0.2]))
    lengths = np.concatenate([totals[:, :1], generator.integers(20, 60, (rows, 1))], axis=1)
    return np.concatenate([matches, totals, lengths], axis=1).astype(np.float64)


def with_ones(values: Sequence[float] | Floats) -> Floats:
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)


def made_rows(items: int, samples: int = 1, text: str = "An answer, number {}.", suite: str = "s") -> tuple[Row, ...]:
    langs, sources = ("en", "de", "fr"), ("wiki", "news")
    return tuple(
        Row(
            Item(
                f"{suite}-{number:04}", langs[number % 3], sources[number % 2], "x" if number % 4 else "y",
                f"Question {number}?", "", "word " * (30 if number % 5 else 300),
            ),
            Output(text.replace("{}", str(number)), sample, 7, "stop" if number % 7 else "length"),
        )
        for number in range(items)
        for sample in range(samples)
    )  # fmt: skip


def made_result(
    label: str = "base", gain: float = 0.0, *, suite: str = "longform", items: int = 40, samples: int = 1,
    floor_gain: float = 0.0, longer: float = 0.0, seed: int = 0, digest: str = "e", text: str = "An answer, number {}.",
    left_out: tuple[LeftOut, ...] = (), decoding: dict[str, float] | None = None,
) -> Result:  # fmt: skip
    """A result whose METEOR, floor, length and repetition are what a test asks for."""
    rows = made_rows(items, samples, text, suite)
    shared, own = np.random.default_rng(seed), np.random.default_rng((seed, *label.encode()))
    meteor = 0.2 + shared.normal(0, 0.05, len(rows)) + own.normal(0, 0.02, len(rows)) + gain
    floor = 0.14 + shared.normal(0, 0.02, len(rows)) + floor_gain
    columns = {
        "length-ratio": Column("length-ratio", with_ones(np.full(len(rows), 0.9 + longer)), {"en": "words"}),
        "meteor": Column("meteor", with_ones(meteor), NLTK, with_ones(floor)),
        "repetition": Column("repetition", with_ones(np.full(len(rows), 0.04 + longer / 5)), {"en": "4-grams"}),
    }
    subject = Subject(label, label.ljust(64, "0"), "adapters", "HuggingFaceTB/SmolLM2-135M", (label,), "longform-eoi")
    ref = SuiteRef(suite, 1, digest * 64, True)
    return Result(
        ref, subject, decoding or {"top_p": 0.9, "seed": 1}, rows, columns, left_out, "2026-11-24T00:00:00Z",
        {"lft": "0.1.0"},
    )  # fmt: skip
