"""Dense deltas that are never whole in memory: computed tile by tile, cut at an exact k-th magnitude.

A tile is a fixed number of rows that follows from the width alone, so every product of factors has the same shape
whoever asks for whichever rows: the bits do not depend on block size or order.

Memory: tiles of at most 4 MiB (one row, where a row is longer), about ten at a time and two more for each adapter,
whatever the tensor's size; 42 MiB for two adapters (tests/adapters/test_merge_sparse.py).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lft.adapters.deltas import Delta, Factors

TILE = 1 << 20  # numbers of one tile
_LOW = 15  # a float's magnitude has 31 bits: 16 are counted in the first pass, 15 in the second


def tile_rows(columns: int) -> int:
    """Rows of a tile, for a width."""
    return max(TILE // max(columns, 1), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One tensor's delta by rows: factors, a dense part, or both. A vector is one row."""

    name: str
    shape: tuple[int, int]
    factors: Factors | None
    dense: torch.Tensor | None

    def tile(self, start: int) -> torch.Tensor:
        """The rows of the tile that begins at ``start``, float32."""
        stop = min(start + tile_rows(self.shape[1]), self.shape[0])
        found = (
            self.factors.b[start:stop] @ self.factors.a if self.factors else torch.zeros(stop - start, self.shape[1])
        )
        return found if self.dense is None else found + self.dense[start:stop]

    def tiles(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Every tile with its first row."""
        for start in range(0, self.shape[0], tile_rows(self.shape[1])):
            yield start, self.tile(start)


def surface(delta: Delta, name: str) -> Surface:
    """One tensor of a delta by rows."""
    dense = delta.added.get(name)
    matrix = dense.reshape(1, -1) if dense is not None and dense.ndim == 1 else dense
    shape = delta.shape(name)
    return Surface(name, shape if len(shape) == 2 else (1, shape[0]), delta.factors.get(name), matrix)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A merged delta by rows: ``rule`` gives the tile that begins at a row.

    ``vector``: the tensor is one-dimensional (a bias) and has one row here.
    """

    name: str
    shape: tuple[int, int]
    rule: Callable[[int], torch.Tensor]
    vector: bool = False

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Blocks of so many rows (of a tile by default), each with its first row; float32 [rows x n]."""
        step = tile_rows(self.shape[1])
        if rows is None:
            yield from ((start, self.rule(start)) for start in range(0, self.shape[0], step))
            return
        for start in range(0, self.shape[0], rows):
            yield start, self.rows(start, min(start + rows, self.shape[0]))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows start..stop, the same bits as in any other cut."""
        step = tile_rows(self.shape[1])
        first = start // step * step
        return torch.cat([self.rule(at)[max(start - at, 0) : stop - at] for at in range(first, stop, step)])

    def in_order(self) -> Callable[[int, int], torch.Tensor]:
        """``rows`` for a reader that goes from top to bottom in small steps: the last tile is kept for the next one."""
        return replace(self, rule=functools.lru_cache(maxsize=1)(self.rule)).rows

    def tensor(self) -> torch.Tensor:
        """The whole, in the shape of the base's tensor."""
        whole = self.rows(0, self.shape[0])
        return whole[0] if self.vector else whole


@dataclass(frozen=True, slots=True)
class Cut:
    """The k largest magnitudes of some tensors: all above ``bits``, and of those equal to it the first ones.

    ``bits`` are those of a float32 magnitude, whose order is that of the numbers. ``tensor`` and ``place`` are the
    last one kept among the equal, in row-major order, tensor after tensor.
    """

    bits: int
    tensor: int
    place: int

    def mask(self, values: torch.Tensor, tensor: int, row: int) -> torch.Tensor:
        """Which of a tile's numbers are among the k largest; ``row`` is the tile's first."""
        bits = _magnitude(values)
        equal = bits == self.bits
        if tensor == self.tensor and bool(equal.any()):
            places = torch.arange(row * values.shape[1], row * values.shape[1] + values.numel()).view(values.shape)
            equal &= places <= self.place
        elif tensor > self.tensor:
            equal = torch.zeros_like(equal)
        return (bits > self.bits) | equal


NOTHING = Cut(0x7FFFFFFF, -1, -1)
EVERYTHING = Cut(-1, 1 << 62, 0)


def _magnitude(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32) & 0x7FFFFFFF


def largest(surfaces: Sequence[Surface], keep: int) -> Cut:
    """Where to cut so that exactly ``keep`` numbers stay, by two counting passes (a third where equals are parted).

    The first counts the upper 16 bits of all magnitudes, the second the lower 15 of those in the bin that holds the
    k-th: together that is its exact value, whatever the distribution, in 65,536 + 32,768 counters.
    """
    total = sum(rows * columns for rows, columns in (one.shape for one in surfaces))
    if keep <= 0 or keep >= total:
        return NOTHING if keep <= 0 else EVERYTHING
    high, above = _bin(_counts(surfaces, lambda bits: bits >> _LOW, 1 << 16), keep)
    low, over = _bin(
        _counts(surfaces, lambda bits: bits[bits >> _LOW == high] & ((1 << _LOW) - 1), 1 << _LOW), keep - above
    )
    bits = high << _LOW | low
    return Cut(bits, *_last_equal(surfaces, bits, keep - above - over))


def _counts(surfaces: Sequence[Surface], key: Callable[[torch.Tensor], torch.Tensor], bins: int) -> torch.Tensor:
    counts = torch.zeros(bins, dtype=torch.int64)
    for one in surfaces:
        for _, values in one.tiles():
            counts += torch.bincount(key(_magnitude(values).flatten()), minlength=bins)
    return counts


def _bin(counts: torch.Tensor, keep: int) -> tuple[int, int]:
    """The bin that holds the keep-th from above, and how many lie above that bin."""
    from_above = counts.flip(0).cumsum(0)
    place = int((from_above < keep).sum())
    number = len(counts) - 1 - place
    return number, int(from_above[place] - counts[number])


def _last_equal(surfaces: Sequence[Surface], bits: int, wanted: int) -> tuple[int, int]:
    """Tensor and place of the last one kept among those equal to the k-th."""
    for number, one in enumerate(surfaces):
        for row, values in one.tiles():
            places = (_magnitude(values).flatten() == bits).nonzero().flatten()
            if len(places) >= wanted:
                return number, row * one.shape[1] + int(places[wanted - 1])
            wanted -= len(places)
    raise AssertionError("fewer numbers at the threshold than were counted")


@dataclass(frozen=True, slots=True, eq=False)
class Surfaces:
    """Every tensor of one adapter, in the order of their names, and the cuts through all of them found so far."""

    key: str
    all: tuple[Surface, ...]
    cuts: dict[int, Cut] = field(default_factory=dict)

    def find(self, name: str) -> Surface | None:
        """One tensor of the adapter; None where it leaves that alone."""
        return next((one for one in self.all if one.name == name), None)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(one.shape[0] * one.shape[1] for one in self.all)

    def largest(self, keep: int) -> Cut:
        """Where to cut through the whole adapter."""
        if keep not in self.cuts:
            self.cuts[keep] = largest(self.all, keep)
        return self.cuts[keep]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One adapter's share of one tensor: its rows, its weight there, and the adapter that it belongs to.

    ``all_weights`` as in ``Weighted``.
    """

    weight: float
    surface: Surface
    model: Surfaces
    all_weights: float | None = None

    def top(self, share: float, *, of_model: bool = False) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """Which numbers are among the floor(share x size) largest, of this tensor or of the whole adapter.

        Returns:
            A function of a tile and its first row that gives a mask.
        """
        if of_model:
            number = self.model.all.index(self.surface)
            cut = self.model.largest(kept(share, self.model.size))
            return lambda values, row: cut.mask(values, number, row)
        rows, columns = self.surface.shape
        own = largest([self.surface], kept(share, rows * columns))
        return lambda values, row: own.mask(values, 0, row)


def kept(share: float, size: int) -> int:
    """floor(share x size), with the share taken as the decimal that was written (0.3 of 10 is 3, not 2)."""
    return int(round(share * size, 6))


def surfaces(delta: Delta, key: str) -> Surfaces:
    """All tensors of a delta by rows; ``key`` makes its random numbers its own."""
    return Surfaces(key, tuple(surface(delta, name) for name in delta.names()))


class Draws:
    """Random numbers of one tensor of one adapter, by row: 32 bits a number, whoever asks for whichever rows.

    Philox is a function of (key, counter): the key comes from seed, adapter and tensor, and each row has its own
    counters.
    """

    def __init__(self, seed: int, key: str, name: str, columns: int) -> None:
        digest = hashlib.sha256(f"{seed}|{key}|{name}".encode()).digest()
        self._key = int.from_bytes(digest[:16], "big")
        self._columns = columns
        self._counters = -(-columns // 8)  # one counter gives 4 x 64 bits

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Uniform numbers of [0, 1), float64 [rows x n], multiples of 2^-32."""
        bits = np.random.Philox(key=self._key)
        bits.advance(start * self._counters)
        raw = bits.random_raw((stop - start) * self._counters * 4).astype("<u8").view("<u4")
        uniform = raw.reshape(stop - start, -1)[:, : self._columns].astype(np.float64)
        return torch.from_numpy(uniform * 2.0**-32)
