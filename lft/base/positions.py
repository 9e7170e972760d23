"""How many positions a model has: a table that ends, or rotations that were only trained so far."""

from __future__ import annotations

from typing import Any

from lft.errors import RecipeError

# Decoders with one learned row a position; behind the last there is nothing to look up.
LEARNED = frozenset({"biogpt", "gpt2", "gpt_bigcode", "gpt_neo", "openai-gpt", "opt"})


def learned_positions(config: Any) -> int | None:
    """Rows of a model's table of positions; None for one that computes its positions (rotary, ALiBi, T5's)."""
    return int(config.max_position_embeddings) if config.model_type in LEARNED else None


def require_positions(config: Any, tokens: int, what: str, fix: str) -> None:
    """Raise RecipeError when ``tokens`` (of ``what``) are more than a model's table of positions has rows.

    ``fix`` may name the number of rows as ``{}``.
    """
    rows = learned_positions(config)
    if rows is not None and tokens > rows:
        raise RecipeError(
            f"{what}: {tokens:,} tokens, more than the {rows:,} positions of this {config.model_type} model",
            fix=fix.format(f"{rows:,}"),
        )


def beyond_training(config: Any, tokens: int) -> str | None:
    """A note where sequences are longer than those that a rotary model was made for; it computes on, but worse."""
    made_for = None if config.is_encoder_decoder else getattr(config, "max_position_embeddings", None)
    if not isinstance(made_for, int) or learned_positions(config) is not None or tokens <= made_for:
        return None
    return f"sequences of {tokens:,} tokens are longer than the {made_for:,} positions that the base was trained with"
