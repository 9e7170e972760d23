"""Which items of a suite's data are taken: drawn by hash, and kept for the next run where they come from the hub."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lft.errors import InputError
from lft.evaluate.item import Item, Wanted
from lft.evaluate.suite_rows import Opened, SuiteRow, located, rows_here, rows_of_hub
from lft.evaluate.suite_schema import Part, Suite
from lft.evaluate.suite_template import Skipped, first_checked, item_of
from lft.files import write_text

Notify = Callable[[str], None]
_PRUNE: Final = 20_000  # items that are held before those that cannot be drawn are let go
_FORMAT: Final = 1
DRAWS: Final = "suites"  # folder of the cache that keeps what was drawn from the hub


@dataclass(frozen=True, slots=True)
class Drawn:
    """Items of one part, what was left out of it by reason, and where they come from."""

    items: tuple[Item, ...]
    left_out: Mapping[str, int]
    place: str


def drawn_items(part: Part, suite: Suite, cache: Path, notify: Notify) -> Drawn:
    """The items of a part, in the order of its rows; what was drawn from the hub is kept in ``cache``.

    Raises:
        InputError: data that are not there or cannot be read, or a column that they do not have.
    """
    try:
        place = located(part)
        if place.kind != "hub":
            return _drawn(rows_here(part, place), part, suite)
    except InputError as error:
        if suite.by_hand and "no such file" in error.what:
            raise InputError(error.what, where=error.where, fix=suite.by_hand) from None
        raise
    return _of_hub(part, suite, cache, notify)


def lowest(items: Iterable[Item], size: int | None, group: Callable[[Item], str]) -> list[Item]:
    """The ``size`` lowest ids of each group, in the order they came in; an id is a hash, so this is an even draw."""
    found = list(items)
    if size is None:
        return found
    taken: Counter[str] = Counter()
    chosen: set[int] = set()
    for number in sorted(range(len(found)), key=lambda number: (found[number].id, number)):
        taken[group(found[number])] += 1
        if taken[group(found[number])] <= size:
            chosen.add(number)
    return [item for number, item in enumerate(found) if number in chosen]


def _drawn(opened: Opened, part: Part, suite: Suite) -> Drawn:
    left_out: Counter[str] = Counter()
    found, kept = 0, list[Item]()
    for item in _items(opened.rows, part, suite, left_out):
        found += 1
        kept.append(item)
        if len(kept) >= _PRUNE and (part.per_source or part.limit):
            kept = _first_draw(kept, part)
    kept = lowest(_first_draw(kept, part), part.limit, _lang)
    left_out["not drawn"] += found - len(kept)
    return Drawn(tuple(kept), dict(+left_out), opened.place)


def _first_draw(items: list[Item], part: Part) -> list[Item]:
    """A draw that may be made again on its result and more items, and is then the draw of all."""
    if part.per_source:
        return lowest(items, part.per_source, lambda item: f"{item.lang} {item.source}")
    return lowest(items, part.limit, _lang)


def _lang(item: Item) -> str:
    return item.lang


def _items(rows: Iterator[SuiteRow], part: Part, suite: Suite, left_out: Counter[str]) -> Iterator[Item]:
    for row in first_checked(suite, part, rows):
        try:
            yield item_of(suite, part, row)
        except Skipped as reason:
            left_out[str(reason)] += 1


# --- kept draws ----------------------------------------------------------------------------------------------------


def _of_hub(part: Part, suite: Suite, cache: Path, notify: Notify) -> Drawn:
    from lft.data.hub import commit_of

    folder = cache / DRAWS / _key(part, suite)
    commit = commit_of(part.path, part.revision, notify)
    if commit is None and (known := _newest(folder)):
        notify(f"{part.path}: the hub was not reached; using the items that were drawn from {known.stem[:12]}")
        return _loaded(known)
    kept = folder / f"{commit}.json"
    if commit is not None and kept.is_file():
        return _loaded(kept)
    notify(f"{part.path}: drawing items of {suite.name} from the hub")
    drawn = _drawn(rows_of_hub(part, notify), part, suite)
    if commit is not None:
        folder.mkdir(parents=True, exist_ok=True)
        made = {"items": [asdict(item) for item in drawn.items], "left_out": drawn.left_out, "place": drawn.place}
        write_text(kept, json.dumps(made, ensure_ascii=False))
    return drawn


def kept_draw(part: Part, suite: Suite, cache: Path) -> Drawn | None:
    """What was drawn from the hub last; None where nothing was."""
    known = _newest(cache / DRAWS / _key(part, suite))
    return _loaded(known) if known else None


def _key(part: Part, suite: Suite) -> str:
    """Of all that decides which items come out of the same rows."""
    deciding = {"name", "prompt", "context", "reference", "wanted", "wanted_in_prompt"}
    told = [_FORMAT, suite.model_dump(mode="json", include=deciding), part.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, default=None)


def _loaded(path: Path) -> Drawn:
    made = json.loads(path.read_text(encoding="utf-8"))
    items = (Item(**{**one, "wanted": tuple(Wanted(**want) for want in one["wanted"])}) for one in made["items"])
    return Drawn(tuple(items), made["left_out"], made["place"])
