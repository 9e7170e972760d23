"""Are instruction and text about the same thing? The cosine of their embeddings, by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lft.corpus.document import Pair
from lft.corpus.screen.rules import bare
from lft.corpus.screen.scores import ScoreFile, score_key

_BATCH: Final = 64
_SHOWN: Final = 2000  # characters of a text; the model reads 256 to 512 tokens


def similarities(pairs: Sequence[Pair], embedder: Any, name: str, known: ScoreFile) -> list[float]:
    """Cosine in [-1, 1] for each pair."""
    keys = [score_key("similarity", name, bare(pair), pair.output) for pair in pairs]
    missing = [(key, pair) for key, pair in zip(keys, pairs, strict=True) if key not in known]
    for at in range(0, len(missing), _BATCH):
        part = missing[at : at + _BATCH]
        texts = [text for _, pair in part for text in (bare(pair), pair.output[:_SHOWN])]
        vectors = embedder.encode(texts, normalize_embeddings=True, show_progress_bar=False, batch_size=_BATCH)
        cosines = (vectors[::2] * vectors[1::2]).sum(axis=1)
        known.add({key: round(float(cosine), 6) for (key, _), cosine in zip(part, cosines, strict=True)})
    return [known[key] for key in keys]
