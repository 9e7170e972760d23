"""The texts that suites ask with and compare with: what must not be trained on (`lft corpus`, contamination)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lft.data.locate import SAMPLES
from lft.evaluate.item import Item
from lft.evaluate.suite import find_suite, load_suite, suite_names
from lft.evaluate.suite_draw import DRAWS, kept_draw
from lft.evaluate.suite_rows import SHIPPED, SUITES, located, rows_here
from lft.evaluate.suite_schema import Part, Suite
from lft.evaluate.suite_template import fields, texts_of
from lft.files import sha256


def suite_texts(names: Sequence[str], cache: Path) -> Iterator[tuple[str, str]]:
    """Each text of suites with the suite's name, questions and answers alike, without the suites' wording.

    ``all`` means every suite that ships with lft; a path is a suite file of one's own. Read are the offline sets, what
    of the full data lies on this machine as files, and what was drawn from the hub before (in ``cache``); nothing is
    fetched.

    Raises:
        RecipeError: there is no such suite, or its file is wrong.
        InputError: a row cannot be read.
    """
    wanted = [*suite_names(), *names] if "all" in names else names
    suites = {name: load_suite(find_suite(name)) for name in dict.fromkeys(wanted) if name != "all"}
    return ((suite.name, text) for suite in suites.values() for text in _all_texts(suite, cache))


def suite_texts_digest(cache: Path) -> str:
    """Changes whenever a set that ships with lft does, or another one was drawn from the hub."""
    files = [*sorted(SUITES.glob("*.yaml")), *sorted(SUITES.glob("*.jsonl")), *sorted(SAMPLES.glob("*.jsonl"))]
    files += sorted((cache / DRAWS).glob("*/*.json"))
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()


def _all_texts(suite: Suite, cache: Path) -> Iterator[str]:
    for part in _here(suite):
        yield from _texts(suite, part)
    for part in suite.data:
        if drawn := None if _is_here(part) else kept_draw(part, suite, cache):
            yield from _texts_of_items(suite, drawn.items)


def _texts_of_items(suite: Suite, items: Iterable[Item]) -> Iterator[str]:
    """References and contexts, and questions where the suite puts no words of its own around them."""
    for item in items:
        wording = suite.prompt[item.lang].strip()
        bare = fields(wording) == [wording[1:-1]]
        yield from filter(None, (item.instruction if bare else "", item.context, item.reference))


def _here(suite: Suite) -> Iterator[Part]:
    yield from (part for part in suite.offline if part.path.startswith(SHIPPED) or _is_here(part))
    yield from (part for part in suite.data if _is_here(part))


def _is_here(part: Part) -> bool:
    return Path(part.path).expanduser().exists()


def _texts(suite: Suite, part: Part) -> Iterator[str]:
    for row in rows_here(part, located(part)).rows:
        yield from texts_of(suite, part, row)
