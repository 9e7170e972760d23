"""The loss of a tuned model on examples: over their supervised tokens, in the prompt format of its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lft.data.example import Example
from lft.data.formats import detect, to_example
from lft.data.pairs import Pair
from lft.data.rowfiles import columns_of, read_rows
from lft.data.tokens import IGNORE, Encoder, Tokens
from lft.errors import InputError
from lft.evaluate.answer import Answerer


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one example: nats summed over its supervised tokens, and how many those are."""

    total: float
    tokens: int


def examples_of(file: Path, most: int | None = None) -> list[Example]:
    """The first examples of a .json, .jsonl or .parquet file, in whichever format fits it.

    Raises:
        InputError: the file cannot be read, or a row is no example.
    """
    if not file.is_file():
        raise InputError("there is no such file", where=str(file), fix="give a .json, .jsonl or .parquet with examples")
    rows = list(islice(read_rows(file, str(file)), most))
    verdict = detect(columns_of(file, rows[0]), rows[0].values, where=str(file))
    return [to_example(row.values, verdict.format, where=f"{file}{row.place}") for row in rows]


def encoded(answerer: Answerer, examples: Sequence[Example], max_length: int) -> list[Tokens | Pair]:
    """Examples as the adapter was trained on them; one that is too long is an error.

    Raises:
        InputError: an example is longer than ``max_length`` tokens, or none has an answer.
    """
    encoder = Encoder(answerer.adapted.tokenizer, answerer.form, max_length, "drop")
    found = [tokens for _, tokens in encoder.encode(examples)]
    if encoder.counts.overlong:
        raise InputError(
            f"{encoder.counts.overlong:,} of {len(examples):,} examples are longer than {max_length:,} tokens "
            f"(the longest has {encoder.counts.longest:,})",
            fix="raise --max-length, or leave them out",
        )
    if not found:
        raise InputError("no example has an answer to measure", fix="give examples with an output")
    return found


def losses(answerer: Answerer, examples: Sequence[Tokens | Pair]) -> Iterator[Loss]:
    """The loss of each example, one at a time."""
    import torch
    from torch.nn.functional import cross_entropy

    model = answerer.adapted.model
    for one in examples:
        ids = torch.tensor([one.input_ids], device=model.device)
        labels = torch.tensor([one.labels], device=model.device)
        with torch.no_grad():
            if isinstance(one, Pair):
                logits, wanted = model(input_ids=ids, labels=labels).logits[0], labels[0]
            else:
                logits, wanted = model(input_ids=ids).logits[0, :-1], labels[0, 1:]
        kept = wanted != IGNORE
        total = cross_entropy(logits[kept].float(), wanted[kept], reduction="sum")
        yield Loss(float(total), int(kept.sum()))


def mean_loss(answerer: Answerer, examples: Sequence[Tokens | Pair]) -> float:
    """Nats a supervised token, over all examples together."""
    found = list(losses(answerer, examples))
    return sum(one.total for one in found) / sum(one.tokens for one in found)
