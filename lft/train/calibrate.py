"""Training rows that a start looks at: real sequences, each attended to by itself, padding never counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from lft.errors import RecipeError
from lft.train.batches import PackedRows, StreamedRows

# EVA goes over its batches until the directions stand still; rows that never do so must not hold a run for ever.
_PASSES = 200


def calibration_rows(rows: PackedRows | StreamedRows, count: int) -> list[list[int]]:
    """Token ids of the first ``count`` sequences of a training split."""
    every = iter(rows) if isinstance(rows, StreamedRows) else (rows[number] for number in range(len(rows)))
    sequences = (list(segment.tokens.input_ids) for row in every for segment in row)
    return list(islice(sequences, count))


@contextmanager
def _evaluated(model: Any) -> Iterator[None]:
    """Eval mode and an attention that takes padding masks."""
    attention, training = model.config._attn_implementation, model.training
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(training)


@contextmanager
def corda_pass(model: Any, rows: Sequence[Sequence[int]]) -> Iterator[Callable[[], None]]:
    """A function that sends every row through the model, one at a time: PEFT's hook takes no other batch.

    Raises RecipeError without rows.
    """
    if not rows:
        raise RecipeError("method.kind corda needs training rows to look at")

    def run() -> None:
        for row in rows:
            model(input_ids=torch.tensor([list(row)], device=model.device), use_cache=False)

    with _evaluated(model), torch.no_grad():
        yield run


class _Batches:
    """Padded batches that PEFT goes round and round; the mask keeps padding out of what EVA sees."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        self.batches, self.passes = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        self.passes += 1
        if self.passes > _PASSES:
            raise RecipeError(
                f"method.kind eva found no stable directions in {_PASSES} passes over {len(self)} batches",
                fix="raise method.calibration_rows, or lower method.options.eva_config.tau or method.r",
            )
        return iter(self.batches)


@contextmanager
def eva_batches(model: Any, rows: Sequence[Sequence[int]], directions: int) -> Iterator[_Batches]:
    """Batches of at least ``directions`` tokens: PEFT skips smaller ones, for ever if there are no others.

    Raises RecipeError when all rows together are too few tokens.
    """
    groups: list[list[Sequence[int]]] = [[]]
    for row in rows:
        if sum(map(len, groups[-1])) >= directions:
            groups.append([])
        groups[-1].append(row)
    if len(groups) > 1 and sum(map(len, groups[-1])) < directions:
        groups[-2] += groups.pop()
    tokens = sum(map(len, groups[-1]))
    if tokens < directions:
        raise RecipeError(
            f"method.kind eva needs {directions:,} tokens for its {directions:,} directions, "
            f"{len(rows):,} rows have {tokens:,}",
            fix="raise method.calibration_rows, or lower method.r",
        )
    with _evaluated(model):
        yield _Batches([_padded(group, model.device) for group in groups])


def _padded(rows: Sequence[Sequence[int]], device: Any) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(list(row))
        mask[number, : len(row)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
