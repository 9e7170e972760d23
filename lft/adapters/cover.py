"""Whether an adapter covers a base, from headers only: every tensor of it maps to exactly one of the base's, and every
module that it says it adapts has its tensors.

A part that does not fit is the mistake that is seen least: PEFT loads what matches and says nothing of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lft.adapters.adapter import Adapter, LowRank, TokenRows, Whole
from lft.adapters.configuration import Configuration, layer_pattern
from lft.adapters.patterns import NAME
from lft.base.embeddings import is_head, is_input
from lft.base.files import read_json
from lft.base.headers import read_headers
from lft.recipe.problems import listed, shown

# Families whose layers are transformers' Conv1D: the weight lies there as n x m.
CONV1D: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})


@dataclass(frozen=True, slots=True)
class BaseTensors:
    """Names and shapes of a base's tensors, and its config.json."""

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, Any]

    @property
    def layers(self) -> int | None:
        """Number of layers, where config.json says it plainly."""
        text = self.config.get("text_config")
        for said in (self.config, text if isinstance(text, dict) else {}):
            if type(count := said.get("num_hidden_layers")) is int:
                return count
        return None

    def stored(self, name: str) -> str | None:
        """The tensor that a model's parameter is stored as.

        Some checkpoints leave out the name of the inner model (GPT-2's "transformer."), others have one that a model
        without a head has not.
        """
        if name in self.shapes:
            return name
        inner = name.partition(".")[2]
        if inner in self.shapes:
            return inner
        longer = [one for one in self.shapes if one.partition(".")[2] == name]
        if len(longer) == 1:
            return longer[0]
        if is_head(name):
            tied = [one for one in self.shapes if is_input(one)]
            return "shared.weight" if "shared.weight" in tied else tied[0] if len(tied) == 1 else None
        return None


def base_tensors(folder: Path) -> BaseTensors:
    """Names and shapes of a base folder. Raises InputError when its files are not whole."""
    config = read_json(folder / "config.json")
    shapes = {info.name: info.shape for info in read_headers(folder)}
    return BaseTensors(folder, shapes, config if isinstance(config, dict) else {})


def faults(adapter: Adapter, base: BaseTensors) -> list[str]:
    """What of an adapter does not fit a base, one line each; none means that it covers what it says it does."""
    taken: dict[str, str] = {}
    found: list[str] = []
    for low in adapter.low_rank:
        found += _pair_faults(low, base, taken)
    for whole in adapter.whole:
        found += _whole_faults(whole, base)
    for rows in adapter.rows:
        found += _rows_faults(rows, adapter, base)
    return found + list(_untouched(adapter, base))


def is_transposed(low: LowRank, base: BaseTensors) -> bool:
    """Whether the base stores this module's weight as n x m, by its shape, and where that is square by its family.

    The configuration cannot tell: PEFT corrects ``fan_in_fan_out`` by the layer at hand, silently.
    """
    if low.embedding:
        return False
    rows, columns = low.b.shape[0], low.a.shape[1]
    name = base.stored(f"{low.module}.weight")
    shape = base.shapes[name] if name else ()
    if rows != columns and shape in ((rows, columns), (columns, rows)):
        return shape == (columns, rows)
    return base.config.get("model_type") in CONV1D


def oriented(adapter: Adapter, base: BaseTensors) -> Adapter:
    """The adapter with ``transposed`` of its pairs as the base at hand has them."""
    turned = tuple(replace(low, transposed=is_transposed(low, base)) for low in adapter.low_rank)
    return replace(adapter, low_rank=turned)


def _pair_faults(low: LowRank, base: BaseTensors, taken: dict[str, str]) -> Iterator[str]:
    name = base.stored(f"{low.module}.weight")
    if name is None:
        yield f"the base has no {low.module}"
        return
    head = is_head(low.module)  # tied to the embedding, which may have a pair of its own
    if taken.setdefault(name, low.module) != low.module and not head:
        yield f"{low.module} and {taken[name]} are both {name} in the base"
    shape, wanted = base.shapes[name], low.delta_shape
    turned = not low.embedding and shape == wanted[::-1] and is_transposed(low, base) != low.transposed
    if shape != wanted and not turned:
        yield f"{low.module} is {_size(wanted)} in the adapter and {_size(shape)} in the base"


