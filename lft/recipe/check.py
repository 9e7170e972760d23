"""A tree of nodes against the closed schema: every mistake as one line with its place and the nearest right key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lft.recipe import words
from lft.recipe.document import Entry, MappingNode, Node, ScalarNode, SequenceNode
from lft.recipe.peft_options import option_faults
from lft.recipe.problems import Origin, Problem, listed, nearest, shown
from lft.recipe.rules import RULES, Rule
from lft.recipe.schema import Recipe
from lft.recipe.unsupported import NOT_YET
from lft.recipe.words import Path

# What stands in for the required keys while the rest of a broken recipe is looked at; never seen by anybody.
_STAND_IN = {"name": "x", "base": {"model": "x"}, "data": {"train": "x"}}


@dataclass(frozen=True, slots=True)
class _Fault:
    """One of pydantic's errors, at the key it is about."""

    path: Path
    kind: str  # missing, extra_forbidden, key (a free key that is no name), or anything else for a wrong value


def checked(
    root: MappingNode, whole: bool = True, allow_unsupported: bool = False
) -> tuple[Recipe, tuple[Problem, ...]]:
    """The recipe that the tree describes and everything that is wrong with it.

    With problems the recipe has stand-ins where it is wrong and is not for use. ``whole`` is False when a layer below
    could not be read: a key that is missing may be written there, and rules between keys cannot be judged.
    ``allow_unsupported`` lets through what this version cannot run yet, for planning.
    """
    values = plain(root)
    faults: list[_Fault] = []
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        faults = _folded(error, root)
        recipe = _without(values, faults)
    problems = [_problem(fault, root) for fault in faults if whole or fault.kind != "missing"]
    wrong = {_dotted(fault.path[:2]) for fault in faults}
    if whole:
        problems += _broken_rules(recipe, root, wrong)
    problems += _bad_options(recipe, root, wrong)
    return recipe, (*problems, *(() if allow_unsupported else _not_yet(recipe, root, wrong)))


def plain(node: Node) -> Any:
    """The tree without places, as pydantic reads it."""
    if isinstance(node, MappingNode):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.value


def entry_at(root: MappingNode, path: Path) -> Entry | None:
    """The key and value at a path, or None when the recipe does not say it."""
    entry = Entry(root.at, root)
    for part in path:
        below = _below(entry.node, part)
        if below is None:
            return None
        entry = below
    return entry


def _below(node: Node, part: str | int) -> Entry | None:
    if isinstance(node, MappingNode) and isinstance(part, str):
        return node.entries.get(part)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
        return Entry(node.items[part].at, node.items[part])
    return None


def _folded(error: ValidationError, root: MappingNode) -> list[_Fault]:
    """Pydantic's errors, one a key: it names each alternative of a union apart, a person made one mistake.

    A fault inside a value says more than one about the whole value: where somebody wrote a list, nobody needs to hear
    that it is not a text.
    """
    faults: dict[Path, _Fault] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        kind = "key" if item["loc"][-1:] == ("[key]",) else item["type"]
        fault = _Fault(_path(item["loc"], root, kind), kind)
        faults.setdefault(fault.path, fault)
    inner = {path[:length] for path in faults for length in range(len(path))}
    return [fault for path, fault in faults.items() if path not in inner]


def _path(loc: tuple[str | int, ...], root: MappingNode, kind: str) -> Path:
    """Pydantic's location without the names of union alternatives that it puts between the keys."""
    path: list[str | int] = []
    node: Node = root
    for part in loc:
        below = _below(node, part)
        if below is not None:
            path.append(part)
            node = below.node
    return (*path, loc[-1]) if kind == "missing" else tuple(path)


def _problem(fault: _Fault, root: MappingNode) -> Problem:
    if fault.kind == "missing":
        return _missing(fault.path, root)
    if fault.kind == "extra_forbidden":
        return _unknown(fault.path, root)
    if fault.kind == "key":
        return _wrong_key(fault.path, root)
    return _wrong_value(fault.path, root)


def _missing(path: Path, root: MappingNode) -> Problem:
    section = entry_at(root, path[:-1]) or Entry(root.at, root)
    meaning = words.fragment_at(path[:-1])["properties"][path[-1]].get("description", "")
    return Problem(section.at, f"{_dotted(path)} is missing: {meaning}")


