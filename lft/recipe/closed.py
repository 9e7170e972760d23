"""A tree of nodes against a closed pydantic model: every mistake as one line with its place and the nearest right key.

Recipes, corpus builds and evaluation suites are read through here; each brings its model and its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from lft.recipe.document import Entry, MappingNode, Node, ScalarNode, SequenceNode
from lft.recipe.problems import Origin, Problem, listed, nearest, shown
from lft.recipe.words import Fragment, Path, Words, leaves, takes_text

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rule(Generic[M]):
    """A promise between the keys it reads: ``broken_by`` says what is broken, or None.

    The first key that the file writes is the place a problem points at, and a rule stays silent while one of them is
    itself wrong.
    """

    reads: tuple[str, ...]
    broken_by: Callable[[M], str | None]


@dataclass(frozen=True, slots=True)
class Closed(Generic[M]):
    """A kind of file: its model, what people call it, what stands in for required keys while the rest is looked at, and
    its rules."""

    model: type[M]
    kind: str
    stand_in: Mapping[str, Any]
    rules: Sequence[Rule[M]] = ()

    def checked(self, root: MappingNode, whole: bool = True) -> Checked[M]:
        """What the tree describes and everything that is wrong with it.

        ``whole`` is False when a layer below could not be read: a key that is missing may be written there, and rules
        between keys cannot be judged.
        """
        values = plain(root)
        faults: list[_Fault] = []
        try:
            made = self.model.model_validate(values)
        except ValidationError as error:
            faults = _folded(error, root)
            made = self.model.model_validate(_without(values, faults, self.stand_in))
        reader = _Reader(_words(self.model), root)
        problems = [reader.problem(fault) for fault in faults if whole or fault.kind != "missing"]
        wrong = frozenset(dotted(fault.path[:2]) for fault in faults)
        if whole:
            problems += self._broken(made, root, wrong)
        return Checked(made, tuple(problems), wrong)

    def _broken(self, made: M, root: MappingNode, wrong: frozenset[str]) -> list[Problem]:
        return [
            Problem(origin_of_first(rule.reads, root), broken)
            for rule in self.rules
            if not _touches(rule.reads, wrong) and (broken := rule.broken_by(made))
        ]


@dataclass(frozen=True, slots=True)
class Checked(Generic[M]):
    """A model's values; with problems it has stand-ins where it is ``wrong`` (dotted keys) and is not for use."""

    value: M
    problems: tuple[Problem, ...]
    wrong: frozenset[str]


@cache
def _words(model: type[BaseModel]) -> Words:
    return Words(model)


@dataclass(frozen=True, slots=True)
class _Fault:
    """One of pydantic's errors, at the key it is about."""

    path: Path
    kind: str  # missing, extra_forbidden, key (a free key that is no name), or anything else for a wrong value


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


@dataclass(frozen=True, slots=True)
class _Reader:
    """Puts faults into words."""

    words: Words
    root: MappingNode

    def at(self, path: Path) -> Entry:
        """The key and value at a path, else the whole."""
        return entry_at(self.root, path) or Entry(self.root.at, self.root)

    def problem(self, fault: _Fault) -> Problem:
        """One fault at its place."""
        if fault.kind == "missing":
            return self._missing(fault.path)
        if fault.kind == "extra_forbidden":
            return self._unknown(fault.path)
        if fault.kind == "key":
            return self._wrong_key(fault.path)
        return self._wrong_value(fault.path)

    def _missing(self, path: Path) -> Problem:
        return Problem(self.at(path[:-1]).at, f"{dotted(path)} is missing: {self.words.meaning(path)}")

    def _unknown(self, path: Path) -> Problem:
        entry = self.at(path)
        section, key = path[:-1], str(path[-1])
        where = f" in {dotted(section)}" if section else ""
        return Problem(entry.at, f"unknown key {shown(key)}{where}; {self._suggestion(section, key)}")

    def _suggestion(self, section: Path, key: str) -> str:
        """The key that was probably meant, here or in another section; else the keys there are."""
        here = self.words.keys_at(section)
        if close := nearest(key, here):
            return f"nearest: {shown(close)}"
        elsewhere = {str(path[-1]): dotted(path) for path in reversed(list(leaves(self.words.model)))}
        if close := nearest(key, elsewhere):
            return f"nearest: {shown(elsewhere[close])}"
        if key == "extends":
            return "extends stands at the top of a recipe file"
        return f"keys here: {listed(here, limit=30)}"

    def _wrong_key(self, path: Path) -> Problem:
        entry = self.at(path)
        expected = self.words.expected_key(self.words.fragment_at(path[:-1]))
        return Problem(entry.at, f"{dotted(path[:-1])}: expected {expected} as a key, got {shown(str(path[-1]))}")

    def _wrong_value(self, path: Path) -> Problem:
        entry = self.at(path)
        fragment = self.words.fragment_at(path)
        text = f"{dotted(path)}: expected {self.words.expectation(fragment)}, got {_described(entry.node)}"
        return Problem(entry.node.at, text + self._hint(entry.node, fragment))

    def _hint(self, node: Node, fragment: Fragment) -> str:
        """The next step, where the mistake gives it away."""
        if not isinstance(node, ScalarNode):
            return ""
        if node.text and not node.quoted and not isinstance(node.value, str) and takes_text(fragment):
            return "; write it in quotes"
        close = nearest(node.text, self.words.choices(fragment)) if node.text else None
        return f"; nearest: {shown(close)}" if close else ""


def _described(node: Node) -> str:
    if isinstance(node, MappingNode):
        return f"a mapping with the keys {shown(listed(node.entries, limit=4))}" if node.entries else "an empty mapping"
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.items)}"
    if node.value is None and not node.text:
        return "nothing"
    return f"the text {shown(node.text)}" if node.quoted else shown(node.text)


def _without(values: dict[str, Any], faults: Iterable[_Fault], stand_in: Mapping[str, Any]) -> dict[str, Any]:
    """The values with defaults in place of what is wrong, so that the other parts can be judged."""
    kept = {key: dict(part) if isinstance(part, dict) else part for key, part in values.items()}
    for fault in faults:
        match fault.path:
            case ():
                kept.clear()
            case (str(section), key, *_) if isinstance(kept.get(section), dict):
                kept[section].pop(key, None)
            case (str(key), *_):
                kept.pop(key, None)
    for key, value in stand_in.items():
        kept[key] = {**value, **kept.get(key, {})} if isinstance(value, dict) else kept.get(key, value)
    return kept


def _touches(reads: Sequence[str], wrong: frozenset[str]) -> bool:
    sections = {read.split(".")[0] for read in reads}
    return bool(wrong & ({*reads} | sections))


def origin_of_first(keys: Iterable[str], root: MappingNode) -> Origin:
    """The first of the keys that the recipe writes; a default cannot be pointed at."""
    for key in keys:
        if entry := entry_at(root, tuple(key.split("."))):
            return entry.node.at
    return root.at


def dotted(path: Path) -> str:
    """A path as it is written: ``data.train[0].path``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part, quote='')}" if text else shown(part, quote="")
    return text
