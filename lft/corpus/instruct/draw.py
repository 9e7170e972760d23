"""Chance that is the same in every run: a hash of a seed, of what is drawn, and of whom it is drawn for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def share(seed: int, what: str, id: str) -> float:
    """A number in [0, 1), even over ids. Over a set, shares drawn so are met up to chance, not exactly."""
    return _bits(seed, what, id) / 2**64


def number(seed: int, what: str, id: str) -> int:
    """A number of 31 bits, which every endpoint takes as a seed."""
    return _bits(seed, what, id) >> 33


def one_of(names: Sequence[Name], seed: int, what: str, id: str) -> Name:
    """One of some, each as likely."""
    return names[int(share(seed, what, id) * len(names))]


def by_share(shares: Mapping[Name, float], seed: int, what: str, id: str) -> Name:
    """One of the names; their shares sum to 1."""
    left = share(seed, what, id)
    for name, part in shares.items():
        left -= part
        if left < 0:
            return name
    return max(shares, key=lambda name: shares[name])  # the sum was rounded to a little less than 1


def _bits(seed: int, what: str, id: str) -> int:
    text = f"{seed}\x1f{what}\x1f{id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])
