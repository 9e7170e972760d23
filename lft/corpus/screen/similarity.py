"""Are instruction and text about the same thing? The cosine of their embeddings, by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from lft.corpus.document import Pair
from lft.corpus.embedding import embedded
from lft.corpus.screen.rules import bare

_SHOWN: Final = 2000  # characters of a text; the model reads 256 to 512 tokens


def similarities(pairs: Sequence[Pair], model: Path, cache: Path) -> list[float]:
    """Cosine in [-1, 1] for each pair; ``model`` from ``embedding.model_folder``, vectors are kept in ``cache``."""
    texts = [text for pair in pairs for text in (bare(pair), pair.output[:_SHOWN])]
    vectors, places = embedded(texts, model, cache)
    chosen = vectors[places].astype(np.float32)
    return [float(cosine) for cosine in (chosen[::2] * chosen[1::2]).sum(axis=1)]
