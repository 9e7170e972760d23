"""The schema in a person's words: which keys a section has, and what a value may be.

Everything is read from the JSON schema that pydantic derives from the model, so that a message, the editors' schema
and the check can never disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel

from lft.recipe.problems import listed
from lft.recipe.schema import NAME_PATTERN, OPTION_PATTERN, TAG_PATTERN

Fragment = dict[str, Any]
Path = tuple[str | int, ...]

_MARKS: Final = {NAME_PATTERN: ". _ - /", TAG_PATTERN: "_ -", OPTION_PATTERN: "_"}


@dataclass(frozen=True)
class Words:
    """What the JSON schema of a model says about its keys."""

    model: type[BaseModel]

    @cached_property
    def root(self) -> Fragment:
        """The JSON schema of a whole file."""
        return self.model.model_json_schema()

    def fragment_at(self, path: Path) -> Fragment:
        """The part of the JSON schema that describes a key; empty when there is no such key."""
        return self._resolved(self._written_at(path))

    def meaning(self, path: Path) -> str:
        """What the schema says about a key."""
        return str(self._written_at(path).get("description", ""))

    def keys_at(self, path: Path) -> tuple[str, ...]:
        """The keys that may stand in a section."""
        return tuple(self.fragment_at(path).get("properties", {}))

    def choices(self, fragment: Fragment) -> tuple[str, ...]:
        """The words a value may be, over all alternatives."""
        words = [str(word) for word in fragment.get("enum", ())]
        words += [str(fragment["const"])] if "const" in fragment else []
        words += ["true", "false"] if fragment.get("type") == "boolean" else []
        for option in fragment.get("anyOf", ()):
            words += self.choices(self._resolved(option))
        return tuple(words)

    def expectation(self, fragment: Fragment) -> str:
        """What a value may be, as it stands after `expected`."""
        fragment = self._resolved(fragment)
        if "anyOf" in fragment:
            return " or ".join(self.expectation(option) for option in fragment["anyOf"])
        if "enum" in fragment:
            return f"one of {listed(fragment['enum'], limit=30)}"
        if "const" in fragment:
            return str(fragment["const"])
        if "properties" in fragment:
            return f"a section with the keys {listed(fragment['properties'], limit=6)}"
        return self._of_type(fragment)

    def expected_key(self, fragment: Fragment) -> str:
        """What a key of a mapping with free keys may be, as it stands after `expected`."""
        (pattern,) = fragment["patternProperties"]
        return self.expectation({"type": "string", "pattern": pattern, **fragment["propertyNames"]})

    def _of_type(self, fragment: Fragment) -> str:
        match fragment.get("type"):
            case "string":
                return _text(fragment)
            case "integer":
                return "a whole number" + _bounds(fragment)
            case "number":
                return "a number" + _bounds(fragment)
            case "boolean":
                return "true or false"
            case "array":
                return f"a list, each item {self.expectation(fragment['items'])}"
            case "object":
                return f"a mapping, each value {self.expectation(_values(fragment))}"
        return "null"

    def _resolved(self, fragment: Fragment) -> Fragment:
        """The fragment itself, or the definition it refers to."""
        if "$ref" not in fragment:
            return fragment
        definition: Fragment = self.root["$defs"][fragment["$ref"].rsplit("/", 1)[1]]
        return definition

    def _written_at(self, path: Path) -> Fragment:
        fragment = self.root
        for part in path:
            fragment = self._step(fragment, part)
        return fragment

    def _step(self, fragment: Fragment, part: str | int) -> Fragment:
        """One key or index further down, through alternatives and references."""
        fragment = self._resolved(fragment)
        for option in [fragment, *fragment.get("anyOf", ())]:
            resolved = self._resolved(option)
            if isinstance(part, int) and "items" in resolved:
                items: Fragment = resolved["items"]
                return items
            if isinstance(part, str) and part in resolved.get("properties", {}):
                below: Fragment = resolved["properties"][part]
                return below
            if isinstance(part, str) and (values := _values(resolved)):
                return values
        return {}


def leaves(model: type[BaseModel], above: Path = ()) -> Iterator[Path]:
    """Every key that holds a value and not a section, in the order of the schema.

    Read from the classes: every recipe needs it, and the JSON schema (10 ms) is only needed to explain a mistake.
    """
    for key, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*above, key))
        else:
            yield (*above, key)


def takes_text(fragment: Fragment) -> bool:
    """Whether free text is one of the things a value may be."""
    options = fragment.get("anyOf", [fragment])
    return any(option.get("type") == "string" and "enum" not in option and "const" not in option for option in options)


def _values(fragment: Fragment) -> Fragment:
    """What the values of a mapping with free keys are; empty for a section."""
    values: Fragment = next(iter(fragment.get("patternProperties", {}).values()), {})
    return values


def _text(fragment: Fragment) -> str:
    if fragment.get("pattern") in _MARKS:
        marks = _MARKS[fragment["pattern"]]
        return f"a name of at most {fragment['maxLength']} letters, digits and {marks} (a letter or digit first)"
    if "pattern" in fragment:
        return f"a text that matches {fragment['pattern']}"
    return "a text that is not empty" if fragment.get("minLength") else "a text"


def _bounds(fragment: Fragment) -> str:
    parts = []
    if "exclusiveMinimum" in fragment:
        parts.append(f"above {fragment['exclusiveMinimum']}")
    if "minimum" in fragment:
        parts.append(f"not below {fragment['minimum']}")
    if "exclusiveMaximum" in fragment:
        parts.append(f"below {fragment['exclusiveMaximum']}")
    if "maximum" in fragment:
        parts.append(f"not above {fragment['maximum']}")
    return f" {' and '.join(parts)}" if parts else ""
