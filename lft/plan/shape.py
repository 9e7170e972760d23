"""The shape of a model: how many layers of which sizes, and so how many parameters and where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Part = Literal["embedding", "attention", "mlp", "norms", "head"]
Side = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class Linear:
    """One kind of linear layer.

    ``path`` is the module's name in transformers, with {} for the number of the layer where each layer has one.
    ``source`` names the tensor it reads: linears of one stack and source share it.
    """

    path: str
    inputs: int
    outputs: int
    bias: bool
    count: int
    part: Part
    source: str
    side: Side = "decoder"

    @property
    def weights(self) -> int:
        """Elements of the weight matrices, over all layers."""
        return self.inputs * self.outputs * self.count

    @property
    def parameters(self) -> int:
        """Weights and biases, over all layers."""
        return self.weights + (self.outputs * self.count if self.bias else 0)

    @property
    def per_layer(self) -> bool:
        """Whether each layer of a stack has one."""
        return "{}" in self.path

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rsplit(".", 1)[-1]

    def paths(self) -> Iterator[str]:
        """The name of each module of this kind."""
        return (self.path.format(number) for number in range(self.count))


@dataclass(frozen=True, slots=True)
class Stack:
    """Equal layers on top of each other, with all that decides what training keeps of them.

    ``kept`` counts tensors of the intermediate width that the activation keeps for the backward pass; ``shares_kept``
    says that the last of them is also what the down projection reads (ReLU). ``norm_inputs`` counts the tensors of the
    hidden width that the norms of a layer read (one where two norms read the same).
    """

    side: Side
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    norm: Literal["rms", "layer"]
    norm_inputs: int
    kept: int
    shares_kept: bool = False
    cross: bool = False
    fused_qkv: bool = False
    qk_norm: bool = False
    relative: bool = False
    dropout: float = 0.0
    dropouts: int = 0
    attention_dropout: float = 0.0
    softcap: bool = False
    window: int | None = None

    @property
    def width(self) -> int:
        """All heads side by side."""
        return self.heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Parts:
    """Parameters by part; ``head`` is 0 where it is the embedding."""

    embedding: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + self.attention + self.mlp + self.norms + self.head


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model without its weights. ``embedding_width`` differs from ``hidden`` in OPT-350m alone."""

    family: str
    hidden: int
    vocabulary: int
    embedding_width: int
    positions: int | None
    tied: bool
    stacks: tuple[Stack, ...]
    linears: tuple[Linear, ...]
    parts: Parts
    file_bits: int | None = None  # bits a weight has in the files, where they were looked at

    @property
    def encoder_decoder(self) -> bool:
        """Whether there is an encoder."""
        return len(self.stacks) > 1

    @property
    def decoder(self) -> Stack:
        """The stack that writes."""
        return self.stacks[-1]

    @property
    def layers(self) -> int:
        """Layers of all stacks."""
        return sum(stack.layers for stack in self.stacks)

    @property
    def total(self) -> int:
        """All parameters, tied ones once."""
        return self.parts.total

    @property
    def quantizable(self) -> int:
        """Elements of the linear layers but the head: what bitsandbytes quantises."""
        return sum(linear.weights for linear in self.linears)

    @property
    def layer_parameters(self) -> int:
        """Parameters of the largest layer, about: what ZeRO-3 gathers at once."""
        return math.ceil((self.parts.attention + self.parts.mlp) / self.layers)
