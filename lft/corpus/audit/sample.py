"""A stratified sample of data sets, drawn by hash: the same rows for the same seed, whatever their order."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lft.corpus.step import read_records
from lft.data.example import Example
from lft.data.sources import Notify, open_split
from lft.errors import InputError, RecipeError
from lft.files import write_text
from lft.recipe.schema import Data, Split

ITEMS: Final = "items.jsonl"
WRITTEN: Final = "6-write"  # a build's data set lies in OUTPUT/NAME/6-write


@dataclass(frozen=True, slots=True)
class Item:
    """A pair that is judged. ``dataset`` is not shown to who judges."""

    id: str
    dataset: str
    instruction: str
    answer: str
    stratum: str = ""


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """What data sets are called in a report, with their paths: the last part of each, of a build its name.

    Those that would have one name are called by their paths.

    Raises:
        RecipeError: one path stands there twice.
    """
    short = [_short(path) for path in paths]
    names = [path if short.count(name) > 1 else name for path, name in zip(paths, short, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError("a data set cannot be compared with itself", where=twice, fix="name it once")
    return dict(zip(names, paths, strict=True))


def _short(path: str) -> str:
    there = Path(path).resolve()
    return there.parent.name if there.name == WRITTEN else Path(path).name or there.name


def items_of(path: str, name: str, split: str, cache: Path, notify: Notify) -> list[Item]:
    """The pairs of a data set: a folder that lft built, a file, or a hub id, in any format that lft trains on.

    Raises:
        InputError: it is not there or cannot be read.
    """
    data = Data(train=path, split=Split(train=split, validation=None))
    examples = open_split(data, "train", seed=0, notify=notify, cache=cache)
    return [_item(name, one) for one in examples or ()]


def _item(dataset: str, example: Example) -> Item:
    asked = [turn.content for turn in example.turns[:-1]]
    instruction = "\n\n".join([*asked, *([example.context] if example.context else [])])
    digest = hashlib.sha256("\x1f".join((dataset, instruction, example.output)).encode("utf-8", "surrogatepass"))
    stratum = " / ".join(filter(None, (example.source, example.lang)))
    return Item(digest.hexdigest()[:16], dataset, instruction, example.output, stratum)


def draw(items: Iterable[Item], number: int, seed: int) -> list[Item]:
    """A sample in which every stratum has its share, and none that can be had is without one.

    Shares are rounded by largest remainder; where there are more strata than rows, the largest ones come first. Equal
    pairs count once.

    Args:
        items: all of one data set.
        number: how many; all, where there are fewer.
        seed: of the draw.
    """
    strata: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        strata[item.stratum][item.id] = item
    shares = _shares({name: len(those) for name, those in strata.items()}, number)
    chosen: list[Item] = []
    for name, count in shares.items():
        chosen += sorted(strata[name].values(), key=lambda item: order_of(item.id, str(seed)))[:count]
    return sorted(chosen, key=lambda item: order_of(item.id, str(seed)))


def _shares(sizes: Mapping[str, int], number: int) -> dict[str, int]:
    total = sum(sizes.values())
    number = min(number, total)
    shares = dict.fromkeys(sizes, 0)
    for name in sorted(sizes, key=lambda name: (-sizes[name], name))[:number]:
        shares[name] = 1
    left = number - sum(shares.values())
    ideal = {name: number * size / total for name, size in sizes.items()}
    for _ in range(left):
        name = max((n for n in sizes if shares[n] < sizes[n]), key=lambda name: (ideal[name] - shares[name], name))
        shares[name] += 1
    return shares


def order_of(id: str, word: str) -> str:
    """A key that puts items into an order of chance that a word decides (the seed's, or a rater's name)."""
    return hashlib.sha256(f"{word}\x1f{id}".encode()).hexdigest()


def save_items(folder: Path, items: Sequence[Item]) -> None:
    """Put down what is to be judged."""
    lines = (json.dumps(asdict(item), ensure_ascii=False) for item in items)
    write_text(folder / ITEMS, "".join(f"{line}\n" for line in lines))


def load_items(folder: Path) -> list[Item]:
    """What is to be judged. Raises InputError where there is nothing."""
    if not (folder / ITEMS).is_file():
        raise InputError(
            "no audit lies here", where=str(folder), fix="lft corpus sample-audit DATA --into FOLDER draws one"
        )
    return [Item(**record) for record in read_records(folder / ITEMS)]
