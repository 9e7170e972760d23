"""Copies and near-copies among texts: exact ones by normal form, near ones by MinHash, LSH and then exact Jaccard.

Texts are compared as sets of word 5-grams (of character 5-grams where a text has few spaces, as in Chinese or Thai).
Hashes are made by blake2b, so the same texts give the same answer on every machine.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

GRAM = 5
_PERMUTATIONS = 128
_MISSED_AT_THRESHOLD = 1e-3  # share of pairs exactly at the threshold that the banding may miss
_PER_BUCKET = 64
_VERIFIED = 16
_WORD = re.compile(r"\w+")
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows with equal normal form: ``groups`` of row numbers, each of two or more, in order of first appearance."""

    groups: tuple[tuple[int, ...], ...]

    @property
    def extra(self) -> int:
        """Rows that would go if one of each group were kept."""
        return sum(len(group) - 1 for group in self.groups)


@dataclass(frozen=True, slots=True)
class Pair:
    """A right text and the left text nearest to it; ``exact`` when their normal forms are equal."""

    left_index: int
    right_index: int
    jaccard: float
    exact: bool = False


def normal_form(text: str) -> str:
    """``text`` with compatible characters, case and white space made equal."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def exact_duplicates(texts: Sequence[str]) -> Duplicates:
    """Groups of texts that are equal in normal form; empty texts are no duplicates of each other."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        form = normal_form(text)
        if form:
            rows[_key(form)].append(i)
    return Duplicates(tuple(tuple(group) for group in rows.values() if len(group) > 1))


def near_duplicates(left_texts: Sequence[str], right_texts: Sequence[str], threshold: float = 0.7) -> list[Pair]:
    """For each right text its nearest left text, where their Jaccard similarity is at least ``threshold``.

    At most one pair a right text (so its length counts the right texts that are affected; swap the sides to count the
    left ones), in the order of the right texts. Equal normal forms are always found; a pair at the threshold is missed
    with a probability of 0.1 % at most (more only among hundreds of texts of one template: the 16 likeliest are taken);
    no pair below the threshold is ever returned. Empty texts match nothing.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    left = _distinct(left_texts)
    right = _distinct(right_texts)
    best: dict[bytes, tuple[int, float, bool]] = {key: (left[key][1], 1.0, True) for key in right if key in left}
    rest = {key: form for key, (form, _) in right.items() if key not in best and _shingles(form).size}
    if rest:
        forms = [form for form, _ in left.values()]
        rows = [row for _, row in left.values()]
        for key, near in zip(rest, _nearest(forms, list(rest.values()), threshold), strict=True):
            if near is not None:
                best[key] = (rows[near[0]], near[1], False)
    keys = (_key(normal_form(text)) for text in right_texts)
    return [Pair(best[key][0], i, *best[key][1:]) for i, key in enumerate(keys) if key in best]


# --- shingles ------------------------------------------------------------------------------------------------------


def _key(form: str) -> bytes:
    return hashlib.blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _distinct(texts: Sequence[str]) -> dict[bytes, tuple[str, int]]:
    """Normal forms that are not empty, each with the first row that has it."""
    found: dict[bytes, tuple[str, int]] = {}
    for i, text in enumerate(texts):
        form = normal_form(text)
        if form:
            found.setdefault(_key(form), (form, i))
    return found


def _shingles(form: str) -> Hashes:
    """Sorted distinct 64-bit hashes of the 5-grams of a normal form; one hash of the whole if it is shorter."""
    if form.count(" ") * 16 < len(form):
        points = np.frombuffer(form.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        units: Hashes = _mixed(points.astype(np.uint64) + _STEP)
    else:
        units = np.fromiter((_word(word) for word in _WORD.findall(form)), dtype=np.uint64)
    if not units.size:
        return units
    size = min(GRAM, units.size)
    grams = np.zeros(units.size - size + 1, dtype=np.uint64)
    for offset in range(size):
        grams = _mixed(grams * _STEP + units[offset : offset + grams.size])
    return np.unique(grams)


@lru_cache(maxsize=1 << 20)
def _word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mixed(x: Hashes) -> Hashes:
    """The finaliser of splitmix64: each input bit moves about half of the output bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed


