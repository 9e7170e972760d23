"""A merge plan from YAML, or from an expression with ``key=value`` settings: closed keys, each mistake at its place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lft.adapters.algebra.method import Method, written
from lft.adapters.algebra.table import METHODS
from lft.adapters.expression import MergePlan, Replaced, Term, parse_expression
from lft.adapters.weights import ByLayer, ByPattern, Weight
from lft.recipe.document import Entry, MappingNode, Node, ScalarNode, SequenceNode, parse, read_document
from lft.recipe.problems import BadRecipe, Origin, Problem, listed, nearest, shown

DEFAULT_METHOD = "cat"
_OWN = ("method", "rank", "tolerance", "replaced")
_LISTS = ("inputs", "weights")


def plan_of_file(path: Path) -> MergePlan:
    """The plan of a YAML file. Raises RecipeError with everything that is wrong, one line each."""
    document = read_document(path, str(path))
    return _checked(document.root, document.problems, Origin(str(path), 1, 1), None)


def plan_of_expression(text: str, settings: Sequence[str] = ()) -> MergePlan:
    """The plan of an expression and settings (``method=ties``, ``density=0.3``, ``rank=16``).

    Raises:
        RecipeError: the expression cannot be read, or everything that is wrong with the settings.
    """
    terms = parse_expression(text)
    problems: list[Problem] = []
    entries: dict[str, Entry] = {}
    for setting in settings:
        at = Origin("command line", override=setting)
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            problems.append(Problem(at, "expected key=value"))
            continue
        document = parse(value, "command line", at)
        problems += document.problems
        if key.strip() in entries:
            problems.append(Problem(at, f"{shown(key.strip())} is written twice"))
        if document.root is not None:
            entries[key.strip()] = Entry(at, document.root)
        elif not document.problems:
            problems.append(Problem(at, "a value is missing"))
    return _checked(MappingNode(entries, Origin("command line")), problems, Origin("command line"), terms)


def _checked(root: Node | None, problems: Sequence[Problem], at: Origin, terms: tuple[Term, ...] | None) -> MergePlan:
    reader = _Reader(list(problems))
    plan = reader.plan(root, at, terms) if root is not None or not problems else None
    if reader.problems or plan is None:
        raise BadRecipe(reader.problems, "plan")
    return plan


@dataclass(slots=True)
class _Reader:
    """Reads nodes into a plan and notes what is wrong on the way."""

    problems: list[Problem] = field(default_factory=list)

    def wrong(self, at: Origin, what: str) -> None:
        self.problems.append(Problem(at, what))

    def plan(self, root: Node | None, at: Origin, terms: tuple[Term, ...] | None) -> MergePlan | None:
        section = self.section(root, at)
        if section is None:
            return None
        method = self.method(section)
        if method is None:
            return None
        self.unknown(section, method, (*_OWN, *(() if terms else _LISTS), *method.keys))
        inputs = terms if terms is not None else self.inputs(section)
        rank = self.number(section, "rank", at_least=1, whole=True)
        tolerance = self.number(section, "tolerance", at_least=0.0)
        if tolerance is not None and tolerance >= 1:
            self.wrong(section.entries["tolerance"].node.at, "tolerance: expected a number below 1: 1 keeps nothing")
        replaced = self.word(section, "replaced", get_args(Replaced), "exact")
        if tolerance is not None and method.form == "dense":
            self.wrong(section.entries["tolerance"].at, f"{method.name} gives a full matrix: set rank, not tolerance")
        parameters = self.parameters(section, method)
        if self.problems:
            return None
        whole_rank = None if rank is None else int(rank)
        return MergePlan(method.name, inputs, parameters, whole_rank, tolerance, replaced)  # type: ignore[arg-type]

    def section(self, root: Node | None, at: Origin) -> MappingNode | None:
        if isinstance(root, MappingNode) and set(root.entries) == {"merge"}:
            root = root.entries["merge"].node
        if isinstance(root, MappingNode):
            return root
        self.wrong(root.at if root is not None else at, "expected a merge: method, inputs, weights")
        return None

    def method(self, section: MappingNode) -> Method | None:
        if "method" not in section.entries:
            return METHODS[DEFAULT_METHOD]
        node = section.entries["method"].node
        name = node.text if isinstance(node, ScalarNode) else ""
        if name in METHODS:
            return METHODS[name]
        close = nearest(name, METHODS) or nearest(f"compat:{name}", METHODS)
        hint = f"nearest: {shown(close)}" if close else f"one of {listed(METHODS, limit=30)}"
        self.wrong(node.at, f"unknown method {shown(name)}; {hint}")
        return None

    def unknown(self, section: MappingNode, method: Method, keys: Sequence[str]) -> None:
        for key, entry in section.entries.items():
            if key not in keys:
                close = nearest(key, keys)
                hint = f"nearest: {shown(close)}" if close else f"{method.name} takes {listed(keys, limit=30)}"
                self.wrong(entry.at, f"unknown key {shown(key)}; {hint}")

    def inputs(self, section: MappingNode) -> tuple[Term, ...]:
        entry = section.entries.get("inputs")
        if entry is None:
            self.wrong(section.at, "inputs is missing: the adapters to merge")
            return ()
        items = entry.node.items if isinstance(entry.node, SequenceNode) else ()
        refs = [item.text for item in items if isinstance(item, ScalarNode) and item.text]
        if not refs or len(refs) != len(items):
            self.wrong(entry.node.at, "inputs: expected a list of adapters")
        if len(set(refs)) != len(refs):
            self.wrong(entry.node.at, "inputs: an adapter is there twice; give it one weight")
        weights = self.weights(section, refs)
        return tuple(Term(ref, weights.get(ref)) for ref in refs)

    def weights(self, section: MappingNode, refs: Sequence[str]) -> dict[str, Weight]:
        entry = section.entries.get("weights")
        if entry is None:
            return {}
        node = entry.node
        if isinstance(node, SequenceNode):
            if len(node.items) != len(refs):
                self.wrong(node.at, f"weights: {len(node.items)} for {len(refs)} inputs")
                return {}
            pairs = [(ref, item) for ref, item in zip(refs, node.items, strict=True)]
        elif isinstance(node, MappingNode):
            for key, below in node.entries.items():
                if key not in refs:
                    close = nearest(key, refs)
                    self.wrong(
                        below.at,
                        f"weights: {shown(key)} is not among the inputs"
                        + (f"; nearest: {shown(close)}" if close else ""),
                    )
            for ref in refs:
                if ref not in node.entries:
                    self.wrong(node.at, f"weights: none for {shown(ref)}")
            pairs = [(ref, node.entries[ref].node) for ref in refs if ref in node.entries]
        else:
            self.wrong(node.at, "weights: expected a list, or a number for each input")
            return {}
        return {ref: self.weight(item) for ref, item in pairs}

    def weight(self, node: Node) -> Weight:
        """A number; a mapping from pattern to number; a list with a number for each layer."""
        if isinstance(node, MappingNode) and node.entries:
            return ByPattern(tuple((key, self.finite(entry.node)) for key, entry in node.entries.items()))
        if isinstance(node, SequenceNode) and node.items:
            return ByLayer(tuple(self.finite(item) for item in node.items))
        return self.finite(node)

    def finite(self, node: Node) -> float:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.wrong(node.at, f"expected a number, got {_what(node)}")
            return 0.0
        return float(value)

    def number(self, section: MappingNode, key: str, *, at_least: float, whole: bool = False) -> float | None:
        node = section.entries[key].node if key in section.entries else None
        if node is None or (isinstance(node, ScalarNode) and node.value is None):
            return None
        value = node.value if isinstance(node, ScalarNode) else None
        right = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, right) or not _is_finite(value) or value < at_least:
            kind = "whole number" if whole else "number"
            self.wrong(node.at, f"{key}: expected a {kind} from {at_least:g}, got {_what(node)}")
            return None
        return value

    def word(self, section: MappingNode, key: str, words: Sequence[str], default: str) -> str:
        node = section.entries[key].node if key in section.entries else None
        if node is None:
            return default
        if not isinstance(node, ScalarNode) or node.text not in words:
            self.wrong(node.at, f"{key}: expected one of {listed(words)}, got {_what(node)}")
            return default
        return node.text

    def parameters(self, section: MappingNode, method: Method) -> Any:
        """The method's own frozen dataclass, each value within its bounds."""
        hints = get_type_hints(method.parameters)
        values: dict[str, Any] = {}
        for one in dataclasses.fields(method.parameters):
            key = written(one.name)
            if key not in section.entries:
                continue
            if words := get_args(hints[one.name]) if "bounds" not in one.metadata else ():
                values[one.name] = self.word(section, key, words, str(one.default))
            else:
                values[one.name] = self.bounded(section.entries[key].node, key, one)
        return method.parameters(**values)

    def bounded(self, node: Node, key: str, one: dataclasses.Field[Any]) -> Any:
        value = node.value if isinstance(node, ScalarNode) else None
        bounds, whole = one.metadata["bounds"], one.metadata.get("whole", False)
        if value is None and isinstance(node, ScalarNode) and one.default is None:
            return None
        right = isinstance(value, int) if whole else isinstance(value, int | float)
        if isinstance(value, bool) or not right or not _is_finite(value) or not bounds.holds(value):  # type: ignore[arg-type]
            limits = f" {bounds}" if str(bounds) else ""
            self.wrong(node.at, f"{key}: expected a {'whole ' if whole else ''}number{limits}, got {_what(node)}")
            return one.default
        return value if whole else float(value)  # type: ignore[arg-type]


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _what(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return shown(node.text)
    return "a section" if isinstance(node, MappingNode) else "a list"
