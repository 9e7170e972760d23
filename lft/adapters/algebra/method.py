"""What a merge method is: a function, its typed parameters, and what it promises. None is known without them.

| class | the result, measured against the method's own definition |
|---|---|
| exact | factors that hold it, up to one rounding to float32 |
| rank-k | factors that were cut to a rank k; the error is known and written down |
| dense | a full matrix, computed row by row; cut to a rank only where an adapter is asked for |
| stochastic | as dense, drawn at random; the seed makes it repeatable |
| compat | what PEFT computes, faults included |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

import torch

from lft.adapters.deltas import Factors

Exactness = Literal["exact", "rank-k", "dense", "stochastic", "compat"]
Form = Literal["factors", "dense", "peft"]
Identity = Literal["one", "equals", "zero", "order"]
"""merge([a],[1]) = a · merge([a,a],[.5,.5]) = a · merge([a],[0]) = 0 · the order of inputs changes no bit."""
Share = Literal["mean", "sum"]
"""What a weight is where none is given: 1/T (adapters are averaged) or 1 (they are added up)."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """One adapter's low-rank change of one tensor, and its weight there.

    ``all_weights`` is the sum of |w| of the whole merge here, adapters that leave the tensor alone included: they are
    zeros, and a mean is over them too. None: those at hand are all.
    """

    weight: float
    factors: Factors
    all_weights: float | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """One way to merge.

    ``linear``: the result is the weighted sum of the deltas. ``breaks``: identities that its mathematics cannot keep
    at its default parameters, with the reason. ``neutral``: parameters at which it changes nothing that need not be
    changed (density 1); there only ``always_breaks`` may fail.
    """

    name: str
    run: Callable[..., Any]
    form: Form
    exactness: Exactness
    parameters: type[Any]
    paper: str
    linear: bool = False
    share: Share = "mean"
    breaks: Mapping[Identity, str] = field(default_factory=lambda: MappingProxyType({}))
    neutral: Any = None
    always_breaks: frozenset[Identity] = frozenset()

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.run.__doc__ or "").strip().splitlines()[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """The parameters as they are written in YAML."""
        return tuple(written(f.name) for f in dataclasses.fields(self.parameters))


def written(name: str) -> str:
    """A parameter's name in YAML: ``lambda`` is no name in Python."""
    return name.rstrip("_")


METHODS: dict[str, Method] = {}
Run = TypeVar("Run", bound=Callable[..., Any])


def method(
    name: str,
    *,
    form: Form,
    exactness: Exactness,
    parameters: type[Any],
    paper: str,
    linear: bool = False,
    share: Share = "mean",
    breaks: Mapping[Identity, str] | None = None,
    neutral: Any = None,
    always_breaks: Sequence[Identity] = (),
) -> Callable[[Run], Run]:
    """Put a function into the table of methods.

    Raises:
        ValueError: the class of exactness is none of the five, the parameters are no frozen dataclass, the function
            has no docstring, or the name is taken.
    """
    if exactness not in get_args(Exactness):
        raise ValueError(f"{name}: {exactness!r} is no class of exactness; one of {', '.join(get_args(Exactness))}")
    frozen = dataclasses.is_dataclass(parameters) and parameters.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen:
        raise ValueError(f"{name}: its parameters are no frozen dataclass")

    def put(run: Run) -> Run:
        if name in METHODS or not run.__doc__:
            raise ValueError(f"{name}: {'it is there already' if name in METHODS else 'it has no docstring'}")
        METHODS[name] = Method(
            name, run, form, exactness, parameters, paper, linear, share,
            MappingProxyType(dict(breaks or {})), neutral, frozenset(always_breaks),
        )  # fmt: skip
        return run

    return put


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be; ``open_low`` leaves the lower bound itself out."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False

    def __str__(self) -> str:
        parts = [f"{'above' if self.open_low else 'from'} {self.low:g}"] if self.low is not None else []
        return " ".join([*parts, *([f"up to {self.high:g}"] if self.high is not None else [])])

    def holds(self, value: float) -> bool:
        """Whether a number is within."""
        low = self.low is None or (value > self.low if self.open_low else value >= self.low)
        return low and (self.high is None or value <= self.high)


def number(
    default: float, help: str, low: float | None = None, high: float | None = None, *, above: bool = False
) -> Any:
    """A parameter that is a number within bounds."""
    return field(default=default, metadata={"help": help, "bounds": Bounds(low, high, above)})


def whole_number(default: int | None, help: str, low: int) -> Any:
    """A parameter that is a whole number."""
    return field(default=default, metadata={"help": help, "bounds": Bounds(low), "whole": True})


def scaled(tensor: torch.Tensor, by: float) -> torch.Tensor:
    """``by`` * tensor in float32, rounded once; exactly the tensor for 1."""
    return tensor if by == 1 else (tensor.double() * by).float()
