"""A recipe as YAML that reads back to the same recipe, and the schema as JSON for editors."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from lft.recipe.document import plain_value
from lft.recipe.schema import Recipe

WIDTH: Final = 80
_COMMENT_COLUMN: Final = 36
# Words that are safe unquoted inside a flow list too; a colon only as in package://name.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.+/-]*(://[A-Za-z0-9_./-]+)?")


def to_yaml(recipe: BaseModel, comment: Callable[[str], str] | None = None) -> str:
    """Every key of the recipe with its value, at most 80 columns; a function of the recipe alone.

    ``comment`` gives the words behind a dotted key (where it came from, what it means); they never change the values.
    """
    return "\n".join(_block(recipe, (), comment)) + "\n"


def json_schema() -> dict[str, Any]:
    """The recipe's JSON schema, for editors that complete and check YAML while it is written."""
    schema = Recipe.model_json_schema()
    extends = {"type": "string", "description": "another recipe, relative to this file; this one is laid over it"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": {"extends": extends, **schema["properties"]},
    }


def described(key: str) -> str:
    """What the schema says about a dotted key; a tag has the words of all tags."""
    model: Any = Recipe
    words = ""
    for part in key.split("."):
        if part not in getattr(model, "model_fields", ()):
            break
        words, model = str(model.model_fields[part].description), model.model_fields[part].annotation
    return words


def _block(section: Any, above: tuple[str, ...], comment: Callable[[str], str] | None) -> Iterator[str]:
    """The lines of a section (or of a mapping that is not empty), one value each."""
    indent = "  " * len(above)
    for key, value in _items(section):
        path = (*above, key)
        if isinstance(value, BaseModel) or (isinstance(value, Mapping) and value):
            yield f"{indent}{_flow(key)}:"
            yield from _block(value, path, comment)
        else:
            words = comment(".".join(path)) if comment else ""
            yield from _entry(f"{indent}{_flow(key)}: {_flow(value)}", indent, words)


def _items(section: Any) -> list[tuple[str, Any]]:
    if isinstance(section, Mapping):
        return list(section.items())
    return [(key, getattr(section, key)) for key in type(section).model_fields]


def _entry(text: str, indent: str, comment: str) -> list[str]:
    """One key and its value, folded at spaces, with the comment beside it or, where it does not fit, above."""
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False
    )
    if not comment:
        return lines
    beside = f"{lines[0]:<{_COMMENT_COLUMN}}  # {comment}"
    if len(lines) == 1 and len(beside) <= WIDTH:
        return [beside]
    prefix = f"{indent}# "
    return [*textwrap.wrap(comment, WIDTH, initial_indent=prefix, subsequent_indent=prefix), *lines]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, BaseModel):
        value = dict(_items(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _number(value: float) -> str:
    """A float that YAML 1.1 readers take for a float too: they want a point before the exponent."""
    mantissa, exponent, power = repr(value).partition("e")
    return mantissa + (".0" if exponent and "." not in mantissa else "") + exponent + power


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and isinstance(plain_value(text), str) and text.lower() not in _OLD_WORDS:
        return text
    return '"' + "".join(_escaped(text)) + '"'


# YAML 1.1 readers take these for booleans; quotes keep the file the same for them.
_OLD_WORDS: Final = frozenset(("yes", "no", "on", "off", "y", "n"))


def _escaped(text: str) -> Iterator[str]:
    """The characters of a double-quoted scalar; only single spaces stay spaces, so that a line may be folded there."""
    before = ""
    for c in text:
        if c in '"\\':
            yield "\\" + c
        elif (c == " " and before in ("", " ")) or (c != " " and not c.isprintable()):
            yield f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}"
        else:
            yield c
        before = c
