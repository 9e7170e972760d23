"""Before a merge: how strong the adapters are, where they pull apart, and which method to take. From factors alone.

    G_ij = <D_i, D_j> = tr((b_i^T b_j)(a_j a_i^T))                      norms and cosines, O((m + n) r^2) a pair
    overlap(i, j) = ||P_j D_i Q_j|| / ||D_i||                           how much of D_i lies in the rows and columns
        P_j, Q_j project on the columns and rows of D_j                 that D_j works in; 0 apart, 1 within

Sums over tensors are of squares, so a group's figures are those of its tensors laid end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lft.adapters.algebra.compress import Spectrum, spectrum
from lft.adapters.algebra.exact import inner
from lft.adapters.deltas import Delta, Factors
from lft.base.embeddings import is_head, is_input
from lft.base.shares import layer_of

Matrix = tuple[tuple[float, ...], ...]

APART = 0.1  # cosine and overlap below which adapters can simply be added
ALIKE = 0.7  # cosine above which they say much the same
STRONGER = 3.0  # ratio of norms above which one drowns the other


@dataclass(frozen=True, slots=True)
class Group:
    """Some tensors of all adapters: norms [T], cosines [T x T], overlaps [T x T] (of the row's within the column's)."""

    name: str
    tensors: int
    norms: tuple[float, ...]
    cosines: Matrix
    overlaps: Matrix


@dataclass(frozen=True, slots=True)
class Advice:
    """What the factors say. ``groups`` are kinds of layers and layers, ``skipped`` counts parts of no low rank."""

    adapters: tuple[str, ...]
    total: Group
    groups: tuple[Group, ...]
    method: str
    reason: str
    warnings: tuple[str, ...]
    skipped: int


def advise(deltas: Mapping[str, Delta]) -> Advice:
    """Compare adapters by their factors.

    Args:
        deltas: by name, of one base. Biases, full matrices and replaced tensors are counted and left out.

    Cost: O((m + n) R^2) a tensor, R the sum of the ranks; nothing of size m x n is made.
    """
    refs = tuple(deltas)
    names = sorted({name for delta in deltas.values() for name in delta.factors})
    measured = [_measure(name, [delta.factors.get(name) for delta in deltas.values()]) for name in names]
    total = _group("all", measured, len(refs))
    groups = (*_grouped(measured, len(refs), _kind), *_grouped(measured, len(refs), _layer))
    skipped = sum(len(delta.added) + len(delta.whole) + len(delta.rows) for delta in deltas.values())
    method, reason = _choice(total)
    return Advice(refs, total, groups, method, reason, _warnings(refs, total), skipped)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One tensor: Gram matrix [T x T] and squared overlaps ||P_j D_i Q_j||^2 [T x T], float64."""

    name: str
    gram: torch.Tensor
    within: torch.Tensor


def _measure(name: str, factors: Sequence[Factors | None]) -> _Measured:
    count = len(factors)
    gram, within = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, count, dtype=torch.float64)
    spectra = [None if one is None else spectrum(one) for one in factors]
    for i, one in enumerate(factors):
        for j, other in enumerate(factors[: i + 1]):
            if one is not None and other is not None:
                gram[i, j] = gram[j, i] = inner(one, other)
    for i, own in enumerate(spectra):
        for j, beside in enumerate(spectra):
            if own is not None and beside is not None:
                within[i, j] = _within(own, beside)
    return _Measured(name, gram, within)


def _within(own: Spectrum, beside: Spectrum) -> float:
    """||P D Q||^2 of D = own on the columns and rows of beside."""
    core = (beside.u.T @ own.u * own.s) @ (own.v.T @ beside.v)
    return float(core.square().sum())


def _group(name: str, measured: Sequence[_Measured], count: int) -> Group:
    gram = sum((one.gram for one in measured), torch.zeros(count, count, dtype=torch.float64))
    within = sum((one.within for one in measured), torch.zeros(count, count, dtype=torch.float64))
    norms = gram.diagonal().clamp(min=0).sqrt()
    safe = torch.where(norms > 0, norms, 1.0)
    cosines = (gram / safe[:, None] / safe).clamp(-1, 1)
    overlaps = (within.sqrt() / safe[:, None]).clamp(0, 1)
    return Group(name, len(measured), tuple(norms.tolist()), _matrix(cosines), _matrix(overlaps))


def _matrix(values: torch.Tensor) -> Matrix:
    return tuple(tuple(row) for row in values.tolist())


def _grouped(measured: Sequence[_Measured], count: int, key: Callable[[str], str | None]) -> list[Group]:
    found: dict[str, list[_Measured]] = {}
    for one in measured:
        if (name := key(one.name)) is not None:
            found.setdefault(name, []).append(one)
    if len(found) < 2:
        return []
    return [_group(name, found[name], count) for name in sorted(found, key=_in_order)]


def _in_order(name: str) -> tuple[str, int]:
    """Layer 2 before layer 10."""
    word, _, number = name.partition(" ")
    return word, int(number or 0)


