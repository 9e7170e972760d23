"""Attention that cannot leak between packed sequences, and the proof that it does not.

A packed row is attended to one sequence at a time:

    row      a a a | b b            key →   a a a b b
    lengths  (3, 2)                 query a 1 . . . .        each block is one causal call;
                                          a 1 1 . . .        what lies off the blocks is never computed,
                                          a 1 1 1 . .        so it can neither leak nor cost time
                                          b . . . 1 .
                                          b . . . 1 1

A block-diagonal mask would do the same at the price of N² for the whole row, and transformers 5 builds it only for
families that pass position ids to their mask (OPT, BLOOM, Falcon and MPT do not: they leak, silently, in TRL).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lft.errors import MachineError

ATTENTION = "lft_segments"
_UNPACKED = "set data.packing: false and train.micro_batch_size: 1"
# Arguments that change what attention computes. One that this function does not honour must be an error.
_UNKNOWN_TERMS = ("position_bias", "s_aux", "sinks", "head_mask", "alibi")


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segment_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of a packed row.

    Args:
        module: the attention layer.
        query: shape [1 x heads x N x head_dim]; N is the sum of ``segment_lengths``.
        key: shape [1 x kv_heads x N x head_dim].
        value: shape [1 x kv_heads x N x head_dim].
        attention_mask: must be None; the lengths say it all.
        dropout: attention dropout.
        scaling: factor on the scores; None is head_dim ** -0.5.
        sliding_window: keys seen by one query, itself included (Mistral, Gemma).
        softcap: cap on the scores (Gemma 2).
        segment_lengths: tokens of each sequence in the row; None is one sequence.
        **kwargs: other terms a family may pass; one that would change the result is an error.

    Returns:
        The attended values, shape [1 x N x heads x head_dim], and no weights.

    Raises:
        MachineError: the family's attention has a term that this function cannot honour.
    """
    unknown = [term for term in _UNKNOWN_TERMS if kwargs.get(term) is not None]
    if unknown or attention_mask is not None or not getattr(module, "is_causal", True):
        raise MachineError(
            f"packed attention cannot honour {', '.join(unknown) or 'a custom mask'} of {type(module).__name__}",
            fix=_UNPACKED,
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    lengths = list(segment_lengths) if segment_lengths is not None else [query.shape[2]]
    attended = [
        _causal(q, k, v, dropout, scaling, sliding_window, softcap)
        for q, k, v in zip(
            query.split(lengths, dim=2), key.split(lengths, dim=2), value.split(lengths, dim=2), strict=True
        )
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def _causal(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    length = query.shape[2]
    if softcap is not None:
        return _softcapped(query, key, value, dropout, scaling, _window_mask(length, window, query.device), softcap)
    if window is not None and length > window:
        mask = _window_mask(length, window, query.device)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scaling, is_causal=True)


def _window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Shape [length x length], True where the query (row) may see the key (column)."""
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return mask if window is None else mask.triu(1 - window)


def _softcapped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    mask: torch.Tensor,
    softcap: float,
) -> torch.Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(query @ key.transpose(2, 3) * scale / softcap) * softcap
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.nn.functional.dropout(weights, p=dropout) @ value


# One name in transformers' own table of attention functions: the documented way to add one. No mask function is
# registered under it, so transformers builds no mask.
ALL_ATTENTION_FUNCTIONS.register(ATTENTION, segment_attention)


def packed_inputs(sequences: Sequence[Sequence[int]], device: torch.device | str) -> dict[str, Any]:
    """Model inputs for sequences laid into one row of N tokens.

    Returns:
        ``input_ids`` [1 x N], ``position_ids`` [1 x N] starting anew at each sequence, ``segment_lengths``.
    """
    lengths = tuple(len(sequence) for sequence in sequences)
    ids = [token for sequence in sequences for token in sequence]
    positions = [place for length in lengths for place in range(length)]
    return {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([positions], device=device),
        "segment_lengths": lengths,
    }


def isolate(model: Any, vocabulary: int) -> float:
    """Give a model the attention of this file, and prove on it that packed sequences do not see each other.

    Three short sequences go through the model alone, under its own attention, and then packed, under ours: so the proof
    holds for this very model and covers what its family may do elsewhere (convolutions, recurrences, masks of its own).

    Returns:
        Largest |packed - alone| over the final hidden states, relative to the largest |alone|: rounding.

    Raises:
        MachineError: it is more than rounding, so packing would contaminate.
    """
    sequences = _probe(vocabulary)
    alone = torch.cat([_hidden(model, packed_inputs([sequence], model.device), 1) for sequence in sequences], dim=1)
    try:
        model.set_attn_implementation(ATTENTION)
        packed = _hidden(model, packed_inputs(sequences, model.device), len(sequences))
    except (TypeError, ValueError) as error:
        raise MachineError(f"{type(model).__name__} cannot take packed sequences ({error})", fix=_UNPACKED) from error
    measured = float((packed - alone).abs().max() / alone.abs().max().clamp(min=1e-12))
    bound = 1e-4 if next(model.parameters()).dtype == torch.float32 else 3e-2
    if not measured <= bound:
        raise MachineError(
            f"packed sequences see each other on this architecture ({type(model).__name__}: relative difference "
            f"{measured:.2g}, allowed {bound:.0e})",
            fix=_UNPACKED,
        )
    return measured


def _probe(vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in (9, 17, 5)]


def _hidden(model: Any, inputs: dict[str, Any], sequences: int) -> torch.Tensor:
    if sequences == 1:
        del inputs["segment_lengths"]  # not every family's own attention takes it
    training = model.training
    with torch.no_grad():
        hidden: torch.Tensor = model.eval().base_model(**inputs, use_cache=False).last_hidden_state.float()
    model.train(training)
    return hidden
