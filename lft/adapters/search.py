"""Weights of a weighted sum found by few-shot loss, without gradients (LoraHub, https://arxiv.org/abs/2307.13269).

    objective(w) = loss(w) + 0.05 mean|w|      w in [-1.5, 1.5]

LoraHub applies the weights to A and B apart and searches with nevergrad; here they are those of ``cat``, so the search
is over models that are exact sums, and the optimiser is a (1+1) evolution strategy with the 1/5 success rule
(Rechenberg 1973): a step that succeeded widens the next ones by e^(1/3), one that failed narrows them by e^(-1/12), so
that one success in five keeps the width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

BOUND = 1.5
PENALTY = 0.05
_WIDER, _NARROWER = math.exp(1 / 3), math.exp(-1 / 12)
_LEAST_STEP = 1e-4


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of weights, its loss, the loss with the penalty, and whether it was the best so far."""

    weights: tuple[float, ...]
    loss: float
    objective: float
    better: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The best weights, and every trial in order."""

    weights: tuple[float, ...]
    loss: float
    objective: float
    trace: tuple[Trial, ...]


def search(
    loss: Callable[[tuple[float, ...]], float],
    count: int,
    *,
    trials: int = 100,
    seed: int = 0,
    start: Sequence[float] | None = None,
    penalty: float = PENALTY,
    bound: float = BOUND,
) -> Found:
    """Find weights of adapters by a loss.

    Args:
        loss: of the model with these weights, on a few examples; not finite counts as worse than anything.
        count: adapters.
        trials: how often the loss may be asked.
        seed: of the random steps.
        start: where to begin; zeros (the base alone) by default, as LoraHub.
        penalty: of mean|w|.
        bound: largest |w|.

    Returns:
        The best weights seen and the trace; the same for the same loss, seed and start.

    Raises:
        ValueError: no adapter, no trial, or a start of another length or out of bounds.
    """
    best = np.zeros(count) if start is None else np.asarray(start, dtype=np.float64)
    if count < 1 or trials < 1 or best.shape != (count,) or not bool((np.abs(best) <= bound).all()):
        raise ValueError(f"{count} adapters, {trials} trials and a start of {best.shape} within {bound} do not fit")
    random, step = np.random.Generator(np.random.Philox(seed)), bound / 3
    first = _trial(loss, best, penalty, math.inf)
    trace = [first]
    for _ in range(trials - 1):
        candidate = _reflected(best + step * random.standard_normal(count), bound)
        trial = _trial(loss, candidate, penalty, trace_best(trace).objective)
        trace.append(trial)
        step = max(min(step * (_WIDER if trial.better else _NARROWER), bound), _LEAST_STEP)
        best = candidate if trial.better else best
    found = trace_best(trace)
    return Found(found.weights, found.loss, found.objective, tuple(trace))


def trace_best(trace: Sequence[Trial]) -> Trial:
    """The last trial that was the best so far (the first one, where none was finite)."""
    return next((trial for trial in reversed(trace) if trial.better), trace[0])


def _trial(loss: Callable[[tuple[float, ...]], float], at: Vector, penalty: float, best: float) -> Trial:
    weights = tuple(float(value) for value in at)
    value = float(loss(weights))
    objective = value + penalty * float(np.abs(at).mean())
    if math.isnan(objective):
        objective = math.inf
    return Trial(weights, value, objective, objective < best)


def _reflected(at: Vector, bound: float) -> Vector:
    """Steps over the edge come back by as much; clipping would pile them up on it."""
    folded = np.abs((at + bound) % (4 * bound) - 2 * bound)
    return np.asarray(bound - folded, dtype=np.float64)
