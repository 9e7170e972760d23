"""Rules in a shared low-rank space: the result is low-rank, so its factors hold it whole; nothing dense is made.

Each begins with the thin SVDs of the deltas, so what comes out depends on dW alone and not on how it was factored.

| | here | paper's code |
|---|---|---|
| KnOTS: directions dropped | singular values below 1e-7 of the largest | below 1e-5, whatever the scale |
| KnOTS, Core Space: where numbers are trimmed | in each tensor | over the whole flattened model |
| Core Space: bases | of the balanced factors U sqrt(S), sqrt(S) V^T | of A and B as trained |
| TSV-M: directions kept | all (``keep`` for fewer) | 1/T of the full rank of each |
| TSV-M: where U or V are short of rank | polar factor on their range | whatever the SVD completes |
| weights | shares (KnOTS, Core Space), factors of S_i (TSV-M) | one factor of the result |
| biases | by weighted sum | another column (KnOTS), the mean (TSV-M) |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lft.adapters.algebra.compress import NOISE, Spectrum, spectrum
from lft.adapters.algebra.method import Identity, Weighted, method, number, whole_number
from lft.adapters.algebra.rowwise import kept
from lft.adapters.algebra.sparse import elected
from lft.adapters.deltas import Factors

_TRIMS: dict[Identity, str] = {
    "one": "coordinates are dropped, so one adapter alone comes out changed",
    "equals": "coordinates are dropped, so two equal adapters come out changed",
}


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Parameters of TIES in a shared space."""

    density: float = number(0.2, "share of the coordinates that is kept", 0, 1, above=True)
    lambda_: float = number(1.0, "factor of the result")


@dataclass(frozen=True, slots=True)
class Tsv:
    """Parameters of TSV-M."""

    keep: int | None = whole_number(None, "singular directions kept of each adapter (null: all)", 1)
    lambda_: float = number(1.0, "factor of the result, alpha in the paper")


@method(
    "knots", form="factors", exactness="exact", parameters=Trimmed, paper="https://arxiv.org/abs/2410.19735",
    breaks=_TRIMS, neutral=Trimmed(density=1.0),
)  # fmt: skip
def knots(inputs: Sequence[Weighted], p: Trimmed) -> Factors:
    """KnOTS: deltas in the column space that all share, [D_1 .. D_T] = U S [V_1 .. V_T]^T; TIES on S V_i^T.

    Args:
        inputs: shares in one tensor, each b [m x r], a [r x n].
        p: density and lambda of TIES.

    Returns:
        b = U [m x p], a = TIES(S V_i^T) [p x n], p at most the sum of the ranks.

    Source: https://arxiv.org/abs/2410.19735 (KnOTS-TIES)
    """
    q_b, r_b = torch.linalg.qr(torch.cat([one.factors.b for one in inputs], dim=1).double())
    right = [torch.linalg.qr(one.factors.a.double().T) for one in inputs]  # a^T = q r
    ranks = [one.factors.rank for one in inputs]
    blocks = zip(r_b.split(ranks, dim=1), right, strict=True)
    u, s, vt = torch.linalg.svd(torch.cat([left @ r_a.T for left, (_, r_a) in blocks], dim=1), full_matrices=False)
    count = int((s > NOISE * s[:1]).sum())
    widths = [q.shape[1] for q, _ in right]
    coordinates = [
        (s[:count, None] * share) @ q.T for share, (q, _) in zip(vt[:count].split(widths, dim=1), right, strict=True)
    ]
    merged = _ties(coordinates, inputs, p)
    return _factors(q_b @ u[:, :count], merged)


