"""Which split a pair goes to: by a hash of what it belongs with.

So near-duplicates never cross, and a data set that grows leaves every document where it was.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from lft.corpus.document import Pair
from lft.corpus.schema import Write

SplitName = Literal["train", "validation", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")
_SPACE: Final = re.compile(r"\W+")


def components(pairs: Iterable[Pair], near: Mapping[str, str]) -> dict[str, str]:
    """The group of each pair, named by its smallest id.

    Pairs belong together when their documents are near-duplicates, or when their instructions or their answers are the
    same but for case, space and punctuation.

    Args:
        pairs: all of the data set.
        near: of a document's id, the name of its group of near-duplicates; others are alone.
    """
    above: dict[str, str] = {}
    first: dict[str, str] = {}
    for pair in pairs:
        above.setdefault(pair.id, pair.id)
        keys = [f"in {_digest(pair.input)}", f"out {_digest(pair.output)}"]
        keys += [f"near {near[pair.id]}"] if pair.id in near else []
        for key in keys:
            _join(above, first.setdefault(key, pair.id), pair.id)
    return {one: _top(above, one) for one in above}


def splits(groups: Mapping[str, str], write: Write, seed: int) -> dict[str, SplitName]:
    """The split of each pair.

    The shares hold on average. A split that was asked for and came out empty gets the group that was nearest to it,
    where there are groups enough to leave one to train on.
    """
    drawn = {group: _draw(group, seed) for group in sorted(set(groups.values()))}
    of_group = {group: _split(at, write) for group, at in drawn.items()}
    wanted: list[SplitName] = ["test"] if write.test else []
    wanted += ["validation"] if write.validation else []
    for name in wanted:
        train = sorted((at, group) for group, at in drawn.items() if of_group[group] == "train")
        if name not in of_group.values() and len(train) > 1:
            of_group[train[0][1]] = name
    return {one: of_group[group] for one, group in groups.items()}


def _split(at: float, write: Write) -> SplitName:
    if at < write.test:
        return "test"
    return "validation" if at < write.test + write.validation else "train"


def _draw(group: str, seed: int) -> float:
    """A number in [0, 1) that only the group and the seed decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()[:8], "big") / 2**64


def _digest(text: str) -> str:
    plain = _SPACE.sub(" ", text.casefold()).strip()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _top(above: dict[str, str], one: str) -> str:
    while above[one] != one:
        above[one] = above[above[one]]
        one = above[one]
    return one


def _join(above: dict[str, str], one: str, other: str) -> None:
    low, high = sorted((_top(above, one), _top(above, other)))
    above[high] = low