def _unknown(path: Path, root: MappingNode) -> Problem:
    entry = entry_at(root, path) or Entry(root.at, root)
    section, key = path[:-1], str(path[-1])
    where = f" in {_dotted(section)}" if section else ""
    return Problem(entry.at, f"unknown key {shown(key)}{where}; {_suggestion(section, key)}")


def _suggestion(section: Path, key: str) -> str:
    """The key that was probably meant, here or in another section; else the keys there are."""
    here = words.keys_at(section)
    if close := nearest(key, here):
        return f"nearest: {shown(close)}"
    elsewhere = {str(path[-1]): _dotted(path) for path in reversed(list(words.leaves()))}
    if close := nearest(key, elsewhere):
        return f"nearest: {shown(elsewhere[close])}"
    if key == "extends":
        return "extends stands at the top of a recipe file"
    return f"keys here: {listed(here, limit=30)}"


def _wrong_key(path: Path, root: MappingNode) -> Problem:
    entry = entry_at(root, path) or Entry(root.at, root)
    expected = words.expected_key(words.fragment_at(path[:-1]))
    return Problem(entry.at, f"{_dotted(path[:-1])}: expected {expected} as a key, got {shown(str(path[-1]))}")


def _wrong_value(path: Path, root: MappingNode) -> Problem:
    entry = entry_at(root, path) or Entry(root.at, root)
    fragment = words.fragment_at(path)
    text = f"{_dotted(path)}: expected {words.expectation(fragment)}, got {_described(entry.node)}"
    return Problem(entry.node.at, text + _hint(entry.node, fragment))


def _described(node: Node) -> str:
    if isinstance(node, MappingNode):
        return f"a mapping with the keys {shown(listed(node.entries, limit=4))}" if node.entries else "an empty mapping"
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.items)}"
    if node.value is None and not node.text:
        return "nothing"
    return f"the text {shown(node.text)}" if node.quoted else shown(node.text)


def _hint(node: Node, fragment: words.Fragment) -> str:
    """The next step, where the mistake gives it away."""
    if not isinstance(node, ScalarNode):
        return ""
    if node.text and not node.quoted and not isinstance(node.value, str) and words.takes_text(fragment):
        return "; write it in quotes"
    close = nearest(node.text, words.choices(fragment)) if node.text else None
    return f"; nearest: {shown(close)}" if close else ""


def _without(values: dict[str, Any], faults: Iterable[_Fault]) -> Recipe:
    """The recipe with defaults in place of what is wrong, so that its other parts can be judged."""
    kept = {key: dict(part) if isinstance(part, dict) else part for key, part in values.items()}
    for fault in faults:
        match fault.path:
            case ():
                kept.clear()
            case (str(key),):
                kept.pop(key, None)
            case (str(section), key, *_):
                kept[section].pop(key, None)
    for key, value in _STAND_IN.items():
        kept[key] = {**value, **kept.get(key, {})} if isinstance(value, dict) else kept.get(key, value)
    return Recipe.model_validate(kept)


def _broken_rules(recipe: Recipe, root: MappingNode, wrong: set[str]) -> list[Problem]:
    return [
        Problem(_origin_of_first(rule.reads, root), broken)
        for rule in RULES
        if not _touches(rule, wrong) and (broken := rule.broken_by(recipe))
    ]


def _bad_options(recipe: Recipe, root: MappingNode, wrong: set[str]) -> list[Problem]:
    """PEFT's options, each at its own place; the kind decides which there are."""
    if wrong & {"method", "method.kind", "method.options"}:
        return []
    return [
        Problem(
            _origin_of_first((".".join(("method", *fault.path)), "method.options", "method.kind"), root), fault.what
        )
        for fault in option_faults(recipe.method)
    ]


def _touches(rule: Rule, wrong: set[str]) -> bool:
    sections = {read.split(".")[0] for read in rule.reads}
    return bool(wrong & ({*rule.reads} | sections))


def _origin_of_first(keys: Iterable[str], root: MappingNode) -> Origin:
    """The first of the keys that the recipe writes; a default cannot be pointed at."""
    for key in keys:
        if entry := entry_at(root, tuple(key.split("."))):
            return entry.node.at
    return root.at


def _not_yet(recipe: Recipe, root: MappingNode, wrong: set[str]) -> list[Problem]:
    return [
        Problem(
            _origin_of_first((item.key,), root),
            f"{item.key}: {asked} is not yet supported by this version ({item.note})",
        )
        for item in NOT_YET
        if item.key not in wrong and (asked := item.asked(recipe)) is not None
    ]


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part, quote='')}" if text else shown(part, quote="")
    return text
