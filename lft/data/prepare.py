"""Tokenise once, keep the result under a key made of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from lft import literal
from lft.data import formats, newlines, pairs, prompts, tokens
from lft.data.example import Example
from lft.data.pairs import Pair
from lft.data.tokens import Counts, Encoder, Tokens
from lft.errors import InputError
from lft.files import broken_files, new_folder, only_builder

SHARD = 512  # examples per tokenizer call
ROWS, REPORT = "rows.arrow", "report.json"
CODE = (formats, literal, newlines, pairs, prompts, tokens)  # what turns a row into tokens


class ExampleSet(Protocol):
    """Examples with a content hash."""

    digest: str

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Example]: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A tokenised split.

    ``rows`` is a memory-mapped ``datasets.Dataset`` with columns ``input_ids`` and ``labels`` (lists of int32),
    ``length`` (int32) and ``example`` (int64, the number of the example it came from). With ``paired`` the two lists
    are the two sides of an encoder-decoder's example, and ``length`` counts both.
    """

    rows: Any
    counts: Counts
    key: str
    cached: bool
    paired: bool = False

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return list(self.rows["length"])

    def tokens(self, index: int) -> Tokens | Pair:
        """Row ``index``."""
        row = self.rows[index]
        return (Pair if self.paired else Tokens)(tuple(row["input_ids"]), tuple(row["labels"]))


def prepare(
    examples: ExampleSet, encoder: Encoder, cache: Path, notify: Callable[[str], None], part: str = "data"
) -> Prepared:
    """Tokens of a whole split, from the cache where data, tokenizer, format, length rule and code are the same.

    ``part`` is what errors call the split.

    Raises:
        InputError: an example does not fit, or nothing is left to train on.
        MachineError: no space for the cache.
    """
    prepared = tokenised(examples, encoder, cache, notify)
    if encoder.overlong == "error":
        _require_fitting(prepared.counts, encoder.max_length, part)
    require_supervision(prepared.counts, part)
    return prepared


def tokenised(examples: ExampleSet, encoder: Encoder, cache: Path, notify: Callable[[str], None]) -> Prepared:
    """What ``prepare`` gives, without its demands: for a report on data that training would refuse.

    Raises:
        InputError: an example does not fit the prompt format.
        MachineError: no space for the cache.
    """
    encoder = _counting(encoder)
    key = cache_key(examples.digest, encoder)
    folder = cache / "tokens" / key
    if not (cached := not broken_files(folder)):
        with only_builder(folder, lambda: notify("another process tokenises the same examples; waiting for it")):
            if not (cached := not broken_files(folder)):
                notify(f"tokenising {len(examples):,} examples")
                _build(folder, examples, encoder)
    return _open(folder, key, cached, encoder.form.encoder_decoder)


def _build(folder: Path, examples: ExampleSet, encoder: Encoder) -> None:
    with new_folder(folder) as draft:
        _write(examples, encoder, draft)
        (draft / REPORT).write_text(json.dumps(asdict(encoder.counts)), encoding="utf-8")


def _counting(encoder: Encoder) -> Encoder:
    """An encoder that counts from zero; under ``overlong: error`` all are counted, so that one message tells all."""
    return replace(encoder, overlong="drop" if encoder.overlong == "error" else encoder.overlong, counts=Counts())


def _require_fitting(counts: Counts, max_length: int, part: str) -> None:
    if not counts.overlong:
        return
    paired = counts.inputs_overlong + counts.outputs_overlong > 0
    ways = "drop or truncate" if paired else "drop, truncate or split"
    sides = f"; {counts.inputs_overlong:,} by their input, {counts.outputs_overlong:,} by their output"
    raise InputError(
        f"{counts.overlong:,} of {counts.examples:,} examples are longer than data.max_length {max_length:,} "
        f"(the first is example {counts.first_overlong}; the longest has {counts.longest:,} tokens"
        f"{sides if paired else ''})",
        where=part,
        fix=f"raise data.max_length, or choose data.overlong: {ways}",
    )


def cache_key(digest: str, encoder: Encoder) -> str:
    """Sha256 over the data, the tokenizer, the prompt format, the length rule and the code that makes tokens."""
    parts = {
        "data": digest,
        "tokenizer": tokenizer_digest(encoder.tokenizer),
        "format": asdict(encoder.form),
        "max_length": encoder.max_length,
        "overlong": encoder.overlong,
        "code": [hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest() for module in CODE],
        "libraries": [version(name) for name in ("tokenizers", "transformers")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Sha256 of all that decides a tokenizer's output, as it stands in memory (added tokens included)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps([tokenizer.bos_token_id, tokenizer.eos_token_id, sorted(tokenizer.all_special_ids)])
    return hashlib.sha256((text + special).encode()).hexdigest()


def encode_stream(examples: Iterable[Example], encoder: Encoder) -> Iterator[tuple[int, Tokens | Pair]]:
    """``(example number, tokens)`` shard by shard, holding ``SHARD`` examples at a time."""
    stream, first = iter(examples), 0
    while shard := list(islice(stream, SHARD)):
        yield from encoder.encode(shard, first)
        first += len(shard)


def _write(examples: ExampleSet, encoder: Encoder, draft: Path) -> None:
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    features = Features(
        {
            "input_ids": List(Value("int32")),
            "labels": List(Value("int32")),
            "length": Value("int32"),
            "example": Value("int64"),
        }
    )
    with ArrowWriter(features=features, path=str(draft / ROWS)) as writer:
        for number, row in encode_stream(examples, encoder):
            writer.write({"input_ids": row.input_ids, "labels": row.labels, "length": len(row), "example": number})
        writer.finalize()


def _open(folder: Path, key: str, cached: bool, paired: bool) -> Prepared:
    from datasets import Dataset

    counts = Counts(**json.loads((folder / REPORT).read_text(encoding="utf-8")))
    return Prepared(Dataset.from_file(str(folder / ROWS)), counts, key, cached, paired)


def require_supervision(counts: Counts, part: str = "data") -> None:
    """Training on nothing, or never on an end, is a waste that looks like success.

    Raises:
        InputError: no token, or no end of an answer, is a label.
    """
    if counts.supervised == 0:
        raise InputError(
            f"no token would be trained on: of {counts.examples:,} examples {counts.empty:,} have an empty output and "
            f"{counts.dropped:,} were dropped as too long",
            where=part,
            fix="look at `lft data audit`; raise data.max_length or mend the outputs",
        )
    if counts.eos_trained == 0:
        raise InputError(
            "the end-of-sequence token is never a label, so the model would never learn to stop",
            where=part,
            fix="raise data.max_length, or use data.overlong: drop instead of truncate",
        )
