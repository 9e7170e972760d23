"""Weights by few-shot loss: known optima are found, the same for the same seed, within the bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lft.adapters.search import BOUND, PENALTY, search


def bowl(centre: list[float]):
    def loss(weights: tuple[float, ...]) -> float:
        return float(sum((w - c) ** 2 for w, c in zip(weights, centre, strict=True)))

    return loss


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("centre", [[0.7], [0.7, -0.4], [0.5, 0.0, -1.2, 0.9]])
def test_the_lowest_point_of_a_bowl_is_found(centre: list[float], seed: int) -> None:
    found = search(bowl(centre), len(centre), trials=400, seed=seed, penalty=0.0)
    assert np.allclose(found.weights, centre, atol=0.02)


def test_the_penalty_draws_weights_towards_zero_by_as_much_as_it_weighs() -> None:
    """(w - c)^2 + 0.05 |w| / 2 is lowest at c - 0.0125, and at 0 for a c below that."""
    found = search(bowl([0.02, 0.005]), 2, trials=600)
    assert np.allclose(found.weights, [0.0075, 0.0], atol=0.001)
    assert found.objective == pytest.approx(found.loss + PENALTY * float(np.abs(found.weights).mean()))


def test_an_optimum_beyond_the_bound_is_met_at_it() -> None:
    found = search(bowl([3.0, 0.0]), 2, trials=400, penalty=0.0)
    assert found.weights[0] == pytest.approx(BOUND, abs=0.02)
    assert all(abs(w) <= BOUND for trial in found.trace for w in trial.weights)


def test_the_trace_says_every_trial_and_repeats_by_seed() -> None:
    asked: list[tuple[float, ...]] = []

    def loss(weights: tuple[float, ...]) -> float:
        asked.append(weights)
        return bowl([0.3, 0.1])(weights)

    found = search(loss, 2, trials=50, seed=4)
    assert [trial.weights for trial in found.trace] == asked
    assert asked[0] == (0.0, 0.0)
    assert search(loss, 2, trials=50, seed=4) == found
    assert search(loss, 2, trials=50, seed=5) != found
    best = [trial.objective for trial in found.trace if trial.better]
    assert best == sorted(best, reverse=True)
    assert found.objective == min(trial.objective for trial in found.trace) == best[-1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_worse_than_any(bad: float) -> None:
    found = search(lambda w: bad if w[0] > 0.2 else bowl([1.0])(w), 1, trials=200, penalty=0.0)
    assert 0.1 < found.weights[0] <= 0.2
    start = search(lambda w: bad if abs(w[0]) < 0.1 else bowl([1.0])(w), 1, trials=200, penalty=0.0)
    assert start.weights[0] == pytest.approx(1.0, abs=0.02)
    nothing = search(lambda _: bad, 1, trials=5)
    assert nothing.weights == (0.0,)


def test_a_narrow_valley_between_two_adapters_is_followed() -> None:
    """w1 + w2 = 1 matters 100 times more than where on it."""
    found = search(lambda w: 100 * (w[0] + w[1] - 1) ** 2 + (w[0] - 0.8) ** 2, 2, trials=1500, penalty=0.0, seed=1)
    assert np.allclose(found.weights, [0.8, 0.2], atol=0.1)


@pytest.mark.parametrize("also", [{"count": 0}, {"trials": 0}, {"start": [1.0]}, {"start": [2.0, 0.0]}])
def test_what_cannot_be_searched_is_said(also: dict) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        search(bowl([0.0, 0.0]), also.pop("count", 2), **also)
