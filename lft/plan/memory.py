"""Memory of one device, by part, at the moment when it is highest.

A training step has four such moments; what is in memory at each differs:

    loss      all kept activations and the chunk of logits
    backward  all kept activations and the gradients on their way through the last layer
    end       every gradient, activations gone
    step      every gradient, the optimizer's states and its scratch space
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from lft.plan.activations import (
    autocast_cache,
    hidden_gradients,
    kept_by_all,
    logits_at_once,
    recomputed,
    unreused,
    working,
)
from lft.plan.engines import Held, gathered_bytes, held_by_engine
from lft.plan.hardware import GIB, MIB, USABLE
from lft.plan.setup import Setup

_FLOAT: Final = 4
_CUDA_CONTEXT: Final = 600 * MIB  # context, cuBLAS and cuDNN workspaces
_NCCL: Final = 500 * MIB
_CPU_RUNTIME: Final = 545 * MIB  # resident after importing torch, transformers, PEFT and TRL
# Optimizer states of a parameter: PyTorch's in its own dtype, bitsandbytes' in bytes (8 bit with their constants).
_STATES: Final = {"adamw": 2.0, "adafactor": 0.01}
_STATE_BYTES: Final = {
    "paged_adamw": 8.0, "lion": 4.0, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "lion_8bit": 1.02,
    "paged_lion_8bit": 1.02,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device at the highest moment; ``host`` is what ZeRO-3 needs of one machine's own memory."""

    moment: str
    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    buffers: int
    allocator: int
    framework: int
    host: int

    @property
    def total(self) -> int:
        """All parts on the device."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.loss, self.buffers)
        return sum(parts) + self.allocator + self.framework

    def fits(self, capacity: int | None, host: int | None = None) -> bool:
        """Whether a device (and its machine) of so many bytes holds it, with room for the allocator's fragments."""
        on_device = capacity is None or self.total <= USABLE * capacity
        return on_device and (host is None or self.host <= USABLE * host)


def memory_of(setup: Setup) -> Memory:
    """The highest of the four moments."""
    return max(moments(setup), key=lambda moment: moment.total)


def moments(setup: Setup) -> tuple[Memory, ...]:
    """Memory at the loss, at the start of the backward pass, at its end, and in the optimizer's step."""
    head, dense = _head_gradient(setup), _dense_embedding_gradient(setup)
    kept, layer, chunk = kept_by_all(setup), recomputed(setup), logits_at_once(setup)
    hidden = hidden_gradients(setup)
    held = held_by_engine(setup, base_bytes(setup))
    start = Held(max(held.start.gradients, head), held.start.buffers)
    forward = kept + autocast_cache(setup)
    return (
        _moment(setup, "loss", held.loss, activations=forward, loss=chunk + hidden + 2 * head),
        _moment(setup, "start of the backward pass", start, kept + layer + working(setup), hidden + head),
        _moment(setup, "end of the backward pass", held.end, layer + working(setup), head + dense, freed=kept),
        _moment(setup, "optimizer step", held.step, scratch=_step_scratch(setup)),
    )


def _moment(
    setup: Setup, name: str, held: Held, activations: int = 0, loss: int = 0, freed: int = 0, scratch: int = 0
) -> Memory:
    """``freed`` is what the backward pass has given back by then."""
    return Memory(
        moment=name,
        weights=weights(setup),
        gradients=held.gradients,
        optimizer=_optimizer(setup) + scratch,
        activations=activations,
        loss=loss,
        buffers=held.buffers + _dequantized(setup),
        allocator=_fragments(setup, freed),
        framework=_framework(setup),
        host=_host(setup),
    )


def _fragments(setup: Setup, freed: int) -> int:
    """Bytes that a CPU's heap cannot give back: what the passes left, and in the backward pass the activations that it
    has freed, between which the gradients lie.
    """
    if setup.cuda:
        return 0
    return unreused(setup, gathered_bytes(setup, base_bytes(setup))) + freed


def weights(setup: Setup) -> int:
    """Bytes of base and adapter on one device."""
    whole = base_bytes(setup) + adapter_bytes(setup)
    if setup.offload:
        return 0
    return math.ceil(whole / setup.fleet.world) if setup.zero3 else whole


