"""Gradients, and what DDP and DeepSpeed hold beside them, at the four moments of a step (``lft.plan.memory``).

Read in DeepSpeed 0.19's ``stage_1_and_2.py`` and ``stage3.py``, and measured on two processes (docs/memory.md). N
trained parameters on W devices, a bucket of B of them:

              loss and start of backward         end of backward                     optimizer step
    none      -                                  N                                   N
    ddp       N in its buckets                   and N of gradients                  the same
    zero1     B from the start on                N and B                             N/W, and N/W in float32
    zero2     B from the start on                what does not fit into B / W, 2 B   N/W, and N/W in float32
    zero3     N/W, B and the gathered weights    and B again                         N/W, N/W in float32, B
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from lft.plan.setup import Setup

BUCKET: Final = 500_000_000  # elements; DeepSpeed's default, and the largest that lft asks for
_LIVE: Final = 1_000_000_000  # elements; DeepSpeed's default for weights that ZeRO-3 keeps gathered
_FLOAT: Final = 4


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes on one device at one moment."""

    gradients: int
    buffers: int


@dataclass(frozen=True, slots=True)
class Moments:
    """The four moments of a step."""

    loss: Held
    start: Held
    end: Held
    step: Held


def bucket_elements(trained: int) -> int:
    """Elements of DeepSpeed's buffer for gradients, which it allocates whole: no more than there are."""
    return min(BUCKET, max(trained, 1))


def held_by_engine(setup: Setup, weights: int) -> Moments:
    """Gradients and buffers under the setup's engine; ``weights`` are the bytes of base and adapter, undivided."""
    if setup.zero3:
        return _zero3(setup, weights)
    if setup.zero:
        return _zero1(setup) if setup.engine == "zero1" else _zero2(setup)
    whole = _bytes(setup, setup.trainable.total)
    kept, beside = whole if setup.accumulation > 1 else 0, whole if setup.engine == "ddp" else 0
    before, after = Held(kept, beside), Held(whole, beside)
    return Moments(before, before, after, after)


def _zero1(setup: Setup) -> Moments:
    """Whole gradients until the last pass of a step, then taken over into the bucket and out of it."""
    whole, bucket = _bytes(setup, setup.trainable.total), _bucket(setup)
    kept = whole if setup.accumulation > 1 else 0
    return Moments(Held(kept, 0), Held(kept, bucket), Held(whole, bucket), Held(_stepped(setup), 0))


def _zero2(setup: Setup) -> Moments:
    """A full bucket is flattened once more to be reduced; of the sum, each device keeps its part."""
    own, bucket = _share(setup), _bucket(setup)
    kept = own if setup.accumulation > 1 else 0
    earlier = math.ceil((_bytes(setup, setup.trainable.total) - bucket) / setup.fleet.world)  # what went before
    return Moments(
        Held(kept, 0),
        Held(kept, bucket + _early(setup)),
        Held(max(kept, earlier), 2 * bucket),
        Held(_stepped(setup), 0),
    )


def _zero3(setup: Setup, weights: int) -> Moments:
    """Bucket and parts of gradients are there from the beginning; a full bucket is sorted by device in a copy."""
    own, bucket = _parts(setup), _bucket(setup)
    there = bucket + gathered_bytes(setup, weights)
    copies = bucket if setup.cuda else 2 * bucket  # gloo, on a CPU, scatters by way of one more
    return Moments(
        Held(own, there),
        Held(own, there + _early(setup)),
        Held(own, there + copies),
        Held(0 if setup.offload else _stepped(setup), bucket),
    )


def _parts(setup: Setup) -> int:
    """A device's part of the gradients under ZeRO-3; offloaded it is the host's, with a float32 form beside it."""
    if setup.engine == "zero3-offload":
        return 0 if setup.offload else _stepped(setup)
    return _share(setup)


def gathered_bytes(setup: Setup, weights: int) -> int:
    """Bytes of weights that ZeRO-3 has put together again, of which it releases none that it soon needs."""
    return min(_LIVE * setup.weight_bytes, weights) if setup.zero3 else 0


def _early(setup: Setup) -> int:
    """Bytes of the copy to be reduced, where the first bucket is full while the activations are still there."""
    return _bucket(setup) if setup.trainable.total > BUCKET else 0


def _bucket(setup: Setup) -> int:
    return _bytes(setup, bucket_elements(setup.trainable.total))


def _share(setup: Setup) -> int:
    return math.ceil(_bytes(setup, setup.trainable.total) / setup.fleet.world)


def _stepped(setup: Setup) -> int:
    """A device's part of the gradients, and its float32 form for the optimizer."""
    return _share(setup) + math.ceil(setup.trainable.total * _FLOAT / setup.fleet.world)


def _bytes(setup: Setup, elements: int) -> int:
    return elements * setup.trained_bytes
