"""Texts that evaluation will ask for must not be trained on.

Two rules, both on words without case and punctuation. A document is cut when it shares ``ngram`` words in a row with an
evaluation text (GPT-3's rule), or when it has ``similarity`` of the word 5-grams of one: a copy with small changes all
over shares no long row. The second rule looks at no more than 256 5-grams of each evaluation text, those with the least
hashes (a MinHash sketch), so an evaluation text costs 8 bytes a word and 3 kB, however long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lft.corpus.schema import Contamination
from lft.corpus.select.words import SHINGLE, Hashes, grams, shingles, word_hashes
from lft.corpus.step import read_records
from lft.data.locate import locate
from lft.errors import InputError

SAMPLE: Final = "longform-mini"  # ships with lft; its validation and test rows
_SHORTEST: Final = 8  # words of a text that is looked for; fewer say nothing
_SKETCH: Final = 256
_ARRAYS: Final = ("rows", "small", "owner", "needed", "maybe_rows", "maybe_small")


@dataclass(frozen=True, slots=True)
class EvaluationTexts:
    """What documents are compared with.

    ``rows`` are hashes of every ``ngram`` words in a row, sorted. ``small`` are hashes of 5-grams, sorted, and
    ``owner`` the text that each is of; ``needed`` says of each text how many of its 5-grams make a document a copy.
    ``maybe_rows`` and ``maybe_small`` are tables that tell most hashes which are not there.
    """

    ngram: int
    rows: Hashes
    small: Hashes
    owner: NDArray[np.uint32]
    needed: NDArray[np.int32]
    maybe_rows: NDArray[np.bool_]
    maybe_small: NDArray[np.bool_]
    too_short: int

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(getattr(self, name).nbytes for name in _ARRAYS)


@dataclass(frozen=True, slots=True)
class Suites:
    """Evaluation suites, as the caller knows them: this room does not import the one that they are in.

    ``texts`` gives the texts of named suites, or of ``all``; it raises an LftError for a name that there is not.
    ``digest`` changes when the texts of a suite that ships with lft do.
    """

    names: tuple[str, ...] = ()
    texts: Callable[[Sequence[str]], Iterable[str]] = lambda _: ()
    digest: str = ""


def suite_texts(names: Sequence[str], suites: Suites) -> Iterator[str]:
    """The texts of evaluation suites, questions and answers alike; ``all`` means every suite that is at hand.

    Raises:
        InputError: no suite has this name.
    """
    known = ("all", SAMPLE, *suites.names)
    for name in names:
        if name not in known and not Path(name).is_file():
            fix = f"there is {', '.join(known)}; give others as select.contamination.files"
            raise InputError("there is no such evaluation suite", where=f"select.contamination.suites: {name}", fix=fix)
    others = [name for name in names if name != SAMPLE]
    return chain(_sample_texts() if {"all", SAMPLE} & set(names) else (), suites.texts(others) if others else ())


def evaluation_texts(wanted: Contamination, suites: Suites) -> EvaluationTexts | None:
    """What a build's documents are compared with; None where it names no suite and no file.

    Raises:
        InputError: a suite or a file that is not there.
    """
    if not (wanted.suites or wanted.files):
        return None
    texts = [*suite_texts(wanted.suites, suites)]
    for name in wanted.files:
        texts.extend(_file_texts(Path(name).expanduser()))
    return indexed(texts, wanted.ngram, wanted.similarity)


def indexed(texts: Iterable[str], ngram: int, similarity: float) -> EvaluationTexts:
    """Texts in the form that documents are compared with; those under 8 words are left out, and counted."""
    rows, small, needed = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], []
    too_short = 0
    for hashes in map(word_hashes, texts):
        if hashes.size < _SHORTEST:
            too_short += 1
            continue
        if hashes.size >= ngram:
            rows.append(grams(hashes, ngram))
        sketch = np.unique(grams(hashes, SHINGLE))[:_SKETCH]
        small.append(sketch)
        # All of a short text must be there: half of it would be a turn of phrase that many texts have.
        needed.append(sketch.size if hashes.size < ngram else max(1, int(np.ceil(similarity * sketch.size))))
    owner = np.repeat(np.arange(len(needed), dtype=np.uint32), [part.size for part in small[1:]])
    together, whole = np.concatenate(small), np.unique(np.concatenate(rows))
    order = np.argsort(together, kind="stable")
    return EvaluationTexts(
        ngram=ngram,
        rows=whole,
        small=together[order],
        owner=owner[order],
        needed=np.array(needed, dtype=np.int32),
        maybe_rows=_table(whole),
        maybe_small=_table(together),
        too_short=too_short,
    )


def save_texts(known: EvaluationTexts, folder: Path) -> None:
    """As arrays that tasks map into memory, so that they share one copy."""
    folder.mkdir(parents=True)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(known, name))
    np.save(folder / "counts.npy", np.array([known.ngram, known.too_short]))


def load_texts(folder: Path) -> EvaluationTexts:
    """From ``save_texts``."""
    arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS}
    ngram, too_short = (int(count) for count in np.load(folder / "counts.npy"))
    return EvaluationTexts(ngram=ngram, too_short=too_short, **arrays)


def contamination(text: str, known: EvaluationTexts) -> str | None:
    """Why a text is one that evaluation will ask for, else None."""
    hashes = word_hashes(text)
    if hashes.size >= known.ngram and _hits(grams(hashes, known.ngram), known.rows, known.maybe_rows).size:
        return f"shares {known.ngram} words in a row with an evaluation text"
    if hashes.size >= SHINGLE and _is_copy(shingles(text), known):
        return "has so many phrases of an evaluation text that it is a copy of it"
    return None


def _hits(found: Hashes, ordered: Hashes, maybe: NDArray[np.bool_]) -> Hashes:
    """Those of the hashes that are among the sorted ones; nearly all others are told by one look into a table."""
    likely: Hashes = found[maybe[found >> _shift(maybe.size)]]
    if likely.size == 0:
        return likely
    there: NDArray[np.bool_] = ordered[np.minimum(np.searchsorted(ordered, likely), ordered.size - 1)] == likely
    return np.asarray(likely[there])


def _table(ordered: Hashes) -> NDArray[np.bool_]:
    """For the first bits of a hash whether any hash begins so: 8 to 16 places a hash, 16 MB at most."""
    bits = min(24, int(ordered.size).bit_length() + 3)
    maybe = np.zeros(1 << bits, dtype=bool)
    maybe[ordered >> _shift(maybe.size)] = True
    return maybe


def _shift(places: int) -> np.uint64:
    return np.uint64(64 - places.bit_length() + 1)


def _is_copy(found: Hashes, known: EvaluationTexts) -> bool:
    hits = np.unique(_hits(found, known.small, known.maybe_small))
    if hits.size == 0:
        return False
    ends = (np.searchsorted(known.small, hits, side=side) for side in ("left", "right"))
    owners = np.concatenate([known.owner[a:b] for a, b in zip(*ends, strict=True)])
    which, shared = np.unique(owners, return_counts=True)
    return bool((shared >= known.needed[which]).any())


def _sample_texts() -> Iterator[str]:
    path = locate(f"sample://{SAMPLE}").path
    if path is None:
        raise AssertionError("samples are files")
    for row in read_records(path):
        if row["split"] != "train":
            yield from (row["input"], row["output"])


def _file_texts(path: Path) -> Iterator[str]:
    """Of .jsonl every text in a row; of .txt each paragraph."""
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), fix="correct select.contamination.files")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        for row in read_records(path):
            yield from (value for value in row.values() if isinstance(value, str))
    elif path.suffix == ".txt":
        yield from _paragraphs(path)
    else:
        fix = "give .jsonl (each text of a row counts) or .txt (paragraphs divided by empty lines)"
        raise InputError("evaluation texts are not read from files of this kind", where=str(path), fix=fix)


def _paragraphs(path: Path) -> Iterator[str]:
    lines: list[str] = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                lines.append(line)
            elif lines:
                yield "".join(lines)
                lines = []
    if lines:
        yield "".join(lines)
