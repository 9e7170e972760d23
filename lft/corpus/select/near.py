"""Near-duplicates by MinHash: datatrove's signatures and buckets, each pair checked, and groups of pairs.

Each text gets 128 hashes at most, the least of its word 5-grams under as many permutations. They are cut into bands,
and texts that agree in one band are a pair (``banding`` chooses how long bands are). That finds pairs well below the
wanted similarity too, so each pair is checked: the share of all hashes on which two texts agree estimates their Jaccard
similarity (standard error 0.04). Pairs at the wanted similarity are duplicates. Pairs down to 0.8 of it are related:
both stay, and no split of the data may divide them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup.minhash import (
    HashConfig,
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupSignature,
)
from numpy.typing import NDArray

from lft.corpus.select.rows import Layout
from lft.corpus.select.words import SHINGLE, UNICODE_WORDS, Hashes, mixed, shingles

_HASHES: Final = 128
_MISSED: Final = 0.01  # share of pairs exactly at the similarity that bands may miss
RELATED: Final = 0.8
_MISSED_RELATED: Final = 0.15
_AT_ONCE: Final = 4096
PAIR: Final = np.dtype([("task", "<u4"), ("place", "<u4"), ("task2", "<u4"), ("place2", "<u4"), ("similarity", "<f4")])


@dataclass(frozen=True, slots=True)
class Banding:
    """How many bands of how many hashes."""

    bands: int
    hashes: int

    @property
    def total(self) -> int:
        """Hashes of a text."""
        return self.bands * self.hashes

    def found(self, similarity: float) -> float:
        """The probability that two texts of a Jaccard similarity agree in a band."""
        return float(1 - (1 - similarity**self.hashes) ** self.bands)


def banding(similarity: float) -> Banding:
    """The longest bands that miss few pairs: 1 % of those exactly at a similarity, 15 % of those at 0.8 of it."""
    choices = [Banding(_HASHES // hashes, hashes) for hashes in range(1, _HASHES // 4 + 1)]
    return [one for one in choices if _finds_enough(one, similarity)][-1]


def _finds_enough(bands: Banding, similarity: float) -> bool:
    return bands.found(similarity) >= 1 - _MISSED and bands.found(RELATED * similarity) >= 1 - _MISSED_RELATED


class Signatures(MinhashDedupSignature):  # type: ignore[misc]
    """datatrove's first stage, with our words and quicker hashing; whole signatures are kept beside its bands.

    (datatrove 0.10 gives xxhash text, which xxhash 4 refuses.)
    """

    def __init__(self, work: Path, bands: Banding) -> None:
        super().__init__(str(work / "bands"), config=_config(bands), language=UNICODE_WORDS)
        self._work, self._bands = work, bands
        self._written: BinaryIO | None = None

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Read all documents of a task."""
        signed = _signed_file(self._work, rank)
        signed.parent.mkdir(exist_ok=True)
        with signed.open("wb") as self._written:
            super().run(data, rank, world_size)
        self._written = None

    def get_shingles(self, text: str) -> Hashes:
        """Hashes of a text's word 5-grams; a text that came through the rules has at least one."""
        return shingles(text)

    def get_signature(self, shingles: Hashes) -> list[list[int]]:
        """The least hash under each permutation, by bands."""
        times, short = _permutations(self._bands.total), shingles.astype(np.uint32)
        signature = np.full(self._bands.total, np.iinfo(np.uint32).max, dtype=np.uint32)
        for start in range(0, short.size, _AT_ONCE):  # a book would need 128 times its length at once
            np.minimum(signature, (times * short[start : start + _AT_ONCE]).min(axis=1), out=signature)
        if self._written is None:
            raise RuntimeError("signatures are made by run()")
        self._written.write(signature.tobytes())
        return signature.reshape(self._bands.bands, -1).tolist()


class Pairs(PipelineStep):  # type: ignore[misc]
    """datatrove's second stage for some of the bands, then the check of each pair."""

    type = "lft select"
    name = "pairs of near-duplicates"

    def __init__(self, work: Path, bands: Banding, similarity: float) -> None:
        super().__init__()
        self._work, self._bands, self._least = work, bands, similarity * RELATED

    def run(self, _: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Find and check the pairs of each band of this task."""
        dups, folder = self._work / "dups", self._work / "pairs"
        folder.mkdir(exist_ok=True)
        config = _config(self._bands)
        for band in range(rank, self._bands.bands, world_size):
            stage = MinhashDedupBuckets(str(self._work / "bands"), str(dups), config=config, lines_to_buffer=1000)
            stage.run(None, band, self._bands.bands)
            found = np.fromfile(dups / f"{band:05d}_00.dups", dtype="<u4").reshape(-1, 4)
            checked = [self._checked(found[i : i + _AT_ONCE]) for i in range(0, len(found), _AT_ONCE)]
            np.concatenate([np.zeros(0, PAIR), *checked]).tofile(folder / f"{band:05d}.pairs")

    def _checked(self, found: NDArray[np.uint32]) -> NDArray[Any]:
        left, right = (self._signatures(found[:, i], found[:, i + 1]) for i in (0, 2))
        pairs = np.zeros(len(found), dtype=PAIR)
        for name, column in zip(PAIR.names or (), found.T, strict=False):
            pairs[name] = column
        pairs["similarity"] = (left == right).mean(axis=1)
        return pairs[pairs["similarity"] >= self._least]

    def _signatures(self, tasks: NDArray[np.uint32], places: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Signatures of documents, shape ``[documents, hashes]``, from the tasks' files."""
        taken = np.empty((len(tasks), self._bands.total), dtype=np.uint32)
        for task in np.unique(tasks):
            whole = np.memmap(_signed_file(self._work, int(task)), dtype="<u4", mode="r").reshape(-1, self._bands.total)
            mine = tasks == task
            taken[mine] = whole[places[mine]]
        return taken


def components(work: Path, layout: Layout, least: float) -> NDArray[np.int32]:
    """A label for each row: rows that pairs of at least this similarity link, directly or not, have the same one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(layout.offsets[-1])
    labels = np.arange(count, dtype=np.int32)
    for left, right in _pairs(work, layout, least):
        edges = coo_array((np.ones(left.size, dtype=bool), (labels[left], labels[right])), shape=(count, count))
        labels = connected_components(edges, directed=False)[1].astype(np.int32)[labels]
    return labels


def _pairs(work: Path, layout: Layout, least: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    rows = [layout.rows_of(task) for task in range(layout.tasks)]
    starts = np.cumsum([0, *(part.size for part in rows)])
    together = np.concatenate([np.zeros(0, np.int64), *rows])
    for path in sorted((work / "pairs").glob("*.pairs")):
        pairs = np.fromfile(path, dtype=PAIR)
        pairs = pairs[pairs["similarity"] >= least]
        if pairs.size:
            yield (
                together[starts[pairs["task"]] + pairs["place"]],
                together[starts[pairs["task2"]] + pairs["place2"]],
            )


@lru_cache(maxsize=1)
def _permutations(count: int) -> NDArray[np.uint32]:
    """Odd factors, a column: x times one is a permutation of 32-bit numbers; the same on every machine."""
    drawn = mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (drawn.astype(np.uint32) | np.uint32(1))[:, None]


def _config(bands: Banding) -> MinhashConfig:
    return MinhashConfig(
        n_grams=SHINGLE,
        num_buckets=bands.bands,
        hashes_per_bucket=bands.hashes,
        hash_config=HashConfig(precision=32),
    )


def _signed_file(work: Path, task: int) -> Path:
    return work / "signed" / f"{task:05d}.signed"
