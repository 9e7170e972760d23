"""What factors say about a merge is what the dense deltas say; the advice follows from it and fits 80 columns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.adapters.advice import WIDTH, advise, table
from lft.adapters.deltas import Delta, Factors
from tests.merging import SHAPES, delta, dense, factors, generator


def flat(low: Delta, names: list[str]) -> torch.Tensor:
    parts = [dense(low, n).flatten() if n in low.factors else torch.zeros(SHAPES[n]).double().flatten() for n in names]
    return torch.cat(parts)


def within(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """one on the column and row space of other, by dense projectors."""
    u, s, vt = torch.linalg.svd(other, full_matrices=False)
    live = s > 1e-7 * s[0]
    u, v = u[:, live], vt[live].T
    return u @ (u.T @ one @ v) @ v.T


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.1, 1.0, 5.0])), min_size=2, max_size=4),
    st.integers(0, 1000),
)
def test_norms_cosines_and_overlaps_are_those_of_the_dense_deltas(adapters: list, seed: int) -> None:
    made = {f"a{n}": delta(seed + n, rank, scale=scale) for n, (rank, scale) in enumerate(adapters)}
    last = next(reversed(made))
    made[last] = Delta({n: f for n, f in made[last].factors.items() if "mlp" in n})  # not everywhere
    found = advise(made)
    groups = {
        "all": sorted(SHAPES),
        "mlp": [n for n in SHAPES if "mlp" in n],
        "layer 1": [n for n in SHAPES if ".1." in n],
    }
    for group in (found.total, *(g for g in found.groups if g.name in groups)):
        names = groups[group.name]
        assert group.tensors == len(names)
        for i, one in enumerate(made.values()):
            norm = float(flat(one, names).norm())
            assert group.norms[i] == pytest.approx(norm, rel=1e-6, abs=1e-9)
            for j, other in enumerate(made.values()):
                a, b = flat(one, names), flat(other, names)
                size = float(a.norm() * b.norm())
                assert group.cosines[i][j] == pytest.approx(float(a @ b) / size if size else 0.0, abs=1e-6)
                shared = [n for n in names if n in one.factors and n in other.factors]
                part = sum(float(within(dense(one, n), dense(other, n)).square().sum()) for n in shared) ** 0.5
                assert group.overlaps[i][j] == pytest.approx(part / norm if norm else 0.0, abs=1e-5)


BIG = {f"model.layers.{n}.{part}.weight": (300, 200) for n in range(2) for part in ("self_attn.q_proj", "mlp.up_proj")}


def like(low: Delta, by: float, seed: int = 50) -> Delta:
    """A delta near another: by times it, and a little of its own."""
    made = {}
    for n, (name, one) in enumerate(low.factors.items()):
        own = factors(seed + n, one.shape, 1, 0.1)
        made[name] = Factors(torch.cat([by * one.b, own.b], dim=1), torch.cat([one.a, own.a]))
    return Delta(made)


def same_directions(low: Delta) -> Delta:
    """Of the same spaces, but independent."""
    made = {}
    for n, (name, one) in enumerate(low.factors.items()):
        made[name] = Factors((one.b @ torch.randn(one.rank, one.rank, generator=generator(n))).contiguous(), one.a)
    return Delta(made)


LOW = delta(1, 4, BIG)


@pytest.mark.parametrize(
    ("other", "method", "why"),
    [
        (delta(2, 4, BIG), "cat", "hardly touch"),
        (like(LOW, 1.0), "model-stock", "same way"),
        (like(LOW, -0.9), "ties", "pull against each other"),
    ],
)
def test_the_method_follows_from_the_angles(other: Delta, method: str, why: str) -> None:
    found = advise({"a": LOW, "b": other})
    assert found.method == method
    assert why in found.reason


def test_shared_directions_without_a_shared_angle_are_interference() -> None:
    found = advise({"a": LOW, "b": same_directions(LOW)})
    assert found.total.overlaps[0][1] == pytest.approx(1.0, abs=1e-6)
    if -0.1 <= found.total.cosines[0][1] <= 0.7:
        assert found.method == "tsv-m"


def test_a_strong_and_a_dead_adapter_are_named() -> None:
    strong = Delta({n: Factors(10 * f.b, f.a) for n, f in delta(2, 4, BIG).factors.items()})
    dead = Delta({n: Factors(0 * f.b, f.a) for n, f in LOW.factors.items()}, {"x.bias": torch.ones(3)})
    found = advise({"weak": LOW, "strong": strong, "dead": dead})
    assert any("strong is 10." in note and "as strong as weak" in note for note in found.warnings)
    assert "dead is zero" in found.warnings
    assert found.skipped == 1


def test_the_table_fits_80_columns_whatever_the_names() -> None:
    many = {f"somebody/with-a-very-long-name-{n}:1.0.{n}": delta(n, 2) for n in range(8)}
    lines = table(advise(many))
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert all(word in text for word in ("first 6 of 8", "attention", "mlp", "layer 1", "take "))
    alone = table(advise({"a": delta(1)}))
    assert any("one adapter alone" in line for line in alone)


def test_nothing_dense_is_made() -> None:
    """Two million rows by two million columns would be 16 TB."""
    wide = {"w": (2_000_000, 2_000_000)}
    found = advise({"a": delta(1, 1, wide), "b": delta(2, 1, wide)})
    assert found.total.cosines[0][1] == pytest.approx(0.0, abs=0.01)
