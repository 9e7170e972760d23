"""How far a run is from what this machine's matrix products can do.

Floating-point operations of training LoRA on a frozen decoder, by formula (a multiply-add is two):

    4 N P - 6 N d²      linear layers: forward, and the gradient of the input; none of the frozen weights, and none at
                        the input of the first layer's q, k and v, below which nothing is trained
    6 N R               LoRA's A and B: forward, the gradients of input and of weights
    4 S d V             the head, on supervised tokens only: forward, and the gradient of the input
    6 d L (sum of l²)   causal attention: 2 d l² a layer forward (half of two products of 2 d l²), twice that back

    N tokens, S of them supervised, sequences of l tokens; d hidden size, L layers, P weights of all linear layers,
    R weights of LoRA, V vocabulary. Elementwise work is not counted: it is part of the distance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from material import RANK, SHAPE, Shape

LARGE = 1024  # a square product that is bound by arithmetic, not by memory
HEAD_ROWS = 256  # rows that the loss sends through the head at once
MEASURED = 0.3  # seconds a product is repeated (ten times at least); the fastest one counts


@dataclass(frozen=True, slots=True)
class Peak:
    """GFLOP/s of ``torch.mm`` in float32: a large square product, and the products of this model by their share."""

    large: float
    shapes: float


def run_flops(lengths: Sequence[int], supervised: int, shape: Shape = SHAPE, rank: int = RANK) -> float:
    """Operations of one pass over sequences of ``lengths`` tokens (the formula above)."""
    tokens, hidden = sum(lengths), shape.hidden
    linear = sum(rows * columns for rows, columns in shape.linears) * shape.layers
    lora = sum(rank * (rows + columns) for rows, columns in shape.linears) * shape.layers
    return (
        4.0 * tokens * linear
        - 6.0 * tokens * hidden**2
        + 6.0 * tokens * lora
        + 4.0 * supervised * hidden * shape.vocabulary
        + 6.0 * hidden * shape.layers * sum(length**2 for length in lengths)
    )


def measured_peak(tokens: int, shape: Shape = SHAPE, rank: int = RANK) -> Peak:
    """Measure, with the threads that torch has in this process.

    Args:
        tokens: rows of a batch, the height of its products.
    """
    products = [(tokens, rows, columns) for rows, columns in shape.linears]
    products += [
        product for rows, columns in shape.linears for product in ((tokens, rows, rank), (tokens, rank, columns))
    ]
    products = [*products * shape.layers, (HEAD_ROWS, shape.hidden, shape.vocabulary)]
    rates = {product: _rate(*product) for product in dict.fromkeys(products)}
    work = [_flops(*product) for product in products]
    seconds = sum(flops / rates[product] for flops, product in zip(work, products, strict=True))
    return Peak(large=_rate(LARGE, LARGE, LARGE) / 1e9, shapes=sum(work) / seconds / 1e9)


def _flops(rows: int, inner: int, columns: int) -> float:
    return 2.0 * rows * inner * columns


def _rate(rows: int, inner: int, columns: int) -> float:
    """Operations a second of [rows x inner] times the transpose of [columns x inner], as linear layers compute it."""
    import torch

    left, right = torch.randn(rows, inner), torch.randn(columns, inner).T
    took: list[float] = []
    while len(took) < 10 or sum(took) < MEASURED:
        began = time.process_time()  # not the wall's: others may take the machine away in the middle
        torch.mm(left, right)
        took.append((time.process_time() - began) / torch.get_num_threads())
    return _flops(rows, inner, columns) / min(took)
