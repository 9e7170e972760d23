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
    """One split. Lengths are in tokens, prompt and answer (or encoder and decoder) together, after the length rule."""

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
    texts = _texts(train)
    first = _split("train", train.verdicts, texts, tokenised(train, encoder, cache, notify), encoder.max_length)
    if validation is None:
        return Audit(first, None, (), tuple(_problems(encoder, first, None, ())))
    others = _texts(validation)
    prepared = tokenised(validation, encoder, cache, notify)
    second = _split("validation", validation.verdicts, others, prepared, encoder.max_length)
    shared = tuple(near_duplicates(texts.outputs, others.outputs))
    return Audit(first, second, shared, tuple(_problems(encoder, first, second, shared)))


@dataclass(frozen=True, slots=True)
class _Texts:
    """What the examples of a split are compared by; ``languages`` counts them by language."""

    inputs: list[str]
    outputs: list[str]
    languages: Counter[str]


def _texts(examples: ExampleSet) -> _Texts:
    """One pass over the examples: each is read from disk again whenever it is asked for."""
    texts = _Texts([], [], Counter())
    for example in examples:
        texts.inputs.append("\n".join(turn.content for turn in example.turns[:-1]) + example.context)
        texts.outputs.append(example.output)
        texts.languages[example.lang or "unmarked"] += 1
    return texts


def _split(part: str, verdicts: tuple[str, ...], texts: _Texts, prepared: Prepared, max_length: int) -> SplitAudit:
    lengths = np.asarray(prepared.lengths or [0])
    return SplitAudit(
        part=part,
        verdicts=verdicts,
        counts=prepared.counts,
        median=int(np.median(lengths)),
        p95=int(np.percentile(lengths, 95)),
        histogram=histogram(prepared, max_length),
        duplicate_outputs=exact_duplicates(texts.outputs).extra,
        duplicate_inputs=exact_duplicates(texts.inputs).extra,
        languages=tuple(texts.languages.most_common()),
    )


def histogram(prepared: Prepared, max_length: int) -> tuple[Bin, ...]:
    """Sequence lengths in ``BINS`` equal steps up to the longest sequence; empty for none.

    A sequence has at most ``max_length`` tokens, an encoder-decoder's pair twice that.
    """
    lengths = np.asarray(prepared.lengths)
    if not lengths.size:
        return ()
    limit = max_length * (2 if prepared.paired else 1)
    step = -(-min(int(lengths.max()) + 1, limit + 1) // BINS)
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
                f"(first example {counts.first_overlong}, longest {counts.longest:,}); training refuses them under "
                "data.overlong: error"
            )
        if not counts.supervised:
            yield f"{split.part}: no token is left to train on"
        if counts.empty:
            yield f"{split.part}: {counts.empty:,} examples have an empty output and are left out"
        if counts.empty_turns:
            yield f"{split.part}: {counts.empty_turns:,} empty answers within conversations are not trained"
        if split.duplicate_outputs:
            yield f"{split.part}: {split.duplicate_outputs:,} outputs stand there more than once"
        if counts.eos_trained < counts.kept:
            yield f"{split.part}: {counts.kept - counts.eos_trained:,} sequences do not end with a trained end token"
    if shared:
        exact = sum(pair.exact for pair in shared)
        near = len(shared) - exact
        yield f"validation is not held out: {exact:,} of its outputs stand in train word for word, {near:,} nearly"
