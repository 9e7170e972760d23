"""Tensors as bit patterns: pieces of a file, conversions between float formats, differences that are undone exactly.

Subtracting floats loses bits: base + (tuned - base) is tuned only up to rounding. Subtracting the bit patterns as
unsigned integers, modulo 2**n, loses none, whatever they mean: numbers, infinities, every NaN. Where a weight moved
little the difference is a small integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lft.base.headers import BITS, TensorInfo
from lft.errors import InputError

Words = npt.NDArray[Any]  # unsigned little-endian integers, one a value

FLOATS: Final = ("F16", "BF16", "F32")
PIECE: Final = 512 * 1024  # values held at once; a tensor may be larger than memory
_NAN: Final = {"F16": 0x7E00, "BF16": 0x7FC0, "F32": 0x7FC00000}


def word_bytes(dtype: str) -> int:
    """Bytes of the integer that stands for one value; formats below a byte are taken byte by byte."""
    return BITS[dtype] // 8 or 1


def words_in(tensor: TensorInfo) -> int:
    """How many words a tensor is."""
    return (tensor.end - tensor.start) // word_bytes(tensor.dtype)


def pieces(tensor: TensorInfo, size: int = PIECE) -> Iterator[Words]:
    """The tensor's words, at most ``size`` at a time. Raises InputError when the file ends before the tensor does."""
    width = word_bytes(tensor.dtype)
    left = tensor.end - tensor.start
    with tensor.file.open("rb") as file:
        file.seek(tensor.start)
        while left:
            data = file.read(min(size * width, left))
            if not data or len(data) % width:
                raise InputError(f"the file was cut while tensor {tensor.name!r} was read", where=str(tensor.file))
            left -= len(data)
            yield np.frombuffer(data, f"<u{width}")


def paired(upper: TensorInfo, base: TensorInfo) -> Iterator[tuple[Words, Words]]:
    """Pieces of two tensors over the same positions; behind the end of the base its piece is shorter, then empty."""
    nothing = np.empty(0, f"<u{word_bytes(base.dtype)}")
    yield from zip(pieces(upper), chain(pieces(base), repeat(nothing)), strict=False)


def equal(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two tensors are the same in dtype, shape and every bit; stops reading at the first difference."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(np.array_equal(a, b) for a, b in zip(pieces(one), pieces(other), strict=True))


def subtracted(tuned: Words, base: Words) -> Words:
    """``tuned - base`` modulo 2**n over the base's length; what the base does not have stays as it is."""
    found = tuned.copy()
    found[: len(base)] -= base
    return found


def restored(difference: Words, base: Words) -> Words:
    """What ``subtracted`` was made from: ``base + difference`` modulo 2**n."""
    found = difference.copy()
    found[: len(base)] += base
    return found


def converted(words: Words, source: str, target: str) -> Words:
    """Floats of one format in another, rounded to nearest even; every NaN that is converted becomes the same one.

    Both formats are of FLOATS, or the same. The result depends on no processor: it is part of what a difference means.
    """
    if source == target:
        return words
    single = _single(words, source)
    if target == "F32":
        found = single.view("<u4")
    elif target == "F16":
        with np.errstate(over="ignore"):
            found = single.astype("<f2").view("<u2")
    else:
        bits = single.view("<u4")
        found = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return np.where(np.isnan(single), np.asarray(_NAN[target], found.dtype), found)


def added(difference: Words, kind: str, base: Words, base_kind: str) -> Words:
    """Float sum in the difference's format, as others' tools compute it: in float32, then rounded once more to 16 bits.

    What the base does not have counts as 0 there.
    """
    total = _single(difference, kind).copy()
    with np.errstate(all="ignore"):
        total[: len(base)] += _single(base, base_kind)
    bits = np.where(np.isnan(total), np.asarray(_NAN["F32"], "<u4"), total.view("<u4"))
    return converted(bits, "F32", kind)


def _single(words: Words, kind: str) -> npt.NDArray[Any]:
    if kind == "F32":
        return words.view("<f4")
    if kind == "F16":
        return words.view("<f2").astype("<f4")
    return (words.astype("<u4") << 16).view("<f4")
