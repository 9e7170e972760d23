"""BLEU and chrF++ by sacrebleu's own counts of each row, scored over their sums as sacrebleu scores a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np

from lft.evaluate.item import Row
from lft.evaluate.metric import Floats, Measured, Metric, Tools
from lft.evaluate.metrics.packages import package
from lft.evaluate.metrics.parallel import spread
from lft.evaluate.metrics.reasons import NO_REFERENCE

ORDERS: Final = 4  # of BLEU's n-grams
CHRF_ORDERS: Final = 8  # six of characters, two of words
TOKENIZERS: Final = {"zh": "zh", "ja": "char", "ko": "char"}  # ja and ko have their own with MeCab, which needs more

Texts = tuple[str, str]


@cache
def bleu_of(lang: str) -> Any:
    """sacrebleu's BLEU with the tokenizer for a language.

    Raises:
        MachineError: sacrebleu is not installed.
    """
    return package("sacrebleu.metrics").BLEU(tokenize=TOKENIZERS.get(lang, "13a"), force=True)


@cache
def _chrf() -> Any:
    return package("sacrebleu.metrics").CHRF(word_order=2)


def _bleu_counts(lang: str, texts: Texts) -> list[float] | str:
    return _counts(bleu_of(lang), texts)


def _chrf_counts(texts: Texts) -> list[float] | str:
    return _counts(_chrf(), texts)


def _counts(scorer: Any, texts: Texts) -> list[float] | str:
    answer, reference = texts
    if not reference.strip():
        return NO_REFERENCE
    found: list[float] = scorer._extract_corpus_statistics([answer], [[reference]])[0]  # what its bootstrap adds up
    return found


def _measure_bleu(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:
    found = spread(partial(_bleu_counts, lang), _texts(rows), tools.workers)
    return _measured(found, 2 + 2 * ORDERS, bleu_of(lang))


def _measure_chrf(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    return _measured(spread(_chrf_counts, _texts(rows), tools.workers), 3 * CHRF_ORDERS, _chrf())


def _texts(rows: Sequence[Row]) -> list[Texts]:
    return [(row.output.text, row.item.reference) for row in rows]


def _measured(found: Sequence[list[float] | str], width: int, scorer: Any) -> Measured:
    sums = np.full((len(found), width), np.nan)
    for place, counts in enumerate(found):
        if not isinstance(counts, str):
            sums[place] = counts
    reasons = {place: counts for place, counts in enumerate(found) if isinstance(counts, str)}
    return Measured(sums, f"sacrebleu {signature(scorer)}", reasons)


def signature(scorer: Any) -> str:
    """What sacrebleu prints beside a score."""
    scorer.num_refs = 1
    return str(scorer.get_signature())


def bleu_score(sums: Floats) -> Floats:
    """Sums [... x 10] (answer words, reference words, 4 matches, 4 totals) to BLEU from 0 to 1.

    Precisions without a match are smoothed as mteval does (sacrebleu's "exp"); NaN where there is no reference.
    """
    length, wanted = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    with np.errstate(divide="ignore", invalid="ignore"):
        halved = 2.0 ** np.cumsum(matches == 0, axis=-1)
        precisions = np.where(matches > 0, matches, 1 / halved) / totals
        brevity = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        scores = brevity * np.exp(np.log(precisions).sum(axis=-1) / ORDERS)
    scored = (matches > 0).any(axis=-1) & (totals > 0).all(axis=-1)
    known: Floats = np.where(np.isnan(sums).any(axis=-1) | (wanted == 0), np.nan, np.where(scored, scores, 0.0))
    return known


def chrf_score(sums: Floats) -> Floats:
    """Sums [... x 24] (answer, reference, matches for each of 8 orders) to chrF++ from 0 to 1; beta 2."""
    answer, wanted, matches = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    held = (answer > 0) & (wanted > 0)
    orders = np.maximum(held.sum(axis=-1), 1)
    zero = np.zeros_like(matches)
    precision = np.divide(matches, answer, out=zero.copy(), where=held).sum(axis=-1) / orders
    recall = np.divide(matches, wanted, out=zero.copy(), where=held).sum(axis=-1) / orders
    below = 4 * precision + recall
    scores = np.divide(5 * precision * recall, below, out=np.zeros_like(below), where=below > 0)
    known: Floats = np.where(np.isnan(sums).any(axis=-1) | (wanted.sum(axis=-1) == 0), np.nan, scores)
    return known


BLEU: Final = Metric("bleu", "BLEU", _measure_bleu, bleu_score, "higher", overlap=True, scale=100)
CHRF: Final = Metric("chrf++", "chrF++", _measure_chrf, chrf_score, "higher", overlap=True, scale=100)