def _jaccard(a: Hashes, b: Hashes) -> float:
    common = np.intersect1d(a, b, assume_unique=True).size
    return float(common / (a.size + b.size - common))


# --- MinHash and banding -------------------------------------------------------------------------------------------


def _nearest(left: Sequence[str], right: Sequence[str], threshold: float) -> Iterator[tuple[int, float] | None]:
    """For each right form the nearest left form (its number, its Jaccard similarity), None where none is near."""
    rows_per_band = _rows_per_band(threshold)
    signed_left, signed_right = _signatures(left), _signatures(right)
    bands = [_buckets(signed_left, signed_right, first, rows_per_band) for first in _bands(rows_per_band)]
    for j, form in enumerate(right):
        seen = {i for band in bands for i in band.get(j, ())}
        yield _best(form, left, _likely(seen, signed_left, signed_right[j]), threshold)


def _best(form: str, left: Sequence[str], candidates: Sequence[int], threshold: float) -> tuple[int, float] | None:
    mine = _shingles(form)
    found: tuple[int, float] | None = None
    for i in candidates:
        similarity = _jaccard(mine, _shingles(left[i]))
        if similarity >= threshold and (found is None or (similarity, -i) > (found[1], -found[0])):
            found = (i, similarity)
    return found


def _likely(seen: set[int], signed_left: NDArray[np.uint32], mine: NDArray[np.uint32]) -> list[int]:
    """The candidates whose signatures agree most, best first; templates can make thousands of them."""
    if len(seen) <= _VERIFIED:
        return sorted(seen)
    rows = np.array(sorted(seen))
    agreement = (signed_left[rows] == mine).sum(axis=1)
    return [int(i) for i in rows[np.argsort(-agreement, kind="stable")][:_VERIFIED]]


def _rows_per_band(threshold: float) -> int:
    """The longest band under which a pair at the threshold is still found: 1 - (1 - t^r)^(128/r) is near 1."""
    fits = [r for r in range(1, 33) if (1 - threshold**r) ** (_PERMUTATIONS // r) <= _MISSED_AT_THRESHOLD]
    return max(fits, default=1)


def _bands(rows_per_band: int) -> range:
    return range(0, _PERMUTATIONS - rows_per_band + 1, rows_per_band)


def _buckets(left: NDArray[np.uint32], right: NDArray[np.uint32], first: int, width: int) -> dict[int, list[int]]:
    """Left rows that share this band with each right row; at most 64 a bucket (empty texts sign as all ones)."""
    rows_by_band: dict[bytes, list[int]] = defaultdict(list)
    for j, band in enumerate(np.ascontiguousarray(right[:, first : first + width])):
        rows_by_band[band.tobytes()].append(j)
    taken: dict[bytes, list[int]] = defaultdict(list)
    for i, band in enumerate(np.ascontiguousarray(left[:, first : first + width])):
        key = band.tobytes()
        if key in rows_by_band and len(taken[key]) < _PER_BUCKET:
            taken[key].append(i)
    return {j: taken[key] for key in taken for j in rows_by_band[key]}


def _signatures(forms: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures, shape ``[len(forms), 128]``; 512 bytes a text whatever its length."""
    draw = _mixed(np.arange(1, 2 * _PERMUTATIONS + 1, dtype=np.uint64) * _STEP)
    times, plus = (draw[:_PERMUTATIONS] | np.uint64(1))[:, None], draw[_PERMUTATIONS:][:, None]
    signed = np.full((len(forms), _PERMUTATIONS), np.iinfo(np.uint32).max, dtype=np.uint32)
    for row, form in enumerate(forms):
        grams = _shingles(form)
        for start in range(0, grams.size, 4096):  # long books would need 128 times their length at once
            least = (times * grams[start : start + 4096] + plus).min(axis=1) >> np.uint64(32)
            np.minimum(signed[row], least.astype(np.uint32), out=signed[row])
    return signed
