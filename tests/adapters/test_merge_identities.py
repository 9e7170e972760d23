"""The gate: what any method of merging must keep, and for each that cannot, why; no exception without need."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
import torch

from lft.adapters.algebra import method as registry
from lft.adapters.algebra.method import METHODS, Method
from lft.adapters.algebra.table import FILES
from lft.adapters.certificate import Certificate
from lft.adapters.deltas import Delta, Factors, content_digest
from lft.adapters.merge import Merged, merge
from tests.merging import SHAPES, delta, dense, distance, plan, sources

ALL = sorted(METHODS)
A, B, C = delta(1), delta(2), delta(3)
IDENTITIES = ("one", "equals", "zero", "order")


def run(one: Method, weights: dict[str, float], parameters: object = None, **deltas: object) -> Merged:
    found = one.parameters() if parameters is None else parameters
    return merge(plan(one.name, weights, found), sources(**deltas))  # type: ignore[arg-type]


def same(found: Merged, wanted: object, by: float = 1.0) -> bool:
    return all(distance(found.tensor(name), by * dense(wanted, name)) < 1e-5 for name in SHAPES)  # type: ignore[arg-type]


def digest(found: Merged) -> str:
    return content_digest(found.delta) + "".join(str(found.tensor(name).numpy().tobytes()) for name in found.dense)


def keeps(one: Method, identity: str, parameters: object) -> bool:
    if identity == "one":
        return same(run(one, {"a": 1.0}, parameters, a=A), A)
    if identity == "equals":
        return same(run(one, {"a": 0.5, "b": 0.5}, parameters, a=A, b=A), A)
    if identity == "zero":
        return same(run(one, {"a": 0.0}, parameters, a=A), A, by=0.0)
    inputs = {"a": (0.5, A), "b": (0.3, B), "c": (-0.2, C)}
    results = {
        digest(run(one, {ref: inputs[ref][0] for ref in order}, parameters, **{ref: inputs[ref][1] for ref in order}))
        for order in permutations(inputs)
    }
    return len(results) == 1


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("name", ALL)
def test_each_method_keeps_the_identities_that_it_does_not_except(name: str, identity: str) -> None:
    one = METHODS[name]
    assert keeps(one, identity, one.parameters()) == (identity not in one.breaks), one.breaks.get(identity)  # type: ignore[call-overload]


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("name", [name for name in ALL if METHODS[name].breaks])
def test_where_nothing_is_dropped_only_what_always_breaks_may_break(name: str, identity: str) -> None:
    one = METHODS[name]
    assert one.neutral is not None
    assert one.always_breaks <= set(one.breaks)
    assert keeps(one, identity, one.neutral) == (identity not in one.always_breaks)


@pytest.mark.parametrize("name", [name for name in ALL if METHODS[name].linear])
def test_linear_methods_are_the_weighted_sum(name: str) -> None:
    found = run(METHODS[name], {"a": 0.7, "b": -0.3}, None, a=A, b=B)
    assert all(distance(found.tensor(n), 0.7 * dense(A, n) - 0.3 * dense(B, n)) < 1e-5 for n in SHAPES)


@pytest.mark.parametrize("name", ALL)
def test_each_method_says_what_it_is_and_how_exact(name: str) -> None:
    one = METHODS[name]
    found = run(one, {"a": 0.5, "b": 0.5}, None, a=A, b=B).certificate
    assert one.paper.startswith("https://")
    assert one.summary.endswith(".")
    assert found.exactness.startswith(one.exactness)
    assert ("seed" in one.keys) == ("seed" in found.exactness) == (found.seed is not None)
    assert one.exactness != "stochastic" or "seed" in one.keys
    assert all(dataclasses.fields(one.parameters)[n].metadata["help"] for n in range(len(one.keys)))
    assert isinstance(found, Certificate)


def test_the_table_is_the_functions_of_its_files() -> None:
    assert {one.run.__module__ for one in METHODS.values()} == {file.__name__ for file in FILES}
    assert len({one.run for one in METHODS.values()}) == len(METHODS)


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No parameters."""


def documented(inputs: object, p: Nothing) -> None:
    """Does nothing."""


def test_no_method_is_registered_without_a_class_of_exactness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", {})
    put = registry.method
    with pytest.raises(TypeError, match="exactness"):
        put("x", form="factors", parameters=Nothing, paper="https://x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="'good' is no class of exactness"):
        put("x", form="factors", exactness="good", parameters=Nothing, paper="https://x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no frozen dataclass"):
        put("x", form="factors", exactness="exact", parameters=dict, paper="https://x")
    put("x", form="factors", exactness="exact", parameters=Nothing, paper="https://x")(documented)
    with pytest.raises(ValueError, match="there already"):
        put("x", form="factors", exactness="exact", parameters=Nothing, paper="https://x")(documented)


@pytest.mark.parametrize("name", [name for name in ALL if METHODS[name].form != "peft"])
def test_an_adapter_that_leaves_a_tensor_alone_is_a_zero_there(name: str) -> None:
    one = METHODS[name]
    lone = Delta({n: f for n, f in A.factors.items() if "mlp" in n})
    zeros = {n: Factors(torch.zeros(m, 2), torch.zeros(2, k)) for n, (m, k) in SHAPES.items()}
    filled = Delta({**zeros, **lone.factors})
    chosen = plan(name, {"a": 0.6, "b": 0.5, "c": -0.2})
    results = []
    for first in (lone, filled):
        given = sources(a=first, b=B, c=C)
        given["a"] = dataclasses.replace(given["a"], digest="a")  # the key of its random numbers
        results.append(merge(chosen, given))
    for tensor in SHAPES:
        assert distance(results[0].tensor(tensor), results[1].tensor(tensor)) < 1e-5
    assert one.name == results[0].certificate.method


def test_random_numbers_leave_torchs_generator_alone() -> None:
    for name in ALL:
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        run(METHODS[name], {"a": 0.5, "b": 0.5}, None, a=A, b=B)
        assert torch.equal(before, torch.random.get_rng_state()), name