@method(
    "core-space", form="factors", exactness="exact", parameters=Trimmed, paper="https://arxiv.org/abs/2509.17786",
    breaks=_TRIMS, neutral=Trimmed(density=1.0),
)  # fmt: skip
def core_space(inputs: Sequence[Weighted], p: Trimmed) -> Factors:
    """Core Space: deltas as small cores between bases that all share, D_i = U_B M_i V_A^T; TIES on the cores.

    Args:
        inputs: shares in one tensor.
        p: density and lambda of TIES.

    Returns:
        b = U_B M [m x R], a = V_A^T [R x n], R at most the sum of the ranks. The bases are the left singular vectors
        of the stacked balanced factors; M_i = U_B^T D_i V_A loses nothing.

    Source: https://arxiv.org/abs/2509.17786 (Core Space with TIES)
    """
    spectra = [spectrum(one.factors) for one in inputs]
    u_b = _basis([one.u * one.s.sqrt() for one in spectra])
    v_a = _basis([one.v * one.s.sqrt() for one in spectra])
    cores = [(u_b.T @ one.u * one.s) @ (one.v.T @ v_a) for one in spectra]
    merged = _ties(cores, inputs, p)
    return _factors(u_b @ merged, v_a.T)


@method(
    "tsv-m", form="factors", exactness="exact", parameters=Tsv, paper="https://arxiv.org/abs/2412.00081", share="sum",
    breaks={"equals": "equal directions are made orthogonal to each other, which counts them once: weights of 1 "
                      "give back the adapter, weights of 1/2 half of it"},
    neutral=Tsv(), always_breaks=("equals",),
)  # fmt: skip
def tsv_m(inputs: Sequence[Weighted], p: Tsv) -> Factors:
    """TSV-Merge: singular vectors of all adapters side by side, made orthogonal (Procrustes), then summed.

    Args:
        inputs: shares in one tensor; adapters are added up, so weights of 1 are the paper's.
        p: directions kept of each, alpha.

    Returns:
        b = alpha U' S W, a = V'^T, with U' and V' the nearest matrices with orthonormal columns to [U_1 .. U_T] and
        [V_1 .. V_T]. Where those are short of rank (adapters that share directions), U' and V' are nearest on their
        range: the shared direction is counted once.

    Source: https://arxiv.org/abs/2412.00081
    """
    spectra = [_first(spectrum(one.factors), p.keep) for one in inputs]
    u = _orthogonal(torch.cat([one.u for one in spectra], dim=1))
    v = _orthogonal(torch.cat([one.v for one in spectra], dim=1))
    s = torch.cat([one.s * (share.weight * p.lambda_) for one, share in zip(spectra, inputs, strict=True)])
    return _factors(u * s, v.T)


def _ties(values: Sequence[torch.Tensor], inputs: Sequence[Weighted], p: Trimmed) -> torch.Tensor:
    trimmed = [_largest(value, p.density) for value in values]
    return elected(trimmed, [one.weight for one in inputs], inputs[0].all_weights) * p.lambda_


def _largest(values: torch.Tensor, density: float) -> torch.Tensor:
    """The floor(density * size) largest magnitudes, of equal ones the first in row-major order."""
    count = kept(density, values.numel())
    if count >= values.numel():
        return values
    order = values.abs().flatten().argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[order] = True
    return values * mask.view(values.shape)


def _basis(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Orthonormal columns that span all the parts' columns, strongest first."""
    u, s, _ = torch.linalg.svd(torch.cat(list(parts), dim=1), full_matrices=False)  # of nothing: nothing
    return u[:, : int((s > NOISE * s[:1]).sum())]


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The orthogonal factor of a polar decomposition, on the range of the matrix."""
    p, s, qt = torch.linalg.svd(matrix, full_matrices=False)
    count = int((s > NOISE * s[:1]).sum())
    return p[:, :count] @ qt[:count]


def _first(found: Spectrum, count: int | None) -> Spectrum:
    return found if count is None else Spectrum(found.u[:, :count], found.s[:count], found.v[:, :count])


def _factors(b: torch.Tensor, a: torch.Tensor) -> Factors:
    """float32 factors; a zero matrix has rank 1, as files of rank 0 do not exist."""
    if b.shape[1] == 0:
        b, a = torch.zeros(b.shape[0], 1), torch.zeros(1, a.shape[1])
    return Factors(b.float().contiguous(), a.float().contiguous())
