"""Rows of an embedding that adapters bring along: they replace the base's, so several owners of one row must agree on
whose it is.

one after the other      the highest one's row stays
a weighted sum           sum_i w_i v_i where the weights of those that have the row sum to 1, or their mean
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lft.errors import InputError

if TYPE_CHECKING:
    from lft.base.attach import Lower

NEAR = 1e-9  # weights of 1/3 sum to 1 but for rounding


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one embedding by the numbers of their tokens; ``values`` is a tensor of [len(tokens) x d]."""

    module: str
    tokens: tuple[int, ...]
    values: Any


def put_rows(model: Any, owned: Sequence[tuple[Lower, Sequence[Rows]]]) -> None:
    """Write the rows of lower adapters into a base's embeddings, in place.

    Raises:
        InputError: a row would be replaced by halves.
    """
    import torch

    names = dict(model.named_modules())
    for members in _sums(owned):
        for (module, token), owners in _by_row(members).items():
            row = _row(owners, token)
            if row is not None:
                weight = names[module].weight
                with torch.no_grad():
                    weight[token] = row.to(weight.device, weight.dtype)


def _sums(owned: Sequence[tuple[Lower, Sequence[Rows]]]) -> Iterator[list[tuple[Lower, Sequence[Rows]]]]:
    """Those of a weighted sum together, at the place of the last; every other adapter by itself."""
    last = {lower.share.sum: place for place, (lower, _) in enumerate(owned)}
    for place, one in enumerate(owned):
        number = one[0].share.sum
        if not number:
            yield [one]
        elif last[number] == place:
            yield [other for other in owned if other[0].share.sum == number]


_Owner = tuple["Lower", Any]


def _by_row(members: Iterable[tuple[Lower, Sequence[Rows]]]) -> dict[tuple[str, int], list[_Owner]]:
    found: dict[tuple[str, int], list[_Owner]] = {}
    for lower, rows in members:
        for one in rows:
            for token, value in zip(one.tokens, one.values, strict=True):
                found.setdefault((one.module, token), []).append((lower, value))
    return found


def _row(owners: Sequence[_Owner], token: int) -> Any:
    """The row that stands in the end; None where the base's own stays."""
    weights = [lower.share.weight for lower, _ in owners]
    if not any(weights):
        return None
    by = row_factor(weights, owners[0][0].share.rows)
    if by is None:
        raise InputError(
            f"the row of token {token} replaces the base's, and the weights of those that have it sum to "
            f"{sum(weights):g}, not 1",
            where=str(owners[0][0].folder),
            fix="let their weights sum to 1, or make the stack with --rows mean",
        )
    if len(owners) == 1 and weights[0] * by == 1:
        return owners[0][1]
    return sum(value.double() * (weight * by) for weight, (_, value) in zip(weights, owners, strict=True))


def row_factor(weights: Sequence[float], rows: str) -> float | None:
    """What the weights of a row's owners are multiplied with; None where no sum of theirs is a row."""
    total = sum(weights)
    if abs(total - 1) < NEAR:
        return 1.0
    return 1 / total if rows == "mean" and abs(total) > NEAR else None