def _kind(name: str) -> str:
    """attention, mlp, embedding or other, by the names that transformers' models use."""
    words = set(name.split("."))
    if words & {"self_attn", "attn", "attention", "self_attention", "SelfAttention", "EncDecAttention", "layer_attn"}:
        return "attention"
    if words & {"mlp", "DenseReluDense", "feed_forward", "ffn", "fc1", "fc2", "experts"}:
        return "mlp"
    if is_input(name) or is_head(name):
        return "embedding"
    return "other"


def _layer(name: str) -> str | None:
    layer = layer_of(name)
    return None if layer is None else f"layer {layer}"


def _choice(total: Group) -> tuple[str, str]:
    """The method to begin with, and why."""
    count = len(total.norms)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    if not pairs:
        return "cat", "one adapter alone: a weighted sum scales it exactly"
    cosines = [total.cosines[i][j] for i, j in pairs]
    overlap = max(total.overlaps[i][j] for i, j in pairs)
    if min(cosines) > ALIKE:
        return "model-stock", (
            f"they point the same way (cosines from {min(cosines):.2f}): a mean keeps what they share, and Model Stock "
            "takes its length from their angles"
        )
    if min(cosines) < -APART:
        return "ties", (
            f"some pull against each other (cosine {min(cosines):.2f}): a sum cancels, TIES lets the stronger sign win "
            "(into a merged checkpoint, or with rank=... as an adapter); knots does so at low rank"
        )
    if overlap > 0.5:
        return "tsv-m", (
            f"up to {overlap:.0%} of one works in the directions of another: TSV-M makes them orthogonal and stays "
            "low-rank; compare it with cat by evaluation"
        )
    return "cat", (
        f"they hardly touch (cosines within {max(map(abs, cosines)):.2f}, overlap up to {overlap:.2f}): the weighted "
        "sum is exact and each keeps its effect"
    )


def _warnings(refs: Sequence[str], total: Group) -> tuple[str, ...]:
    found = [f"{ref} is zero" for ref, norm in zip(refs, total.norms, strict=True) if norm == 0]
    living = [(norm, ref) for ref, norm in zip(refs, total.norms, strict=True) if norm > 0]
    if living and (strongest := max(living))[0] > STRONGER * (weakest := min(living))[0]:
        found.append(
            f"{strongest[1]} is {strongest[0] / weakest[0]:.1f} times as strong as {weakest[1]}: "
            "with equal weights it drowns it"
        )
    return tuple(found)


WIDTH = 80
_NAME = 20


def table(advice: Advice) -> list[str]:
    """The advice as lines of at most 80 columns; adapters beyond the first six are counted."""
    refs = [_short(ref, number) for number, ref in enumerate(advice.adapters, start=1)]
    shown = refs[:6]
    lines = [f"{'adapter':<{_NAME}} {'norm':>8}  cosine with" + (f" (first 6 of {len(refs)})" if len(refs) > 6 else "")]
    lines.append(" " * (_NAME + 11) + "".join(f"{f'[{n}]':>8}" for n in range(1, len(shown) + 1)))
    lines += _matrix_lines(refs, advice.total.norms, advice.total.cosines)
    lines += [
        "",
        f"{'share of it within':<{_NAME + 10}} " + "".join(f"{f'[{n}]':>8}" for n in range(1, len(shown) + 1)),
    ]
    lines += _matrix_lines(refs, None, advice.total.overlaps)
    if advice.groups and len(refs) > 1:
        lines += ["", f"{'where':<{_NAME}} {'tensors':>8} {'lowest cosine':>14} {'highest':>8} {'most overlap':>13}"]
        lines += [_group_line(group) for group in advice.groups]
    lines += ["", *_folded(f"take {advice.method}: {advice.reason}")]
    lines += [line for warning in advice.warnings for line in _folded(f"note: {warning}")]
    if advice.skipped:
        lines += _folded(
            f"note: {advice.skipped} tensors of no low rank (biases, whole tensors, token rows) are not compared"
        )
    return lines


def _short(ref: str, number: int) -> str:
    label = f"[{number}] {ref}"
    return label if len(label) <= _NAME else f"[{number}] …{ref[-(_NAME - len(f'[{number}] …')) :]}"


def _matrix_lines(refs: Sequence[str], norms: Sequence[float] | None, rows: Matrix) -> list[str]:
    found = []
    for number, ref in enumerate(refs[:6]):
        norm = f"{norms[number]:>8.4g}" if norms is not None else " " * 8
        found.append(f"{ref:<{_NAME}} {norm}  " + "".join(f"{value:>8.3f}" for value in rows[number][:6]))
    return found


def _group_line(group: Group) -> str:
    pairs = [(i, j) for i in range(len(group.norms)) for j in range(len(group.norms)) if i != j]
    cosines = [group.cosines[i][j] for i, j in pairs]
    overlap = max(group.overlaps[i][j] for i, j in pairs)
    return f"{group.name:<{_NAME}} {group.tensors:>8} {min(cosines):>14.3f} {max(cosines):>8.3f} {overlap:>13.3f}"


def _folded(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
