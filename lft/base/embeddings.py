"""Which of a model's tensors are its input embedding and its output head, by the names of transformers' models.

Without building the model nothing else tells them apart; every room that reads headers asks here.
"""

from __future__ import annotations

from typing import Final

INPUTS: Final = ("embed_tokens", "wte", "word_embeddings", "shared", "embed_in", "tok_embeddings")
HEADS: Final = ("lm_head", "embed_out")


def is_input(name: str) -> bool:
    """Whether a module, or the weight of one, is an input embedding."""
    return _word(name) in INPUTS


def is_head(name: str) -> bool:
    """Whether a module, or the weight of one, is an output head; a checkpoint leaves out one that is the embedding."""
    return _word(name) in HEADS


def _word(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]
