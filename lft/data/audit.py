"""The whole set before it is trained on: what is supervised, what is lost, what occurs twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lft.data.example import Example
from lft.data.overlap import Pair, exact_duplicates, near_duplicates
from lft.data.prepare import Prepared, tokenised
from lft.data.tokens import Counts, Encoder

BINS = 12


class ExampleSet(Protocol):
    """Examples with a content hash and the verdict on their format."""

    digest: str
    verdicts: tuple[str, ...]

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Example]: ...


@dataclass(frozen=True, slots=True)
class Bin:
    """Sequences with ``low <= tokens < high``."""

    low: int
    high: int
    count: int


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """One split. Lengths are in tokens, prompt and answer together, after the length rule."""

    part: str
    verdicts: tuple[str, ...]
    counts: Counts
    median: int
    p95: int
    histogram: tuple[Bin, ...]
    duplicate_outputs: int
    duplicate_inputs: int
    languages: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Both splits, and the validation outputs that stand in the training split too (left is train)."""

    train: SplitAudit
    validation: SplitAudit | None
    shared: tuple[Pair, ...]
    problems: tuple[str, ...]


def audit(
    train: ExampleSet, validation: ExampleSet | None, encoder: Encoder, cache: Path, notify: Callable[[str], None]
) -> Audit:
    """Look at every example of both splits.

    Args:
        train: the training split.
        validation: the validation split, if there is one.
        encoder: tokenizer, prompt format and length rule of the recipe.
        cache: where tokens are kept; training then finds them there.
        notify: told what takes long.

    Raises:
        InputError: an example does not fit the prompt format. What training refuses for its length or because nothing
            is left to train on is a problem in the report.
    """
    first = _split("train", train, encoder, cache, notify)
    second = None if validation is None else _split("validation", validation, encoder, cache, notify)
    shared = () if validation is None else tuple(near_duplicates(_outputs(train), _outputs(validation)))
    return Audit(first, second, shared, tuple(_problems(encoder, first, second, shared)))


def _outputs(examples: ExampleSet) -> list[str]:
    return [example.output for example in examples]


def _split(part: str, examples: ExampleSet, encoder: Encoder, cache: Path, notify: Callable[[str], None]) -> SplitAudit:
    prepared = tokenised(examples, encoder, cache, notify)
    lengths = np.asarray(prepared.lengths or [0])
    inputs = ["\n".join(turn.content for turn in example.turns[:-1]) + example.context for example in examples]
    return SplitAudit(
        part=part,
        verdicts=examples.verdicts,
        counts=prepared.counts,
        median=int(np.median(lengths)),
        p95=int(np.percentile(lengths, 95)),
        histogram=histogram(prepared, encoder.max_length),
        duplicate_outputs=exact_duplicates(_outputs(examples)).extra,
        duplicate_inputs=exact_duplicates(inputs).extra,
        languages=tuple(Counter(example.lang or "unmarked" for example in examples).most_common()),
    )


def histogram(prepared: Prepared, max_length: int) -> tuple[Bin, ...]:
    """Sequence lengths in ``BINS`` equal steps up to the longest sequence (at most ``max_length``); empty for none."""
    lengths = np.asarray(prepared.lengths)
    if not lengths.size:
        return ()
    step = -(-min(int(lengths.max()) + 1, max_length + 1) // BINS)
    counts = np.bincount(lengths // step)
    return tuple(Bin(index * step, (index + 1) * step, int(count)) for index, count in enumerate(counts))


def _problems(
    encoder: Encoder, train: SplitAudit, validation: SplitAudit | None, shared: tuple[Pair, ...]
) -> Iterator[str]:
    """What a careful person would mend before training, one line each."""
    for split in (train, validation):
        if split is None:
            continue
        counts = split.counts
        if encoder.overlong == "error" and counts.overlong:
            yield (
                f"{split.part}: {counts.overlong:,} examples are longer than data.max_length {encoder.max_length:,} "
                f"(longest {counts.longest:,}); training refuses them under data.overlong: error"
            )
        if not counts.supervised:
            yield f"{split.part}: no token is left to train on"
        if counts.empty:
            yield f"{split.part}: {counts.empty:,} examples have an empty output and are left out"
        if split.duplicate_outputs:
            yield f"{split.part}: {split.duplicate_outputs:,} outputs stand there more than once"
        if counts.eos_trained < counts.kept:
            yield f"{split.part}: {counts.kept - counts.eos_trained:,} sequences do not end with a trained end token"
    if shared:
        exact = sum(pair.exact for pair in shared)
        near = len(shared) - exact
        yield f"validation is not held out: {exact:,} of its outputs stand in train word for word, {near:,} nearly"
