"""What decides memory and time, taken from a recipe and the hardware once, so that the formulas read as formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lft.plan.hardware import Fleet
from lft.plan.shape import ModelShape
from lft.plan.trainable import Trainable, trainable_of
from lft.recipe.schema import Optimizer, Recipe

Engine = Literal["none", "ddp", "zero1", "zero2", "zero3", "zero3-offload"]


@dataclass(frozen=True, slots=True)
class Setup:
    """One training step on one device.

    ``weight_bytes`` is the size of a weight in memory, ``compute_bytes`` that of an activation; ``row_tokens`` the
    length of a row, and of either side of a pair for an encoder-decoder.
    """

    shape: ModelShape
    trainable: Trainable
    fleet: Fleet
    engine: Engine
    weight_bytes: int
    compute_bytes: int
    quantize: Literal["nf4", "fp4", "int8"] | None
    double_quant: bool
    rank: int
    adapter_dropout: float
    optimizer: Optimizer
    micro_rows: int
    accumulation: int
    row_tokens: int
    checkpointing: bool

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.fleet.device.cuda

    @property
    def zero(self) -> bool:
        """Whether DeepSpeed holds the optimizer."""
        return self.engine.startswith("zero")

    @property
    def zero3(self) -> bool:
        """Whether the weights are spread over the devices."""
        return self.engine.startswith("zero3")

    @property
    def offload(self) -> bool:
        """Whether weights and optimizer states lie in the host's memory, apart from the device's."""
        return self.engine == "zero3-offload" and self.cuda

    @property
    def trained_bytes(self) -> int:
        """Size of one trained parameter: the base's own in full fine-tuning, float32 in an adapter."""
        return self.weight_bytes if self.trainable.full else 4

    @property
    def tokens(self) -> int:
        """Tokens of one pass through a stack; `max_length` bounds each side of a pair by itself."""
        return self.micro_rows * self.row_tokens


def setup_of(recipe: Recipe, shape: ModelShape, fleet: Fleet, micro_rows: int) -> Setup:
    """The recipe's training step on this hardware with so many rows a pass.

    Raises:
        RecipeError: target modules that match nothing.
    """
    train, devices = recipe.train, fleet.world
    per_device = max(train.global_batch_size // devices, 1)
    return Setup(
        shape=shape,
        trainable=trainable_of(recipe, shape),
        fleet=fleet,
        engine=recipe.launch.engine,
        weight_bytes=weight_bytes(recipe, fleet),
        compute_bytes=compute_bytes(recipe, fleet),
        quantize=recipe.base.quantize,
        double_quant=recipe.base.double_quant,
        rank=recipe.method.r,
        adapter_dropout=recipe.method.dropout,
        optimizer=train.optimizer,
        micro_rows=micro_rows,
        accumulation=max(per_device // micro_rows, 1),
        row_tokens=recipe.data.max_length,
        checkpointing=checkpoints(recipe, fleet),
    )


def weight_bytes(recipe: Recipe, fleet: Fleet) -> int:
    """Bytes of one weight in memory.

    Full fine-tuning under auto keeps float32 weights where DeepSpeed holds no float32 copy of them: AdamW's small steps
    are lost in bfloat16.
    """
    full = recipe.method.kind == "full" and not recipe.launch.engine.startswith("zero")
    return 4 if full and recipe.base.dtype == "auto" else compute_bytes(recipe, fleet)


def compute_bytes(recipe: Recipe, fleet: Fleet) -> int:
    """Bytes of one activation: auto is bfloat16 where the device computes it fast, else float32."""
    dtype, device = recipe.base.dtype, fleet.device
    if dtype == "auto":
        return 2 if device.cuda and device.bfloat16 else 4
    return 4 if dtype == "float32" else 2


def checkpoints(recipe: Recipe, fleet: Fleet) -> bool:
    """Whether activations are recomputed: auto is on for a GPU, off on a CPU."""
    wanted = recipe.train.gradient_checkpointing
    return fleet.device.cuda if wanted == "auto" else wanted
