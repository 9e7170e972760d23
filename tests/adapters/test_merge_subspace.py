"""Rules in a shared space: the factors are what the dense definition gives, however the deltas were factored."""

from __future__ import annotations

import pytest
import torch

from lft.adapters.algebra.exact import Sum, cat
from lft.adapters.algebra.method import Weighted
from lft.adapters.algebra.subspace import Trimmed, Tsv, core_space, knots, tsv_m
from lft.adapters.deltas import Factors
from tests.merging import distance, factors, generator

SHAPE = (30, 24)
INPUTS = [factors(1, SHAPE, 3), factors(2, SHAPE, 5, 0.1), factors(3, SHAPE, 2)]


def dense(one: Factors) -> torch.Tensor:
    return one.b.double() @ one.a.double()


def shares(weights: list[float], inputs: list[Factors] = INPUTS) -> list[Weighted]:
    return [Weighted(weight, one) for weight, one in zip(weights, inputs, strict=True)]


def top(matrix: torch.Tensor, density: float) -> torch.Tensor:
    keep = int(round(density * matrix.numel(), 6))
    mask = torch.zeros(matrix.numel(), dtype=torch.bool)
    mask[matrix.abs().flatten().argsort(descending=True, stable=True)[:keep]] = True
    return matrix * mask.view(matrix.shape)


def ties(parts: list[torch.Tensor], weights: list[float], density: float) -> torch.Tensor:
    weighted = torch.stack([w * top(part, density) for w, part in zip(weights, parts, strict=True)])
    sign = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agrees = (weighted.sign() == sign).double()
    size = torch.tensor([abs(w) for w in weights], dtype=torch.float64).view(-1, 1, 1)
    divisor = (agrees * size).sum(0)
    return (weighted * agrees).sum(0) * float(size.sum()) / torch.where(divisor > 0, divisor, 1.0)


@pytest.mark.parametrize("density", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("weights", [[1 / 3] * 3, [0.7, -0.4, 1.0]])
def test_knots_is_the_svd_of_all_deltas_side_by_side(density: float, weights: list[float]) -> None:
    u, s, vt = torch.linalg.svd(torch.cat([dense(one) for one in INPUTS], dim=1), full_matrices=False)
    live = s > 1e-7 * s[0]
    parts = [s[live, None] * part for part in vt[live].split(SHAPE[1], dim=1)]
    found = knots(shares(weights), Trimmed(density=density))
    assert found.rank == 10
    assert distance(dense(found), u[:, live] @ ties(parts, weights, density)) < 1e-5


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_core_space_is_ties_between_shared_bases(density: float) -> None:
    weights = [0.5, 0.3, 0.2]
    svds = [torch.linalg.svd(dense(one), full_matrices=False) for one in INPUTS]
    left = torch.cat([u[:, : f.rank] * s[: f.rank].sqrt() for (u, s, _), f in zip(svds, INPUTS, strict=True)], dim=1)
    right = torch.cat([vt[: f.rank].T * s[: f.rank].sqrt() for (_, s, vt), f in zip(svds, INPUTS, strict=True)], dim=1)
    u, v = (torch.linalg.svd(one, full_matrices=False)[0] for one in (left, right))
    cores = [u.T @ dense(one) @ v for one in INPUTS]
    assert all(distance(u @ core @ v.T, dense(one)) < 1e-10 for core, one in zip(cores, INPUTS, strict=True))
    found = core_space(shares(weights), Trimmed(density=density, lambda_=2.0))
    assert distance(dense(found), 2 * u @ ties(cores, weights, density) @ v.T) < 1e-5


@pytest.mark.parametrize("keep", [None, 2])
def test_tsv_m_is_the_procrustes_of_all_singular_vectors(keep: int | None) -> None:
    weights = [1.0, 0.5, -1.0]
    us, ss, vs = [], [], []
    for weight, one in zip(weights, INPUTS, strict=True):
        u, s, vt = torch.linalg.svd(dense(one), full_matrices=False)
        count = min(one.rank, keep or one.rank)
        us.append(u[:, :count])
        ss.append(weight * s[:count])
        vs.append(vt[:count].T)
    p_u, _, q_u = torch.linalg.svd(torch.cat(us, dim=1), full_matrices=False)
    p_v, _, q_v = torch.linalg.svd(torch.cat(vs, dim=1), full_matrices=False)
    wanted = (p_u @ q_u) @ torch.diag(torch.cat(ss)) @ (p_v @ q_v).T
    assert distance(dense(tsv_m(shares(weights), Tsv(keep=keep))), wanted) < 1e-5


def test_tsv_m_adds_orthogonal_adapters_and_counts_equal_ones_once() -> None:
    b, _ = torch.linalg.qr(torch.randn(30, 6, generator=generator(1)))
    a, _ = torch.linalg.qr(torch.randn(24, 6, generator=generator(2)))
    apart = [
        Factors(b[:, :3].contiguous(), a[:, :3].T.contiguous()),
        Factors(b[:, 3:].contiguous(), a[:, 3:].T.contiguous()),
    ]
    assert distance(dense(tsv_m(shares([1.0, 1.0], apart), Tsv())), dense(apart[0]) + dense(apart[1])) < 1e-5
    assert distance(dense(tsv_m(shares([1.0, 1.0], [INPUTS[0]] * 2), Tsv())), dense(INPUTS[0])) < 1e-5


@pytest.mark.parametrize("rule", [knots, core_space, tsv_m])
def test_the_result_depends_on_the_delta_and_not_on_its_factors(rule: object) -> None:
    g = torch.randn(5, 5, generator=generator(7)) + 3 * torch.eye(5)
    other = Factors((INPUTS[1].b @ g).contiguous(), torch.linalg.solve(g, INPUTS[1].a))
    p = Tsv() if rule is tsv_m else Trimmed(density=0.5)
    one = rule(shares([0.5, 0.3, 0.2]), p)  # type: ignore[operator]
    again = rule(shares([0.5, 0.3, 0.2], [INPUTS[0], other, INPUTS[2]]), p)  # type: ignore[operator]
    assert distance(dense(again), dense(one)) < 1e-3  # a number at the threshold may fall to the other side


@pytest.mark.parametrize("rule", [knots, core_space, tsv_m])
def test_zeros_and_short_ranks_do_no_harm(rule: object) -> None:
    zero = Factors(torch.zeros(30, 2), torch.zeros(2, 24))
    doubled = cat([Weighted(0.5, INPUTS[0]), Weighted(0.5, INPUTS[0])], Sum())  # rank 6 for a delta of rank 3
    p = Tsv() if rule is tsv_m else Trimmed(density=1.0)
    nothing = rule(shares([1.0, 1.0], [zero, zero]), p)  # type: ignore[operator]
    assert not dense(nothing).any()
    assert nothing.rank >= 1
    assert distance(dense(rule(shares([1.0], [doubled]), p)), dense(INPUTS[0])) < 1e-5  # type: ignore[operator]
