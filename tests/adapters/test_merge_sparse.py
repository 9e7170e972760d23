"""Rules on every number of dW: against plain dense references, cut exactly, repeatable, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.adapters.algebra import rowwise
from lft.adapters.algebra.rowwise import Dense, Draws, Surfaces, kept, largest, surface, surfaces, tile_rows
from lft.adapters.algebra.sparse import Breadcrumbs, Dare, Della, Magnitude, Ties, elected
from lft.adapters.deltas import Delta
from lft.adapters.merge import merge
from tests.merging import SHAPES, delta, dense, distance, generator, plan, sources

A, B, C = delta(1), delta(2, rank=5), delta(3)
NAMES = sorted(SHAPES)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of three rows, so that small matrices have several."""
    monkeypatch.setattr(rowwise, "TILE", 30)


def kept_top(matrix: torch.Tensor, keep: int) -> torch.Tensor:
    order = matrix.abs().flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(matrix.numel(), dtype=torch.bool)
    mask[order[:keep]] = True
    return mask.view(matrix.shape)


def merged(
    method: str, parameters: object, weights: dict[str, float] | None = None, **deltas: Delta
) -> dict[str, torch.Tensor]:
    given_ = deltas or {"a": A, "b": B}
    found = merge(plan(method, weights or dict.fromkeys(given_, 0.5), parameters), sources(**given_))
    return {name: found.tensor(name) for name in found.names()}


def dense32(low: Delta, name: str) -> torch.Tensor:
    return low.factors[name].b @ low.factors[name].a


VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 1e-45, -3.5, 3.4e38, 0.1, 0.10000001])


@settings(max_examples=150)
@given(
    st.lists(st.lists(VALUES, min_size=6, max_size=6), min_size=1, max_size=9), st.integers(0, 60), st.integers(1, 12)
)
def test_a_cut_keeps_exactly_the_k_largest_and_of_equal_ones_the_first(rows: list, keep: int, tile: int) -> None:
    before, rowwise.TILE = rowwise.TILE, tile
    try:
        matrix = torch.tensor(rows)
        own = surface(Delta({}, {"w": matrix}), "w")
        cut = largest([own], keep)
        found = torch.cat([cut.mask(values, 0, row) for row, values in own.tiles()])
    finally:
        rowwise.TILE = before
    assert torch.equal(found, kept_top(matrix, keep))


def test_a_cut_through_several_tensors_is_one_through_all_their_numbers(small_tiles: None) -> None:
    model = surfaces(A, "a")
    joined = torch.cat([dense32(A, name).flatten() for name in NAMES])
    cut = model.largest(100)
    found = torch.cat([cut.mask(v, n, row).flatten() for n, one in enumerate(model.all) for row, v in one.tiles()])
    assert torch.equal(found, kept_top(joined[None], 100)[0])
    assert isinstance(model, Surfaces)


def test_of_equal_numbers_in_several_tensors_the_first_stay() -> None:
    model = surfaces(Delta({}, {"x": torch.ones(2, 3), "y": torch.ones(2, 3), "z": torch.ones(2, 3)}), "a")
    cut = model.largest(8)
    found = [int(cut.mask(values, n, row).sum()) for n, one in enumerate(model.all) for row, values in one.tiles()]
    assert found == [6, 2, 0]


def test_a_share_is_the_decimal_that_was_written() -> None:
    assert [kept(0.29, 100), kept(0.3, 10), kept(1 / 3, 100)] == [29, 3, 33]


def test_magnitude_keeps_the_largest_of_each_then_sums(small_tiles: None) -> None:
    found = merged("magnitude", Magnitude(density=0.3, lambda_=2.0), {"a": 0.7, "b": -0.4})
    for name in NAMES:
        parts = [
            w * dense32(x, name) * kept_top(dense32(x, name), int(0.3 * dense32(x, name).numel()))
            for w, x in ((0.7, A), (-0.4, B))
        ]
        assert distance(found[name], 2 * sum(parts)) < 1e-5


def ties_reference(parts: list[torch.Tensor], density: float) -> torch.Tensor:
    """The paper's three steps, equal weights: trim, elect by the sum, mean of those that agree."""
    trimmed = [part * kept_top(part, int(density * part.numel())) for part in parts]
    stacked = torch.stack(trimmed)
    sign = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    agrees = (stacked.sign() == sign) & (stacked != 0)
    return (stacked * agrees).sum(0) / agrees.sum(0).clamp(min=1)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_with_equal_shares_is_the_papers(density: float, small_tiles: None) -> None:
    found = merged("ties", Ties(density=density), dict.fromkeys("abc", 1 / 3), a=A, b=B, c=C)
    for name in NAMES:
        assert distance(found[name], ties_reference([dense32(x, name) for x in (A, B, C)], density)) < 1e-5


