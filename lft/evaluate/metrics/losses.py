"""Metrics of what a model makes of given texts: their numbers come from a model, not from answers.

The lead of an evaluation works out log-likelihoods (``lft.evaluate.loss``) and hands them in here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from lft.evaluate.item import Row
from lft.evaluate.metric import Floats, Measured, Metric, Tools, ratio

NO_MODEL: Final = "this is worked out from a model's probabilities, not from an answer"
NO_TEXT: Final = "there is no text to measure"
NOT_FINITE: Final = "the model gives this text no finite probability"


def from_losses(
    nats: Sequence[float | None], tokens: Sequence[int], sizes: Sequence[int], how: str
) -> dict[str, Measured]:
    """``bits-per-byte``, ``nll-per-token`` and ``perplexity`` of rows, from each row's loss.

    Args:
        nats: negative log-likelihood summed over each row's text; None where it could not be worked out.
        tokens: how many tokens each sum is over.
        sizes: bytes of each text in UTF-8.
        how: what the text was conditioned on and how it was cut, for the variant.
    """
    reasons = {place: _why(one, size) for place, (one, size) in enumerate(zip(nats, sizes, strict=True))}
    known = {place: why for place, why in reasons.items() if why}
    losses = np.array([np.nan if place in known else one for place, one in enumerate(nats)], dtype=np.float64)
    by_token = _beside(losses, tokens)
    return {
        "bits-per-byte": Measured(_beside(losses / math.log(2), sizes), f"bits over bytes of all texts; {how}", known),
        "nll-per-token": Measured(by_token, f"nats over tokens of all texts; {how}", known),
        "perplexity": Measured(by_token, f"e^(nats over tokens of all texts); {how}", known),
    }


def _why(nats: float | None, size: int) -> str:
    if nats is None or not size:
        return NO_TEXT
    return "" if math.isfinite(nats) else NOT_FINITE


def from_rankings(true: Sequence[float | None], others: Sequence[Sequence[float]], how: str) -> Measured:
    """``ranking`` of rows: how often a text is likelier after its instruction than after a corrupted one (Suri).

    Args:
        true: log-likelihood of each row's text after its own instruction; None where it could not be worked out.
        others: the same after each corrupted instruction.
        how: what was corrupted and how, for the variant.
    """
    sums = np.full((len(true), 2), np.nan)
    reasons = {}
    for place, (own, rivals) in enumerate(zip(true, others, strict=True)):
        if own is None or not rivals:
            reasons[place] = NO_TEXT if own is None else "there is no other instruction to compare with"
        elif not all(map(math.isfinite, (own, *rivals))):
            reasons[place] = NOT_FINITE
        else:
            sums[place] = sum(own > rival for rival in rivals), len(rivals)
    return Measured(
        sums, f"log p(text | own instruction) > log p(text | corrupted one), over all pairs; {how}", reasons
    )


def perplexity(sums: Floats) -> Floats:
    """Sums [... x 2] of nats and tokens to e^(nats a token)."""
    with np.errstate(over="ignore"):
        found: Floats = np.exp(ratio(sums))
    return found


def _beside(losses: Floats, counts: Sequence[int]) -> Floats:
    sums = np.stack([losses, np.array(counts, dtype=np.float64)], axis=1)
    sums[np.isnan(losses)] = np.nan
    return sums


def _measure(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    return Measured(np.full((len(rows), 2), np.nan), NO_MODEL, dict.fromkeys(range(len(rows)), NO_MODEL))


BITS_PER_BYTE: Final = Metric("bits-per-byte", "bits per byte", _measure, ratio, "lower", digits=3)
NLL_PER_TOKEN: Final = Metric("nll-per-token", "nats per token", _measure, ratio, "lower", digits=3)
PERPLEXITY: Final = Metric("perplexity", "perplexity", _measure, perplexity, "lower", digits=2)
RANKING: Final = Metric("ranking", "ranking accuracy", _measure, ratio, "higher", scale=100)
