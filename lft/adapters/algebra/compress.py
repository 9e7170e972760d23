"""The best adapter of a given rank, with its error.

Factors: thin QR of b and a^T, then an SVD of the small core; nothing of size m x n is ever made:

    b = Q_b R_b [m x R]   a^T = Q_a R_a [n x R]   R_b R_a^T = U S V^T [R x R]   dW = (Q_b U) S (Q_a V)^T

What is kept is the best of its rank (Eckart-Young), and what is left out is known: ||S[k:]|| / ||S||. The Qs need not
be made either, as Q_b U S = b (R_a^T V) and Q_a V S = a^T (R_b^T U): half of the time, and only for what is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lft.adapters.deltas import Factors

if TYPE_CHECKING:
    from lft.adapters.algebra.rowwise import Dense

NOISE = 1e-7  # singular values below this share of the largest are what float32 factors leave of a zero
_EXACT_SIDE = 384  # up to this many rows or columns a dense delta is taken apart exactly
_EXTRA, _POWER = 16, 4  # of the randomized range finder


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """dW = u diag(s) v^T in float64: u [m x p], s [p] falling, v [n x p], both with orthonormal columns."""

    u: torch.Tensor
    s: torch.Tensor
    v: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """Factors of a rank, what they leave out (relative to the norm) and the norm of what was compressed."""

    factors: Factors
    error: float
    norm: float


@dataclass(frozen=True, slots=True, eq=False)
class _Core:
    """The singular values s of b a, and what gives the vectors: u s = b left, v s = a^T right; float64."""

    s: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @property
    def significant(self) -> int:
        """How many singular values are more than rounding; none for a zero matrix."""
        return int((self.s > NOISE * self.s[:1]).sum())


def _core(factors: Factors) -> tuple[_Core, torch.Tensor, torch.Tensor]:
    """The core with both factors in float64."""
    b, a = factors.b.double(), factors.a.double()
    r_b, r_a = torch.linalg.qr(b, mode="r").R, torch.linalg.qr(a.T, mode="r").R
    u, s, vt = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return _Core(s, r_a.T @ vt.T, r_b.T @ u), b, a


def spectrum(factors: Factors) -> Spectrum:
    """The thin SVD of b a without the directions that are only rounding; of a zero matrix none is left.

    Cost: O((m + n) R^2 + R^3), in float64.
    """
    core, b, a = _core(factors)
    kept = core.significant
    s = core.s[:kept]
    return Spectrum(b @ core.left[:, :kept] / s, s, a.T @ core.right[:, :kept] / s)


def compress(factors: Factors, rank: int | None = None, tolerance: float | None = None) -> Compressed:
    """The best factors of a rank, or of the least rank whose error stays within a tolerance.

    Args:
        factors: b [m x R], a [R x n].
        rank: at most this many columns; with a tolerance too, whichever asks for fewer.
        tolerance: largest error, relative to the norm of dW; 0 keeps all that is not rounding (1e-7 of the largest
            singular value, which is what float32 factors leave of a zero).

    Returns:
        Factors that share the singular values evenly, their exact error and the norm.
    """
    core, b, a = _core(factors)
    kept = core.significant if tolerance is None else min(_least_rank(core.s, tolerance), core.significant)
    kept = min(kept, rank if rank is not None else kept)
    norm = float(core.s.norm())
    if kept == 0:  # a file of rank 0 does not exist
        zero = Factors(torch.zeros(b.shape[0], 1), torch.zeros(1, a.shape[1]))
        return Compressed(zero, 1.0 if norm else 0.0, norm)
    root = core.s[:kept].sqrt()
    made = Factors(_float32(b @ (core.left[:, :kept] / root)), _float32((core.right[:, :kept] / root).T @ a))
    return Compressed(made, left_out(core.s, kept), norm)


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float().contiguous()


def _least_rank(s: torch.Tensor, tolerance: float) -> int:
    bound = tolerance * float(s.norm())
    tails = s.flip(0).square().cumsum(0).sqrt().flip(0)  # tails[k]: what is lost when k are kept
    return int((tails > bound).sum())


def left_out(s: torch.Tensor, kept: int) -> float:
    """Relative error of keeping the first singular values."""
    norm = float(s.norm())
    return float(s[kept:].norm()) / norm if norm else 0.0


def _balanced(found: Spectrum, kept: int) -> Factors:
    root = found.s[:kept].sqrt()
    return Factors(_float32(found.u[:, :kept] * root), _float32(root[:, None] * found.v[:, :kept].T))


def compress_dense(dense: Dense, rank: int) -> Compressed:
    """Factors of a rank for a delta that exists only row by row, and their measured error.

    Small matrices are taken apart exactly. Larger ones by a randomized range finder with power iterations
    (https://arxiv.org/abs/0909.4061) that reads the rows ``_POWER + 2`` times; its random numbers depend on the
    tensor's name and shape alone. The error is measured against the rows with the very factors that are returned, so
    it holds however near to the best rank-k they are.

    Memory: (m + n) (rank + 16) float64 numbers and one block of rows.
    """
    rows, columns = dense.shape
    wanted = min(rank, rows, columns)
    found = _whole(dense) if min(rows, columns) <= _EXACT_SIDE else _sampled(dense, wanted)
    factors = _balanced(found, wanted)
    error, norm = _measured(dense, factors)
    return Compressed(factors, error, norm)


def _whole(dense: Dense) -> Spectrum:
    u, s, vt = torch.linalg.svd(dense.tensor().double(), full_matrices=False)
    return Spectrum(u, s, vt.T)


def _sampled(dense: Dense, rank: int) -> Spectrum:
    rows, columns = dense.shape
    width = min(rank + _EXTRA, rows, columns)
    seed = int.from_bytes(hashlib.sha256(f"{dense.name}|{dense.shape}|{rank}".encode()).digest()[:7], "big")
    v = torch.randn(columns, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for _ in range(_POWER):
        v, _ = torch.linalg.qr(_gram_times(dense, v))
    u, _ = torch.linalg.qr(_times(dense, v))
    core = _transposed_times(dense, u).T  # [width x n]
    left, s, vt = torch.linalg.svd(core, full_matrices=False)
    return Spectrum(u @ left, s, vt.T)


def _times(dense: Dense, v: torch.Tensor) -> torch.Tensor:
    return torch.cat([block.double() @ v for _, block in dense.blocks()])


def _transposed_times(dense: Dense, u: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(dense.shape[1], u.shape[1], dtype=torch.float64)
    for start, block in dense.blocks():
        total += block.double().T @ u[start : start + len(block)]
    return total


def _gram_times(dense: Dense, v: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(v)
    for _, block in dense.blocks():
        wide = block.double()
        total += wide.T @ (wide @ v)
    return total


def _measured(dense: Dense, factors: Factors) -> tuple[float, float]:
    """Relative error of factors against the rows, and the norm of the rows."""
    lost = whole = 0.0
    a = factors.a.double()
    for start, block in dense.blocks():
        wide = block.double()
        whole += float(wide.square().sum())
        lost += float((wide - factors.b[start : start + len(block)].double() @ a).square().sum())
    return ((lost / whole) ** 0.5 if whole else 0.0), whole**0.5
