"""How long it takes: operations of a token, a device's peak, and a stated share of that peak."""

from __future__ import annotations

from dataclasses import dataclass

from lft.plan.setup import Setup
from lft.plan.shape import Stack


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of a run. ``flops`` is per token; ``utilisation`` the share of the peak that is assumed, never measured."""

    flops: float
    utilisation: float
    tokens_per_second: float


def pace_of(setup: Setup, utilisation: float | None = None) -> Pace | None:
    """Speed over all devices; None for a device whose peak is unknown."""
    peak = peak_flops(setup)
    if not peak:
        return None
    share = assumed_utilisation(setup) if utilisation is None else utilisation
    flops = flops_per_token(setup)
    return Pace(flops, share, setup.fleet.world * peak * share / flops)


def flops_per_token(setup: Setup) -> float:
    """Floating-point operations of one token, forward and backward.

    A matrix of P weights costs 2P forward, 2P for its input's gradient and, when it is trained, 2P for its own: 6N for
    full fine-tuning, 4N for an adapter (and 6 for each of the adapter's parameters). Recomputing adds a forward pass.
    Attention costs 4 x width x keys forward and twice that backward; half the keys are masked in a causal stack.
    """
    shape, trainable = setup.shape, setup.trainable
    again = 1 if setup.checkpointing else 0
    matrices = sum(linear.weights for linear in shape.linears)
    head = shape.vocabulary * shape.embedding_width
    passes = 6 if trainable.full else 4
    own = 0 if trainable.full else 6 * trainable.total
    scores = sum(_attention(setup, stack) for stack in shape.stacks) * (3 + again)
    if shape.encoder_decoder:  # each token goes through one of the two stacks
        matrices //= 2
    return (passes + 2 * again) * matrices + passes * head + own + scores


def peak_flops(setup: Setup) -> float:
    """Operations a second of one device in the dtype that it computes in; float32 where it only emulates bfloat16."""
    device = setup.fleet.device
    half = setup.compute_bytes == 2 and device.bfloat16
    return (device.half if half else device.single) * 1e12


def assumed_utilisation(setup: Setup) -> float:
    """Share of the peak that is assumed: usual for these engines, lower where weights travel or are dequantised."""
    if not setup.cuda:
        return 0.6
    if setup.offload:
        return 0.2
    return 0.3 if setup.quantize else 0.35 if setup.zero3 else 0.4


def _attention(setup: Setup, stack: Stack) -> float:
    keys = setup.row_tokens
    if stack.window is not None:
        keys = min(keys, stack.window)
    causal = stack.side == "decoder"
    return stack.layers * 4 * stack.width * (keys / 2 if causal else keys)
