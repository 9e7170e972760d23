"""Self-BLEU: how much the answers of one suite and language are alike, in time n log n in their words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.reasons import NO_ANSWER, split
from lft.evaluate.metrics.sacre import ORDERS, bleu_of, signature

Ints = NDArray[np.int64]


def self_bleu(texts: Sequence[Sequence[str]], scorer: Any) -> list[float | str]:
    """Sentence BLEU of each tokenised text against all the others, from 0 to 1; a reason where there is none."""
    lengths = [len(text) for text in texts]
    others = sorted(length for length in lengths if length)
    if len(others) < 2:
        return ["there is no other answer to compare with" if length else NO_ANSWER for length in lengths]
    matches, totals = _counts(texts)
    return [
        _sentence_bleu(matches[place], totals[place], length, _closest(length, others), scorer) if length else NO_ANSWER
        for place, length in enumerate(lengths)
    ]


def _counts(texts: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
    """[texts x 4] n-grams that another text has too (as often as one other has them), and all n-grams."""
    vocabulary: dict[str, int] = {}
    words = np.array([vocabulary.setdefault(word, len(vocabulary)) for text in texts for word in text], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    grams, found = words, []
    for n in range(1, ORDERS + 1):
        if n > 1:  # an n-gram is the one before it and a word more, where both are of one text
            longer = grams[:-1] * len(vocabulary) + words[n - 1 :]
            grams = np.unique(longer, return_inverse=True)[1].reshape(-1)
        within = owner[: len(grams)] == owner[n - 1 :]
        found.append(_shared(grams[within], owner[: len(grams)][within], len(texts)))
    matches, totals = (np.stack(side, axis=1) for side in zip(*found, strict=True))
    return matches, totals


def _shared(grams: Ints, owner: Ints, texts: int) -> tuple[Ints, Ints]:
    pairs, counts = np.unique(grams * texts + owner, return_counts=True)
    gram, text = pairs // texts, pairs % texts
    order = np.lexsort((-counts, gram))  # by n-gram, who has it most often first
    gram, text, counts = gram[order], text[order], counts[order]
    first = np.r_[True, gram[1:] != gram[:-1]][: len(gram)]
    start = np.flatnonzero(first)
    following = np.r_[start[1:], len(gram)]
    most = np.repeat(counts[start], following - start)
    second = np.where(start + 1 < following, counts[np.minimum(start + 1, len(counts) - 1)], 0) if len(gram) else start
    most[start] = second  # of the others, as the first is the text itself
    matches = np.bincount(text, np.minimum(counts, most), texts).astype(np.int64)
    return matches, np.bincount(text, counts, texts).astype(np.int64)


def _sentence_bleu(matches: Ints, totals: Ints, length: int, closest: int, scorer: Any) -> float:
    found = scorer.compute_bleu(
        matches.tolist(), totals.tolist(), length, closest, smooth_method="exp", effective_order=True
    )
    return float(found.score) / 100


def _closest(length: int, lengths: Sequence[int]) -> int:
    """The other texts' length that is closest, the shorter of two; ``lengths`` is sorted and holds its own once."""
    own = bisect_left(lengths, length)
    beside = [lengths[place] for place in (own - 1, own + 1) if 0 <= place < len(lengths)]
    return min(beside, key=lambda other: (abs(other - length), other))


def _measure(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    scorer = bleu_of(lang)
    texts = [scorer._preprocess_segment(row.output.text).split() for row in rows]
    numbers, reasons = split(self_bleu(texts, scorer))
    others = sum(1 for text in texts if text) - 1
    how = f"mean over answers of sentence BLEU against the {max(others, 0)} others of the suite in this language"
    return Measured(means(numbers), f"{how}; sacrebleu {signature(scorer)}, effective order", reasons)


SELF_BLEU: Final = Metric("self-bleu", "self-BLEU", _measure, ratio, "lower", scale=100)