def base_bytes(setup: Setup) -> int:
    """Bytes of the base in memory, quantised where it is."""
    shape, size = setup.shape, setup.weight_bytes
    if setup.quantize is None:
        return shape.total * size
    linear = shape.quantizable
    return round(linear * _quantized_bytes(setup)) + (shape.total - linear) * size


def _quantized_bytes(setup: Setup) -> float:
    """Bytes of one quantised weight: 4 bit and a float32 a block of 64, itself in 8 bit blocks of 256 (QLoRA §3)."""
    if setup.quantize == "int8":
        return 1.0 + _FLOAT / 4096
    return 0.5 + (1 / 64 + _FLOAT / (64 * 256) if setup.double_quant else _FLOAT / 64)


def adapter_bytes(setup: Setup) -> int:
    """Bytes of what is trained beside the base; PEFT keeps it in float32."""
    return 0 if setup.trainable.full else setup.trainable.total * _FLOAT


def result_bytes(setup: Setup) -> int:
    """Bytes of what is saved: the adapter, or in full fine-tuning the model."""
    return base_bytes(setup) if setup.trainable.full else adapter_bytes(setup)


def _optimizer(setup: Setup) -> int:
    """States on the device, and under DeepSpeed the float32 copy of what is trained."""
    if setup.offload:
        return 0
    whole = optimizer_bytes(setup)
    return math.ceil(whole / setup.fleet.world) if setup.zero else whole


def optimizer_bytes(setup: Setup) -> int:
    """Bytes of the optimizer's states over all devices, and of the float32 copy that DeepSpeed steps on.

    It makes that copy of float32 weights too: all stages clone before they convert.
    """
    count, size = setup.trainable.total, _FLOAT if setup.zero else setup.trained_bytes
    master = _FLOAT if setup.zero else 0
    if setup.optimizer in _STATE_BYTES:
        return round(count * (_STATE_BYTES[setup.optimizer] + master))
    return round(count * (_STATES[setup.optimizer] * size + master))


def _step_scratch(setup: Setup) -> int:
    """AdamW on CUDA works on all parameters at once and holds one more tensor of each; a CPU goes one by one."""
    if setup.optimizer != "adamw":
        return 0
    if not setup.cuda:
        largest = setup.shape.vocabulary * setup.shape.embedding_width if setup.trainable.full else 0
        return largest * setup.weight_bytes
    spread = setup.fleet.world if setup.zero else 1
    size = _FLOAT if setup.zero else setup.trained_bytes
    return 0 if setup.offload else math.ceil(setup.trainable.total * size / spread)


def _head_gradient(setup: Setup) -> int:
    """The loss takes the head's gradient chunk by chunk and holds its sum until the backward pass is over."""
    shape = setup.shape
    return shape.vocabulary * shape.embedding_width * setup.weight_bytes if setup.trainable.full else 0


def _dense_embedding_gradient(setup: Setup) -> int:
    """A trained row, an added token's too, makes PyTorch build the gradient of the whole embedding."""
    shape = setup.shape
    trained = setup.trainable.full or setup.trainable.tokens
    return shape.vocabulary * shape.embedding_width * setup.weight_bytes if trained else 0


def _dequantized(setup: Setup) -> int:
    """The one matrix that is dequantised at the time."""
    if setup.quantize is None:
        return 0
    return max(one.inputs * one.outputs for one in setup.shape.linears) * setup.compute_bytes


def _framework(setup: Setup) -> int:
    if not setup.cuda:
        return _CPU_RUNTIME
    return _CUDA_CONTEXT + (_NCCL if setup.fleet.world > 1 else 0)


def _host(setup: Setup) -> int:
    """Bytes of one machine's own memory: each process loads the whole base before ZeRO-3 takes it apart, and offloading
    keeps the machine's share of weights, states and gradients there.
    """
    if not setup.zero3:
        return 0
    loading = setup.fleet.gpus * base_bytes(setup)
    gradients = setup.trainable.total * (_FLOAT + setup.trained_bytes)  # in the optimizer's dtype and in their own
    whole = base_bytes(setup) + adapter_bytes(setup) + optimizer_bytes(setup) + gradients
    kept = round(whole * setup.fleet.gpus / setup.fleet.world) if setup.offload else 0
    return max(loading, kept) + 2 * GIB
