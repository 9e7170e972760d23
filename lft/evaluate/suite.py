"""Evaluation suites: found by name, read as closed files, and turned into items."""

from __future__ import annotations

import hashlib
import json
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.errors import InputError
from lft.evaluate.item import Item
from lft.evaluate.suite_draw import drawn_items, lowest
from lft.evaluate.suite_rows import SUITES
from lft.evaluate.suite_schema import METRICS, Part, Suite
from lft.recipe.catalogue_files import recipes_in
from lft.recipe.closed import Closed, Rule
from lft.recipe.load import load_closed
from lft.recipe.problems import BadRecipe, Origin, Problem, listed, nearest, shown

_PUBLISHED: Final = (*METRICS, "accuracy")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The items of a suite.

    ``digest`` covers the suite's file and its items; ``left_out`` counts rows that became no item, by reason;
    ``places`` are what was read, with the commit or sha256 of each.
    """

    suite: Suite
    items: tuple[Item, ...]
    digest: str
    offline: bool
    left_out: Mapping[str, int]
    places: tuple[str, ...]


# --- the file ------------------------------------------------------------------------------------------------------


def there_is_something_to_ask(suite: Suite) -> str | None:
    """Items need rows and wording; the harness brings its own."""
    if suite.kind == "harness":
        return None if suite.harness else "kind: harness needs the section harness, with tasks and shots"
    if suite.harness:
        return "kind: generation does not go with the section harness; write kind: harness"
    if not suite.prompt:
        return "prompt is missing: the instruction in each language, such as prompt: {en: '{input}'}"
    return None if suite.data or suite.offline else "data and offline are both empty: there is nothing to ask"


def templates_are_whole(suite: Suite) -> str | None:
    """A brace that is not closed would show up at the first row."""
    for text in (*suite.prompt.values(), suite.context, suite.reference):
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        except ValueError as error:
            return f"a template is broken ({error}): {shown(text)}; write braces of the text itself as {{{{ and }}}}"
        if not all(name.isidentifier() for name in names):
            return f"a template may hold names of columns in braces only: {shown(text)}"
    return None


def languages_have_wording(suite: Suite) -> str | None:
    """A part in a language that nobody can ask in would be left out whole."""
    for part in (*suite.data, *suite.offline):
        if suite.kind == "generation" and part.lang and part.lang not in suite.prompt:
            return f"{part.path} is in {part.lang}, and prompt has no wording for it; there are {listed(suite.prompt)}"
    return None


def published_metrics_are_known(suite: Suite) -> str | None:
    """A published score stands beside one's own of the same name."""
    for one in suite.published:
        if one.metric not in _PUBLISHED:
            return f"published: no metric is named {shown(one.metric)}{_hint(one.metric, _PUBLISHED)}"
    return None


def _hint(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"; nearest: {shown(close)}" if close else f"; there are {listed(known, limit=30)}"


_STAND_IN: Final = {
    "name": "x", "version": 1, "about": "x", "group": "in-domain", "licence": "x", "origin": "x",
    "prompt": {"en": "x"}, "data": [{"path": "x", "lang": "en"}],
}  # fmt: skip
SUITE: Final = Closed(
    Suite,
    "suite",
    _STAND_IN,
    (
        Rule(("kind", "harness", "prompt", "data", "offline"), there_is_something_to_ask),
        Rule(("prompt", "context", "reference"), templates_are_whole),
        Rule(("data", "offline", "prompt"), languages_have_wording),
        Rule(("published",), published_metrics_are_known),
    ),
)


def suite_names() -> tuple[str, ...]:
    """Suites that ship with lft."""
    return tuple(sorted(path.stem for path in SUITES.glob("*.yaml")))


def find_suite(name_or_path: str | Path) -> Path:
    """The file that is meant: an existing path, or the name of a suite that ships with lft.

    Raises RecipeError (a BadRecipe) for anything else, with the nearest.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) in suite_names():
        return SUITES / f"{name_or_path}.yaml"
    near = [*recipes_in(path.parent), *suite_names()]
    what = f"no such file, and no suite of this name{_hint(path.name, near)}"
    raise BadRecipe([Problem(Origin(str(name_or_path), 1, 1), what)])


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite of a file with ``key.path=value`` overrides on top; ``./x`` in it starts at the file's folder.

    Raises RecipeError (a BadRecipe that carries ``problems``) with everything that is wrong, one line each.
    """
    suite = load_closed(path, SUITE, overrides)
    parts = {key: tuple(_anchored(one, path.parent) for one in getattr(suite, key)) for key in ("data", "offline")}
    return suite.model_copy(update=parts)


def _anchored(part: Part, folder: Path) -> Part:
    if part.path.startswith(("./", "../")):
        return part.model_copy(update={"path": str((folder / part.path).resolve())})
    return part


def read_from(suite: Suite, path: str) -> Suite:
    """The suite with its full data read from another place: data that were fetched by hand.

    A suite whose data lie in several places is given a folder or file whose rows say their language (column ``lang``).
    """
    known = suite.data or (Part(path=path),)
    lang = known[0].lang if len(known) == 1 else None
    part = known[0].model_copy(update={"path": path, "lang": lang, "config": None, "revision": None})
    return suite.model_copy(update={"data": (part,)})


# --- its items -----------------------------------------------------------------------------------------------------


def items_of(
    suite: Suite, offline: bool, cache: Path, notify: Callable[[str], None], limit: int | None = None
) -> Loaded:
    """The items of a suite, in the order of its data; the same ones in every run.

    Args:
        suite: one that lft generates answers to (the harness reads its own questions).
        offline: the small set that needs no network instead of the full data.
        cache: folder where rows that were drawn from the hub are kept.
        notify: told what takes long.
        limit: items at most of each language. An id is a hash, so the lowest ids are an even draw.

    Raises:
        InputError: data that are not there or cannot be read, a column that no row has, or no item is left.
    """
    parts = suite.offline if offline else suite.data
    if not parts:
        raise _no_data(suite, offline)
    drawn = [drawn_items(part, suite, cache, notify) for part in parts]
    left_out = sum((Counter(one.left_out) for one in drawn), Counter[str]())
    found = [item for one in drawn for item in one.items]
    items = list({item.id: item for item in found}.values())
    kept = lowest(items, limit, lambda item: item.lang)
    left_out += Counter({"the same item twice": len(found) - len(items), "over the limit": len(items) - len(kept)})
    if not kept:
        why = listed(f"{reason}: {count}" for reason, count in left_out.items())
        raise InputError(f"no item is left of the suite {suite.name} ({why})", where=parts[0].path, fix="see its file")
    digest = _digest(suite, kept, offline)
    return Loaded(suite, tuple(kept), digest, offline, dict(left_out), tuple(one.place for one in drawn))


def _no_data(suite: Suite, offline: bool) -> InputError:
    if suite.kind == "harness":
        return InputError(f"{suite.name} is run by lm-evaluation-harness, which brings its own questions")
    if offline:
        return InputError("this suite has no offline set", where=suite.name, fix="run it on its full data")
    fix = suite.by_hand or "run its offline set"
    return InputError("the full data of this suite are not on the hub", where=suite.name, fix=fix)


def _digest(suite: Suite, items: Iterable[Item], offline: bool) -> str:
    """Of what decides on an answer and its score; not of the words about the suite, nor of what others scored."""
    told = suite.model_dump(mode="json", exclude={"about", "origin", "by_hand", "published", "data", "offline"})
    made = [told, offline, [item.id for item in items]]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
