"""Sums of deltas are sums of deltas; what compression leaves out is what it says; angles come from factors alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.adapters.algebra.compress import compress, compress_dense, spectrum
from lft.adapters.algebra.exact import Stock, Sum, cat, cosine, inner, model_stock
from lft.adapters.algebra.method import Weighted
from lft.adapters.algebra.rowwise import Dense, surface
from lft.adapters.deltas import Delta, Factors, content_digest
from lft.adapters.merge import merge
from lft.adapters.weights import ByLayer, ByPattern
from lft.errors import InputError, RecipeError
from tests.merging import SHAPES, delta, dense, distance, factors, generator, plan, source, sources

Q0 = "model.layers.0.self_attn.q_proj.weight"
Q1 = "model.layers.1.self_attn.q_proj.weight"
UP = "model.layers.0.mlp.up_proj.weight"

ADAPTER = st.tuples(
    st.integers(1, 6),  # rank
    st.sampled_from([1.0, 2.0, 16.0, 5.5]),  # alpha
    st.booleans(),  # rsLoRA
    st.floats(-2, 2, allow_nan=False).map(lambda w: round(w, 3)),
    st.sets(st.sampled_from(sorted(SHAPES)), min_size=1),  # targets
)


@settings(max_examples=40)
@given(st.lists(ADAPTER, min_size=1, max_size=4))
def test_cat_is_the_weighted_sum_for_any_ranks_scales_signs_and_targets(adapters: list) -> None:
    made, wanted = {}, {}
    for seed, (r, alpha, rs, weight, targets) in enumerate(adapters):
        scale = alpha / (math.sqrt(r) if rs else r)
        low = {}
        for n, name in enumerate(sorted(targets)):
            raw = factors(seed * 50 + n, SHAPES[name], r)
            low[name] = Factors((raw.b.double() * scale).float(), raw.a)
            wanted[name] = wanted.get(name, 0) + weight * scale * (raw.b.double() @ raw.a.double())
        made[f"a{seed}"] = Delta(low)
    weights = {ref: adapter[3] for ref, adapter in zip(made, adapters, strict=True)}
    found = merge(plan("cat", weights), sources(**made)).delta
    assert set(found.factors) == set(wanted)
    size = max(float(one.norm()) for one in wanted.values())
    for name, one in wanted.items():
        assert float((dense(found, name) - one).norm()) <= 1e-5 * max(size, 1.0)
        assert found.factors[name].rank == sum(a[0] for a in adapters if name in a[4])


def test_lambda_scales_the_sum_and_biases() -> None:
    low = Delta({Q0: factors(1, SHAPES[Q0], 2)}, {"model.layers.0.self_attn.q_proj.bias": torch.ones(12)})
    found = merge(plan("cat", {"a": 0.5}, Sum(lambda_=3.0)), sources(a=low)).delta
    assert distance(dense(found, Q0), 1.5 * dense(low, Q0)) < 1e-6
    assert found.added["model.layers.0.self_attn.q_proj.bias"].tolist() == [1.5] * 12


def test_a_weight_of_one_changes_no_bit() -> None:
    low = delta(1)
    found = merge(plan("cat", {"a": 1.0}), sources(a=low)).delta
    assert content_digest(found) == content_digest(low)


def test_an_adapter_given_twice_is_one_of_its_own_rank() -> None:
    low = delta(1)
    found = merge(plan("cat", {"a": 0.1, "b": 0.9}), sources(a=low, b=low)).delta
    assert content_digest(found) == content_digest(low)


def test_subtracting_an_adapter_takes_it_away() -> None:
    a, b = delta(1), delta(2, rank=5)
    both = merge(plan("cat", {"a": 1.0, "b": 1.0}), sources(a=a, b=b)).delta
    left = merge(plan("cat", {"ab": 1.0, "b": -1.0}), {"ab": source("ab", both), "b": source("b", b)}).delta
    assert all(distance(dense(left, name), dense(a, name)) < 1e-5 for name in SHAPES)


def test_weights_by_pattern_and_by_layer() -> None:
    a = delta(1)
    by_pattern = merge(plan("cat", {"a": ByPattern((("*.mlp.*", 0.5), ("*", 2.0)))}), sources(a=a)).delta
    assert distance(dense(by_pattern, UP), 0.5 * dense(a, UP)) < 1e-6
    assert distance(dense(by_pattern, Q1), 2 * dense(a, Q1)) < 1e-6
    by_layer = merge(plan("cat", {"a": ByLayer((1.0, -1.0))}), sources(a=a)).delta
    assert distance(dense(by_layer, Q0), dense(a, Q0)) < 1e-6
    assert distance(dense(by_layer, Q1), -dense(a, Q1)) < 1e-6


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        (ByPattern((("*", 1.0), ("*.mlp.*", 2.0))), "'*.mlp.*' decides no tensor"),
        (ByPattern((("*.mlpp.*", 1.0), ("*", 2.0))), "'*.mlpp.*' decides no tensor"),
        (ByPattern((("*.mlp.*", 1.0),)), "no pattern gives a weight for model.layers.0.self_attn"),
        (ByLayer((1.0,)), "1 weights for 2 layers"),
        (ByLayer((1.0, 1.0, 1.0)), "3 weights for 2 layers"),
    ],
)
def test_weights_that_decide_nothing_are_refused(weight: object, what: str) -> None:
    with pytest.raises(RecipeError) as raised:
        merge(plan("cat", {"a": weight}), sources(a=delta(1)))
    assert what in str(raised.value)


def test_adapters_of_other_shapes_are_refused_by_name() -> None:
    other = Delta({Q0: factors(3, (14, 10), 2)})
    with pytest.raises(InputError, match=r"q_proj.weight is \[12, 10\] in a and \[14, 10\] in b|is \[14, 10\] in b"):
        merge(plan("cat", {"a": 1.0, "b": 1.0}), sources(a=delta(1), b=other))


@settings(max_examples=40)
@given(
    st.integers(2, 20), st.integers(2, 20), st.integers(1, 24), st.integers(1, 24), st.integers(0, 10**6),
    st.sampled_from([1e-6, 1.0, 1e4]),
)  # fmt: skip
def test_the_error_reported_is_the_error_measured_and_the_least(
    m: int, n: int, r: int, rank: int, seed: int, scale: float
) -> None:
    own = factors(seed, (m, n), r, scale)
    found = compress(own, rank)
    exact = own.b.double() @ own.a.double()
    measured = distance(found.factors.b.double() @ found.factors.a.double(), exact)
    s = torch.linalg.svdvals(exact)
    least = float(s[rank:].norm() / s.norm())
    assert abs(found.error - measured) < 1e-6
    assert abs(found.error - least) < 1e-6
    assert found.factors.rank <= rank
    assert found.norm == pytest.approx(float(exact.norm()))


def test_compression_to_the_rank_there_is_loses_nothing() -> None:
    own = factors(1, (30, 20), 4)
    stacked = cat([Weighted(0.5, own), Weighted(0.5, own)], Sum())
    found = compress(stacked, tolerance=0.0)
    assert (stacked.rank, found.factors.rank) == (8, 4)
    assert distance(found.factors.b @ found.factors.a, own.b @ own.a) < 1e-6


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 0.01])
def test_a_tolerance_takes_the_least_rank_that_keeps_it(tolerance: float) -> None:
    own = factors(1, (40, 30), 20)
    found = compress(own, tolerance=tolerance)
    assert found.error <= tolerance
    s = spectrum(own).s
    fewer = found.factors.rank - 1
    assert fewer == 0 or float(s[fewer:].norm() / s.norm()) > tolerance


def test_a_zero_delta_compresses_to_a_zero_of_rank_one() -> None:
    found = compress(Factors(torch.zeros(5, 3), torch.ones(3, 4)), tolerance=0.1)
    assert (found.factors.rank, found.error, found.norm) == (1, 0.0, 0.0)
    assert not found.factors.b.any()


@pytest.mark.parametrize("shape", [(60, 50), (700, 500)], ids=["exact", "randomized"])
def test_a_dense_delta_is_cut_to_a_rank_with_the_error_measured(shape: tuple[int, int]) -> None:
    random = generator(3)
    matrix = torch.randn(shape, generator=random) + 3 * torch.randn(shape[0], 8, generator=random) @ torch.randn(
        8, shape[1], generator=random
    )
    own = surface(Delta({}, {"w": matrix}), "w")
    found = compress_dense(Dense("w", own.shape, own.tile), 12)
    measured = distance(found.factors.b.double() @ found.factors.a.double(), matrix)
    s = torch.linalg.svdvals(matrix.double())
    assert abs(found.error - measured) < 1e-9
    assert found.error <= float(s[12:].norm() / s.norm()) * 1.01
    again = compress_dense(Dense("w", own.shape, own.tile), 12)
    assert torch.equal(found.factors.b, again.factors.b)


def test_inner_products_and_cosines_need_no_dense_matrix() -> None:
    one, other = factors(1, (40, 30), 4), factors(2, (40, 30), 7)
    left, right = one.b.double() @ one.a.double(), other.b.double() @ other.a.double()
    assert inner(one, other) == pytest.approx(float((left * right).sum()), rel=1e-9)
    assert cosine(one, other) == pytest.approx(float((left * right).sum() / left.norm() / right.norm()), abs=1e-12)
    assert cosine(one, Factors(torch.zeros(40, 1), torch.zeros(1, 30))) == 0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_model_stock_is_the_papers_ratio_times_the_mean(count: int) -> None:
    shared = factors(9, (20, 15), 2)
    inputs = [cat([Weighted(1.0, shared), Weighted(1.0, factors(n, (20, 15), 3))], Sum()) for n in range(count)]
    flat = [(one.b.double() @ one.a.double()).flatten() for one in inputs]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    cos = sum(float(flat[i] @ flat[j] / flat[i].norm() / flat[j].norm()) for i, j in pairs) / len(pairs)
    t = count * cos / (1 + (count - 1) * cos)
    found = model_stock([Weighted(1 / count, one) for one in inputs], Stock())
    assert 0 < t < 1
    assert distance((found.b @ found.a).flatten(), t * sum(flat) / count) < 1e-5


def test_model_stock_of_opposites_is_the_base() -> None:
    one = factors(1, (20, 15), 3)
    apart = cat([Weighted(-0.3, one), Weighted(0.3, factors(2, (20, 15), 3))], Sum())
    assert -1 < cosine(one, apart) < -0.3
    found = model_stock([Weighted(0.5, one), Weighted(0.5, apart)], Stock())
    assert not (found.b @ found.a).any()
    found = model_stock([Weighted(0.5, one), Weighted(0.5, Factors(-one.b, one.a))], Stock())
    assert not (found.b @ found.a).any()


def test_a_full_matrix_adds_up_under_cat_and_is_refused_by_methods_of_factors() -> None:
    full = torch.randn(SHAPES[Q0], generator=generator(5))
    a, b = Delta({}, {Q0: full}), delta(2)
    both = merge(plan("cat", {"a": 0.5, "b": 2.0}), sources(a=a, b=b))
    assert distance(both.tensor(Q0), 0.5 * full + 2 * dense(b, Q0)) < 1e-6
    assert not both.is_adapter
    with pytest.raises(InputError, match=r"a changes .*q_proj\.weight by a full matrix"):
        merge(plan("knots", {"a": 0.5, "b": 0.5}), sources(a=a, b=b))


def test_compression_in_a_merge_states_its_error() -> None:
    a, b = delta(1, rank=4), delta(2, rank=4)
    whole = merge(plan("cat", {"a": 1.0, "b": 1.0}), sources(a=a, b=b))
    cut = merge(plan("cat", {"a": 1.0, "b": 1.0}, rank=4), sources(a=a, b=b))
    said = cut.certificate.compression
    assert said is not None
    lost = {name: distance(dense(cut.delta, name), dense(whole.delta, name)) for name in SHAPES}
    assert {one.tensor: pytest.approx(float(one.error), abs=1e-6) for one in said.tensors} == lost
    assert float(said.worst.error) == pytest.approx(max(lost.values()), abs=1e-6)
    assert cut.certificate.exactness.startswith("rank-4{err=0.")
    assert whole.certificate.exactness == "exact"


def test_foreign_adapters_of_different_bases_do_not_merge() -> None:
    made = {ref: replace(source(ref, delta(seed)), named=f"org/{ref}") for seed, ref in enumerate(("x", "y"))}
    with pytest.raises(InputError, match="trained on different bases: x on org/x, y on org/y"):
        merge(plan("cat", {"x": 0.5, "y": 0.5}), made)