def test_ties_over_the_whole_model_trims_by_one_threshold(small_tiles: None) -> None:
    big = Delta({**A.factors, NAMES[0]: type(A.factors[NAMES[0]])(A.factors[NAMES[0]].b * 100, A.factors[NAMES[0]].a)})
    found = merged("ties", Ties(density=0.3, scope="model"), {"a": 1.0}, a=big)
    joined = torch.cat([dense32(big, name).flatten() for name in NAMES])
    wanted = joined * kept_top(joined[None], int(0.3 * len(joined)))[0]
    assert torch.equal(torch.cat([found[name].flatten() for name in NAMES]), wanted)
    assert not found[NAMES[1]].any()


def test_election_is_by_weight() -> None:
    one, other = torch.tensor([[1.0, 1.0]]), torch.tensor([[-2.0, 2.0]])
    assert elected([one, other], [0.9, 0.1]).tolist() == [[1.0, pytest.approx(1.1)]]
    assert elected([one, other], [0.1, 0.9]).tolist() == [[-2.0, pytest.approx(1.9)]]
    assert elected([one, -one], [0.5, 0.5]).tolist() == [[1.0, 1.0]]  # a tie is a plus
    assert elected([one], [-1.0]).tolist() == [[-1.0, -1.0]]
    assert elected([one, other], [0.0, 0.0]).tolist() == [[0.0, 0.0]]


def test_breadcrumbs_drops_the_tips_and_the_dust(small_tiles: None) -> None:
    found = merged("breadcrumbs", Breadcrumbs(density=0.5, gamma=0.1), {"a": 1.0}, a=A)
    for name in NAMES:
        whole = dense32(A, name)
        size = whole.numel()
        wide, tips = kept_top(whole, int(0.5 * size) + int(0.1 * size)), kept_top(whole, int(0.1 * size))
        assert torch.equal(found[name], whole * (wide & ~tips))
        assert int((found[name] != 0).sum()) == int(0.5 * size)


def test_breadcrumbs_drops_fewer_tips_where_density_leaves_no_room() -> None:
    found = merged("breadcrumbs", Breadcrumbs(density=0.95, gamma=0.2), {"a": 1.0}, a=A)
    assert int((found[NAMES[0]] != 0).sum()) == pytest.approx(0.95 * found[NAMES[0]].numel(), abs=1)


def many(method: str, parameters: type, **also: float) -> torch.Tensor:
    """The mean over 300 seeds of the merge of A and B."""
    runs = [merged(method, parameters(seed=seed, **also), {"a": 0.7, "b": 0.3})[NAMES[0]] for seed in range(300)]
    return torch.stack(runs).mean(0)


def test_dare_is_the_weighted_sum_on_average() -> None:
    wanted = 0.7 * dense(A, NAMES[0]) + 0.3 * dense(B, NAMES[0])
    assert distance(many("dare", Dare, density=0.5), wanted) < 0.12  # sqrt(1/d - 1) / sqrt(300) = 0.058


