"""Merging what replaces the base's tensors and rows (modules_to_save, trained biases, token rows).

They are not added to the base, so a weighted sum of changes is

    base + sum_i w_i (v_i - base) = sum_i w_i v_i + (1 - sum_i w_i) base

which needs the base unless the weights of those that have the tensor sum to 1. A method's lambda is a factor of the
whole change, so it is in the weights here: 0.5 goes half of the way from the base. A mean by weight it leaves alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lft.adapters.deltas import Base, Rows
from lft.adapters.expression import Replaced
from lft.errors import InputError

_NEAR = 1e-9  # weights of 1/3 sum to 1 but for rounding


@dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """An adapter that has a replacing tensor, and its weight there."""

    ref: str
    weight: float
    tensor: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowsOwner:
    """An adapter that has rows of an embedding, and its weight there."""

    ref: str
    weight: float
    rows: Rows


def merge_whole(name: str, owners: Sequence[Owner], base: Base | None, how: Replaced) -> torch.Tensor | None:
    """The merged tensor, float32; None where every weight is 0, so that the base's own stays.

    Raises:
        InputError: shapes differ, or the base is needed and not at hand.
    """
    if len({tuple(one.tensor.shape) for one in owners}) > 1:
        raise InputError(f"{name} has other shapes in {_refs(owners)}", fix="merge adapters with the same rows")
    if all(one.weight == 0 for one in owners):
        return None
    total = sum(one.weight for one in owners)
    if abs(total - 1) < _NEAR:
        return _sum(owners, 1.0)
    if how == "mean" and total:
        return _sum(owners, 1 / total)
    below = base(name) if base is not None else None
    if below is not None and below.shape == owners[0].tensor.shape:
        return (_sum(owners, 1.0).double() + (1 - total) * below.double()).float()
    raise _needs_base(f"the tensor {name}", owners, total)


def merge_rows(
    name: str,
    owners: Sequence[RowsOwner],
    base: Base | None,
    how: Replaced,
    ids: Mapping[str, int] | None = None,
) -> Rows | None:
    """The merged rows of an embedding, aligned by the tokens' texts (by their numbers where no text is at hand).

    Args:
        name: the embedding's weight.
        owners: those that have rows of it.
        base: the base's tensors.
        how: exact or mean.
        ids: the tokens' numbers in the result's tokenizer; where it is not given, all must use the same.

    Raises:
        InputError: a token has two numbers or a number two tokens, or the base is needed and not at hand.
    """
    texts = all(one.rows.texts is not None for one in owners)
    found: dict[str | int, list[tuple[RowsOwner, int]]] = {}
    for one in owners:
        keys: Sequence[str | int] = one.rows.texts if texts and one.rows.texts is not None else one.rows.tokens
        for place, key in enumerate(keys):
            found.setdefault(key, []).append((one, place))
    merged: dict[int, tuple[str | int, torch.Tensor]] = {}
    for key, having in found.items():
        number = _number(key, having, ids)
        if number in merged:
            raise InputError(f"{name}: {merged[number][0]!r} and {key!r} are both token {number}", fix=_ONE_TOKENIZER)
        rows = [Owner(one.ref, one.weight, one.rows.values[place]) for one, place in having]
        row = merge_whole(f"{name} row {number} ({key!r})", rows, _row_of(base, name, number), how)
        if row is not None:
            merged[number] = (key, row)
    order = sorted(merged)
    if not order:
        return None
    names = tuple(str(merged[number][0]) for number in order) if texts else None
    return Rows(tuple(order), names, torch.stack([merged[number][1] for number in order]))


_ONE_TOKENIZER = "merge adapters whose tokenizers give their tokens the same numbers"


def _number(key: str | int, having: Sequence[tuple[RowsOwner, int]], ids: Mapping[str, int] | None) -> int:
    if ids is not None and isinstance(key, str) and key in ids:
        return ids[key]
    numbers = {one.rows.tokens[place]: one.ref for one, place in having}
    if len(numbers) > 1:
        where = ", ".join(f"{number} in {ref}" for number, ref in sorted(numbers.items()))
        raise InputError(f"the token {key!r} has two numbers: {where}", fix=_ONE_TOKENIZER)
    return next(iter(numbers))


def _row_of(base: Base | None, name: str, number: int) -> Base | None:
    if base is None:
        return None

    def row(_: str) -> torch.Tensor | None:
        whole = base(name)
        return whole[number] if whole is not None and number < len(whole) else None

    return row


def _sum(owners: Sequence[Owner], by: float) -> torch.Tensor:
    if len(owners) == 1 and owners[0].weight * by == 1:
        return owners[0].tensor
    total = sum(owner.tensor.double() * (owner.weight * by) for owner in owners)
    return torch.as_tensor(total).float()


def _refs(owners: Sequence[Owner]) -> str:
    return " and ".join(one.ref for one in owners)


def _needs_base(what: str, owners: Sequence[Owner], total: float) -> InputError:
    return InputError(
        f"{what} replaces the base's in {_refs(owners)}, and their weights (times lambda) sum to {total:g}, not 1: "
        "their weighted change depends on the base's own",
        fix="hand in the base (--base), let the weights of those that have it sum to 1, or set replaced=mean",
    )