def _whole_faults(whole: Whole, base: BaseTensors) -> Iterator[str]:
    name = base.stored(whole.tensor)
    if name is None:
        yield f"the base has no {whole.tensor}"
        return
    shape, given = base.shapes[name], whole.info.shape
    grown = len(shape) == len(given) == 2 and given[0] > shape[0] and given[1:] == shape[1:]
    if given != shape and not (grown and (is_input(whole.tensor) or is_head(whole.tensor))):
        yield f"{whole.tensor} is {_size(given)} in the adapter and {_size(shape)} in the base"


def _rows_faults(rows: TokenRows, adapter: Adapter, base: BaseTensors) -> Iterator[str]:
    name = base.stored(f"{rows.module}.weight")
    if name is None:
        yield f"the base has no {rows.module}"
        return
    shape = base.shapes[name]
    if shape[1:] != rows.info.shape[1:]:
        yield f"rows of {rows.module} are {rows.info.shape[1]} wide in the adapter and {_size(shape[1:])} in the base"
    there = max(shape[0], adapter.binding.rows if adapter.binding else 0)
    if max(rows.tokens) >= there:
        yield f"{rows.module} has {there:,} rows, and the adapter trained row {max(rows.tokens):,}"


def _untouched(adapter: Adapter, base: BaseTensors) -> Iterator[str]:
    """Modules of the base that the configuration says are adapted, and are not; names that match none."""
    said = adapter.configuration
    if said.target_modules is None or said.target_modules == "all-linear" or not said.is_lora:
        return
    adapted = {low.module for low in adapter.low_rank}
    stored = {base.stored(f"{module}.weight") for module in adapted}
    left = [
        module
        for module, name in _modules(adapter, base)
        if name not in stored and is_target(said, module) and ".experts." not in module
    ]
    if left:
        yield f"{len(left)} modules of the base should be adapted and are not: {listed(left, limit=3)}"
    for target in said.target_modules if isinstance(said.target_modules, tuple) else ():
        if not any(module == target or module.endswith(f".{target}") for module in adapted):
            yield f"target_modules names {shown(target)}, and nothing of that name is adapted"


def _modules(adapter: Adapter, base: BaseTensors) -> Iterator[tuple[str, str]]:
    """The base's matrices as (module by the adapter's way of naming, stored tensor)."""
    outer = _outer(adapter, base)
    for name, shape in base.shapes.items():
        module = name.removesuffix(".weight")
        if len(shape) == 2 and name.endswith(".weight") and not _beyond(module, base.layers):
            yield (f"{outer}{module}" if outer else module), name


def _outer(adapter: Adapter, base: BaseTensors) -> str:
    """What the adapter's names have in front that the base's have not."""
    for low in adapter.low_rank:
        name = base.stored(f"{low.module}.weight")
        if name and f"{low.module}.weight" != name and low.module.endswith(f".{name.removesuffix('.weight')}"):
            return low.module.removesuffix(name.removesuffix(".weight"))
    return ""


def _beyond(module: str, layers: int | None) -> bool:
    """Whether a module is no part of the model that is loaded: layers for predicting several tokens at once."""
    found = re.search(r"(?:^|\.)(?:layers|h|block|blocks)\.(\d{1,6})\.", module)
    return module.startswith("mtp.") or bool(layers is not None and found and int(found[1]) >= layers)


def is_target(said: Configuration, module: str) -> bool:
    """Whether PEFT would adapt a module (``peft.tuners.tuners_utils.check_target_module_exists``)."""
    targets = said.target_modules
    if targets is None or (len(module) > NAME and said.patterns) or _excluded(said, module):
        return False
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    if module in targets:
        return True
    if not any(module.endswith(f".{target}") for target in targets):
        return False
    return said.layers_to_transform is None or _layer(said, module) in said.layers_to_transform


def _excluded(said: Configuration, module: str) -> bool:
    excluded = said.exclude_modules
    if isinstance(excluded, str) and re.fullmatch(excluded, module):
        return True
    if isinstance(excluded, tuple) and any(module == one or module.endswith(f".{one}") for one in excluded):
        return True
    return any(f".{one}." in f".{module}." for one in said.modules_to_save)


def _layer(said: Configuration, module: str) -> int | None:
    """The first number in a module's name that PEFT takes for its layer."""
    patterns = [layer_pattern(one) for one in said.layers_pattern] or [r".*?\.[^.]*\.(\d+)\."]
    for pattern in patterns:
        if found := re.match(pattern, module):
            return int(found[1])
    return None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)