def test_dares_survivors_are_scaled_and_as_many_as_its_density_says() -> None:
    low = Delta({"w": type(A.factors[NAMES[0]])(torch.ones(400, 1), torch.ones(1, 500))})
    found = merged("dare", Dare(density=0.25, seed=3), {"a": 1.0}, a=low)["w"]
    assert set(found.unique().tolist()) == {0.0, 4.0}
    assert float((found != 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    rows = (found != 0).float()
    assert abs(float(torch.corrcoef(rows[:2])[0, 1])) < 0.2  # rows have numbers of their own


def test_dellas_chances_grow_with_the_magnitude_and_its_survivors_are_scaled_by_them() -> None:
    row = torch.arange(1.0, 101.0)
    low = Delta({}, {"w": row.repeat(4000, 1)})
    found = merged("della", Della(density=0.5, epsilon=0.2, seed=1), {"a": 1.0}, a=low)["w"]
    stays = (found != 0).float().mean(0)
    chance = 0.3 + 0.4 * torch.arange(100) / 99
    assert float((stays - chance).abs().max()) < 0.04
    assert torch.allclose(found.max(0).values, row / chance, rtol=1e-5)
    assert distance(found.mean(0), row) < 0.05


def test_one_column_has_no_ranks_and_keeps_its_density() -> None:
    low = Delta({}, {"w": torch.ones(2000, 1)})
    found = merged("della", Della(density=0.5, epsilon=0.4), {"a": 1.0}, a=low)["w"]
    assert float((found != 0).float().mean()) == pytest.approx(0.5, abs=0.05)


STOCHASTIC = ["dare", "dare-ties", "della"]


@pytest.mark.parametrize("method", [*STOCHASTIC, "ties", "magnitude", "breadcrumbs"])
def test_blocks_of_any_size_have_the_same_bits(method: str, small_tiles: None) -> None:
    found = merge(plan(method, {"a": 0.6, "b": 0.4}), sources(a=A, b=B))
    for name in NAMES:
        whole = found.tensor(name)
        for rows in (1, 2, 5, 100):
            blocks = list(found.blocks(name, rows))
            assert [start for start, _ in blocks] == list(range(0, whole.shape[0], rows))
            assert torch.equal(torch.cat([block for _, block in blocks]), whole)
        assert torch.equal(found.dense[name].rows(4, 7), whole[4:7])


@pytest.mark.parametrize("method", STOCHASTIC)
def test_a_seed_repeats_and_another_does_not(method: str) -> None:
    kind = {"dare": Dare, "dare-ties": Dare, "della": Della}[method]
    one, again, other = (merged(method, kind(seed=seed))[NAMES[0]] for seed in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_random_numbers_do_not_depend_on_the_other_adapters() -> None:
    alone = merged("dare", Dare(seed=1), {"a": 1.0}, a=A)[NAMES[0]]
    beside = merged("dare", Dare(seed=1), {"a": 1.0, "z": 0.0}, a=A, z=C)[NAMES[0]]
    assert torch.equal(alone, beside)


def test_random_numbers_are_pinned() -> None:
    """They are part of what a certificate promises: the same for every version of lft."""
    found = Draws(3, "k", "w", 5).rows(1, 3)
    assert (found * 2**32).long().tolist() == PINNED
    wide = Draws(3, "k", "w", 100)  # 13 counters a row
    assert torch.equal(wide.rows(2, 5), torch.cat([wide.rows(2, 3), wide.rows(3, 5)]))
    assert not torch.equal(wide.rows(2, 3)[:, 8:], wide.rows(3, 4)[:, :-8])


PINNED = [
    [1917017984, 161507997, 1020252416, 1694243344, 1231610870],
    [4276591029, 1542665168, 2550416774, 2892440646, 1877889444],
]


def test_a_bias_is_merged_by_the_same_rule() -> None:
    bias = torch.randn(40, generator=generator(4))
    low = Delta(dict(A.factors), {"model.layers.0.self_attn.q_proj.bias": bias})
    found = merge(plan("ties", {"a": 1.0}, Ties(density=0.25)), sources(a=low))
    assert torch.equal(found.delta.added["model.layers.0.self_attn.q_proj.bias"], bias * kept_top(bias[None], 10)[0])


def test_a_full_matrix_and_factors_of_one_weight_are_one_surface(small_tiles: None) -> None:
    full = torch.randn(SHAPES[NAMES[0]], generator=generator(8))
    low = Delta({NAMES[0]: A.factors[NAMES[0]]}, {NAMES[0]: full})
    found = merged("magnitude", Magnitude(density=1.0), {"a": 1.0}, a=low)
    assert distance(found[NAMES[0]], dense(A, NAMES[0]) + full) < 1e-6


def test_a_dense_result_becomes_an_adapter_with_its_error_stated() -> None:
    found = merge(plan("ties", {"a": 0.5, "b": 0.5}, rank=6), sources(a=A, b=B))
    whole = merge(plan("ties", {"a": 0.5, "b": 0.5}), sources(a=A, b=B))
    assert found.is_adapter
    assert not whole.is_adapter
    said = found.certificate.compression
    assert said is not None
    for one in said.tensors:
        assert abs(float(one.error) - distance(dense(found.delta, one.tensor), whole.tensor(one.tensor))) < 1e-6
    assert found.certificate.exactness.startswith("dense rank-6{err=")


def test_tiles_are_rows_of_at_most_four_mebibytes() -> None:
    assert tile_rows(4096) * 4096 * 4 <= 4 * 2**20
    assert tile_rows(10**9) == 1


_PEAK = """
import resource, torch
torch.set_num_threads(1)
from lft.adapters.algebra.sparse import Ties
from lft.adapters.deltas import Delta, Factors
from tests.merging import plan, sources
from lft.adapters.merge import merge
def low(seed, n=SIDE):
    g = torch.Generator().manual_seed(seed)
    return Delta({"w": Factors(torch.randn(n, 4, generator=g), torch.randn(4, n, generator=g))})
given = sources(a=low(1), b=low(2))
small = sources(a=low(3, 64), b=low(4, 64))
def run(given):
    return sum(float(block.abs().sum()) for _, block in merge(plan("ties", {"a": .5, "b": .5}), given).blocks("w"))
run(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(given)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_is_a_few_tiles_however_large_the_tensor() -> None:
    """ru_maxrss never falls, so it is measured in a process of its own: 4096 x 4096 is 64 MiB a dense delta."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK.replace("SIDE", "4096")],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
    )  # fmt: skip
    assert float(done.stdout) < 64  # MiB: as one dense delta has; 42 were measured, here and at 8192 x 8192


def test_dense_rows_need_no_whole() -> None:
    asked: list[int] = []

    def rule(row: int) -> torch.Tensor:
        asked.append(row)
        return torch.full((tile_rows(1 << 18), 1 << 18), float(row))[:4]

    assert tile_rows(1 << 18) == 4
    one = Dense("w", (40, 1 << 18), rule)
    assert one.rows(5, 7)[:, 0].tolist() == [4.0, 4.0]
    assert asked == [4]
