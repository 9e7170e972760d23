"""All metrics by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lft.errors import RecipeError
from lft.evaluate.metric import Metric
from lft.evaluate.metrics import lengths, losses, rouge, sacre, self_bleu, texts
from lft.evaluate.metrics.bertscore import BERTSCORE
from lft.evaluate.metrics.meteor import METEOR
from lft.evaluate.metrics.meteor_1_5 import METEOR_1_5
from lft.recipe.problems import nearest

_OVERLAP: Final = (
    METEOR, METEOR_1_5, rouge.ROUGE_1, rouge.ROUGE_2, rouge.ROUGE_L, sacre.BLEU, sacre.CHRF, BERTSCORE,
)  # fmt: skip
_TEXTS: Final = (self_bleu.SELF_BLEU, *texts.DISTINCT, texts.REPETITION, texts.LENGTH_RATIO, texts.WORDS)
_LENGTHS: Final = (lengths.S_L, lengths.LIFE, lengths.CONSTRAINTS)
_ENDINGS: Final = (texts.EOS_RATE, texts.TRUNCATION_RATE)
_LOSSES: Final = (losses.BITS_PER_BYTE, losses.NLL_PER_TOKEN, losses.PERPLEXITY, losses.RANKING)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {metric.name: metric for metric in (*_OVERLAP, *_TEXTS, *_LENGTHS, *_ENDINGS, *_LOSSES)}
)
FROM_TEXTS: Final = tuple(metric for metric in METRICS.values() if metric not in (METEOR_1_5, BERTSCORE, *_LOSSES))
"""Metrics that need neither a model nor Java."""


def metric_named(name: str) -> Metric:
    """A metric by its name.

    Raises:
        RecipeError: there is none of that name; the nearest one is given.
    """
    if name in METRICS:
        return METRICS[name]
    near = nearest(name, METRICS)
    fix = f"did you mean {near}?" if near else f"one of: {', '.join(METRICS)}"
    raise RecipeError(f"there is no metric named {name!r}", fix=fix)
