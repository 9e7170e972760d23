"""Making a run fit: the micro batch that memory allows, the engine, and ranked changes where nothing fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lft.plan.batch import auto_without_hardware, divisors
from lft.plan.hardware import DEVICES, Fleet
from lft.plan.memory import Memory, memory_of
from lft.plan.setup import checkpoints, setup_of, weight_bytes
from lft.plan.shape import ModelShape
from lft.plan.trainable import LORA_LIKE
from lft.recipe.schema import Recipe

_ENGINES: Final = ("ddp", "zero2", "zero3", "zero3-offload")
_ENOUGH: Final = 16_384  # tokens of one pass beyond which a GPU gains nothing


@dataclass(frozen=True, slots=True)
class Change:
    """One way to need less, with what it would need. ``overrides`` go on the command line; none means other devices."""

    words: str
    overrides: tuple[str, ...]
    memory: Memory
    fits: bool


@dataclass(frozen=True, slots=True)
class _Option:
    words: str
    values: Mapping[str, Any]  # dotted key of the recipe: new value
    fleet: Fleet


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some values changed, by dotted key."""
    for key, value in values.items():
        section, name = key.split(".")
        recipe = recipe.model_copy(update={section: getattr(recipe, section).model_copy(update={name: value})})
    return recipe


def auto_micro_batch(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> int:
    """What ``micro_batch_size: auto`` means on known devices: the most rows a pass that fit into their memory.

    At most 16,384 tokens a pass, and always a divisor of a device's share of the global batch. On a CPU, and where the
    memory is unknown, it is the rule of ``batch_plan``.
    """
    share = max(recipe.train.global_batch_size // fleet.world, 1)
    if not fleet.device.cuda or fleet.device.memory is None:
        return auto_without_hardware(share, recipe.data.max_length)
    allowed = [rows for rows in divisors(share) if rows == 1 or rows * recipe.data.max_length <= _ENOUGH]
    fitting = [rows for rows in allowed if _fits(_memory(recipe, shape, fleet, rows), fleet)]
    return max(fitting, default=1)


def micro_rows(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> int:
    """Rows of one pass: what the recipe says, or what auto means here."""
    said = recipe.train.micro_batch_size
    return auto_micro_batch(recipe, shape, fleet) if said == "auto" else said


def engine_for(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> str:
    """The recipe's engine; for several devices without one, the plainest that fits, else the one that needs least."""
    if recipe.launch.engine != "none" or fleet.world == 1:
        return recipe.launch.engine
    for engine in _ENGINES:
        changed = with_values(recipe, {"launch.engine": engine})
        if _fits(_memory(changed, shape, fleet, micro_rows(changed, shape, fleet)), fleet):
            return engine
    return _ENGINES[-1]


def changes(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> tuple[Change, ...]:
    """Ways to need less memory: those that fit first, each group from what costs nothing to what costs most.

    Where no single one fits, the last is the shortest list of them that does together, if there is one.
    """
    before = _memory(recipe, shape, fleet, micro_rows(recipe, shape, fleet)).total
    options = list(_options(recipe, shape, fleet))
    found = [_tried(recipe, shape, option) for option in options]
    useful = [change for change in found if change.memory.total < before or (change.fits and not change.overrides)]
    ranked = [change for change in useful if change.fits and change.overrides]
    ranked += [change for change in useful if change.fits and not change.overrides][:1]  # the smallest device
    ranked += sorted((c for c in useful if not c.fits), key=lambda c: c.memory.total)
    if not any(change.fits and change.overrides for change in ranked):
        ranked += _together(recipe, shape, fleet, options)
    return tuple(ranked)


def _together(recipe: Recipe, shape: ModelShape, fleet: Fleet, options: list[_Option]) -> list[Change]:
    """Changes added one after another, cheapest first, until it fits."""
    values: dict[str, Any] = {}
    total = _memory(recipe, shape, fleet, micro_rows(recipe, shape, fleet)).total
    for option in options:
        if not option.values or option.fleet != fleet:
            continue
        tried = _tried(recipe, shape, replace(option, words="together", values={**values, **option.values}))
        if tried.memory.total >= total:
            continue
        values, total = {**values, **option.values}, tried.memory.total
        if tried.fits:
            return [tried]
    return []


def _options(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> Iterator[_Option]:
    """All there is to try, in the order of what it costs: nothing, time, some quality, money."""
    yield from _free(recipe, shape, fleet)
    yield from _of_method(recipe, fleet)
    yield from _of_engine(recipe, fleet)
    length = recipe.data.max_length // 2
    if length >= 128:
        yield _Option(f"sequences of {length:,} tokens", {"data.max_length": length}, fleet)
    yield from _more_devices(recipe, fleet)


def _free(recipe: Recipe, shape: ModelShape, fleet: Fleet) -> Iterator[_Option]:
    if micro_rows(recipe, shape, fleet) > 1:
        yield _Option("one row a pass (same result)", {"train.micro_batch_size": 1}, fleet)
    if not checkpoints(recipe, fleet):
        key = "train.gradient_checkpointing"
        yield _Option("recompute activations (same result, a third slower)", {key: True}, fleet)
    if weight_bytes(recipe, fleet) == 4 and fleet.device.cuda and fleet.device.bfloat16:
        loses = " (small steps are lost)" if recipe.method.kind == "full" else ""
        yield _Option(f"weights in bfloat16{loses}", {"base.dtype": "bfloat16"}, fleet)


def _of_method(recipe: Recipe, fleet: Fleet) -> Iterator[_Option]:
    method, base = recipe.method, recipe.base
    lora = method.kind in LORA_LIKE or method.kind == "dora"
    if lora and base.quantize is None:
        yield _Option("base in 4 bit (QLoRA)", {"base.quantize": "nf4"}, fleet)
    elif base.quantize == "int8":
        yield _Option("base in 4 bit instead of 8", {"base.quantize": "nf4"}, fleet)
    if recipe.train.optimizer == "adamw" and method.kind == "full":
        yield _Option("optimizer states in 8 bit", {"train.optimizer": "adamw_8bit"}, fleet)
    if lora and method.r > 8:
        yield _Option("rank 8", {"method.r": 8}, fleet)
    if method.kind == "full":
        yield _Option("LoRA instead of full fine-tuning", {"method.kind": "lora"}, fleet)
        yield _Option("QLoRA instead of full fine-tuning", {"method.kind": "lora", "base.quantize": "nf4"}, fleet)


def _of_engine(recipe: Recipe, fleet: Fleet) -> Iterator[_Option]:
    words = {
        "zero2": "gradients and optimizer spread over the devices",
        "zero3": "weights spread over the devices too",
        "zero3-offload": "weights and optimizer in the host's memory (much slower)",
    }
    now = recipe.launch.engine
    later = {"none": 0, "ddp": 0, "zero1": 0, "zero2": 1, "zero3": 2, "zero3-offload": 3}[now]
    for engine in tuple(words)[later:]:
        if fleet.world > 1 or (engine == "zero3-offload" and fleet.device.cuda):
            yield _Option(words[engine], {"launch.engine": engine}, fleet)


def _more_devices(recipe: Recipe, fleet: Fleet) -> Iterator[_Option]:
    """Twice, four and eight times the devices under ZeRO-3, and the listed devices with more memory."""
    if fleet.device.cuda:
        for times in (2, 4, 8):
            more = replace(fleet, gpus=fleet.gpus * times)
            if recipe.train.global_batch_size % more.world == 0:
                yield _Option(f"{more} with zero3", {"launch.engine": "zero3"}, more)
    larger = [d for d in DEVICES if d.bfloat16 and (d.memory or 0) > (fleet.device.memory or 0)]
    for device in sorted(larger, key=lambda d: d.memory or 0) if fleet.device.cuda else ():
        other = replace(fleet, device=device)
        yield _Option(f"{other} ({(device.memory or 0) / 2**30:.0f} GiB each)", {}, other)


def _tried(recipe: Recipe, shape: ModelShape, option: _Option) -> Change:
    changed = with_values(recipe, option.values)
    memory = _memory(changed, shape, option.fleet, micro_rows(changed, shape, option.fleet))
    overrides = tuple(f"{key}={_written(value)}" for key, value in option.values.items())
    if option.fleet.gpus != recipe.launch.gpus:
        overrides += (f"launch.gpus={option.fleet.gpus}",)
    return Change(option.words, overrides, memory, _fits(memory, option.fleet))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _memory(recipe: Recipe, shape: ModelShape, fleet: Fleet, rows: int) -> Memory:
    return memory_of(setup_of(recipe, shape, fleet, rows))


def _fits(memory: Memory, fleet: Fleet) -> bool:
    return memory.fits(fleet.device.memory, fleet.host)
