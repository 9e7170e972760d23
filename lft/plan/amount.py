"""How much there is to train on: rows, tokens and steps, from a count or from a stated assumption."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from lft.plan.batch import BatchPlan
from lft.plan.configs import DATA
from lft.recipe.schema import Data, Train

CHARACTERS_A_TOKEN: Final = 4.0  # English prose under a vocabulary of 32 k and more
_FULL: Final = 0.97  # best-fit packing leaves little room over


@dataclass(frozen=True, slots=True)
class Amount:
    """One pass over the training split; ``how`` says where the figures come from."""

    examples: int
    tokens: int
    rows: int
    how: str


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: optimizer steps, and tokens where the rows are known."""

    steps: int
    tokens: int


def counted(data: Data, lengths: list[int], rows: int) -> Amount:
    """From the lengths of the tokenised examples, in tokens, and their packed rows."""
    return Amount(len(lengths), sum(lengths), rows, f"counted: {len(lengths):,} sequences of {data.max_length} at most")


def estimated(data: Data, examples: int, characters: int, source: str, *, pairs: bool = False) -> Amount:
    """From examples and characters: four characters a token, and rows that packing fills to 97 %.

    ``pairs`` says that the base is an encoder-decoder, whose rows are never packed.
    """
    packing = data.packing and not pairs
    tokens = min(math.ceil(characters / CHARACTERS_A_TOKEN), examples * data.max_length)
    rows = math.ceil(tokens / (_FULL * data.max_length)) if packing else examples
    packed = f", rows {_FULL:.0%} full" if packing else ""
    return Amount(
        examples, tokens, max(rows, 1), f"{source}; assumed {CHARACTERS_A_TOKEN:.0f} characters a token{packed}"
    )


def published(data: Data, *, pairs: bool = False) -> Amount | None:
    """The size of a data set as its card states it, for those that lft's recipes use."""
    if not isinstance(data.train, str):
        return None
    table = json.loads((DATA / "datasets.json").read_text(encoding="utf-8"))
    found = table.get(data.train, {}).get(data.split.train)
    return estimated(data, found["examples"], found["characters"], "its card", pairs=pairs) if found else None


def run_of(train: Train, batch: BatchPlan, row_tokens: int, amount: Amount | None) -> Run | None:
    """Steps as Trainer counts them, and the tokens seen; None where neither the data nor `max_steps` says."""
    if amount is None:
        return Run(train.max_steps, train.max_steps * batch.global_rows * row_tokens) if train.max_steps else None
    steps = train.max_steps or steps_of(train, batch, amount.rows)
    rows = (
        min(steps * batch.global_rows, math.ceil(train.epochs * amount.rows))
        if not train.max_steps
        else (steps * batch.global_rows)
    )
    return Run(steps, round(rows * amount.tokens / amount.rows))


def steps_of(train: Train, batch: BatchPlan, rows: int) -> int:
    """Optimizer steps over all epochs, the last of each epoch being smaller where rows do not divide."""
    passes = math.ceil(rows / (batch.micro_rows * batch.devices))
    return math.ceil(train.epochs * max(math.ceil(passes / batch.accumulation), 1))
