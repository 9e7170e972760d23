"""YAML as a tree in which every key and value knows its line and column.

A recipe uses a small part of YAML, and the rest is refused: aliases and anchors (a small file can unfold into a huge
one), tags (they name types), a second document, and keys that are written twice (YAML lets the last one win silently).
Plain words are read by the core schema of YAML 1.2, so that `no` is Norwegian and not false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lft.recipe.problems import Origin, Problem, shown

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16  # a recipe needs four levels

Value = str | int | float | bool | None

_WORDS: Final[dict[str, Value]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]{1,1000}")  # Python itself refuses more than 4300 digits
_RADIX: Final = re.compile(r"0o[0-7]{1,64}|0x[0-9a-fA-F]{1,64}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value; ``text`` is what was written, ``quoted`` tells '3' from 3."""

    value: Value
    text: str
    at: Origin
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    at: Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """A key (its place) and its value."""

    at: Origin
    node: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys and values in the order of the file."""

    entries: dict[str, Entry]
    at: Origin


Node = ScalarNode | SequenceNode | MappingNode


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text; ``root`` is None when nothing of it can be used."""

    root: Node | None
    problems: tuple[Problem, ...]


def plain_value(text: str) -> Value:
    """What an unquoted YAML word means (core schema of YAML 1.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _NOT_FINITE.fullmatch(text):
        return float(match[1] + match[2].lower())
    return text


def read_document(path: Path, source: str) -> Document:
    """Read and parse a file; whatever is wrong with it becomes a problem, never an exception."""
    start = Origin(source, 1, 1)
    try:
        if path.is_dir():
            return Document(None, (Problem(start, "a folder, not a recipe"),))
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Document(None, (Problem(start, f"cannot be read: {reason}"),))
    if len(raw) > MAX_BYTES:
        return Document(None, (Problem(start, f"too large for a recipe: more than {MAX_BYTES // 1024} KiB"),))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode("utf-8-sig")
        what = f"not UTF-8 text: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        return Document(None, (Problem(_place(source, good, len(good)), what),))
    return _parsed(text, source)


@lru_cache(64)
def _parsed(text: str, source: str) -> Document:
    """A list of recipes reads what they extend once for each of them; parsing it again took half of its time."""
    return parse(text, source)


def parse(text: str, source: str, fixed: Origin | None = None) -> Document:
    """Parse one YAML document; all problems that can be told apart come back together.

    ``fixed`` is the place of every node when the text is not a file but, say, an override on the command line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    builder = _Builder(source, fixed)
    root: Node | None = None
    try:
        root = builder.document(YAML(typ="safe", pure=True).parse(text))
    except _Stop:
        pass
    except ReaderError as error:
        what = f"a character that YAML does not allow: {shown(chr(error.character))}"
        builder.add(fixed or _place(source, text, error.position), what)
    except MarkedYAMLError as error:
        at, what = _syntax_problem(error, source, text)
        builder.add(fixed or at, what)
    except (YAMLError, ValueError, ArithmeticError, LookupError, AssertionError, NotImplementedError, TypeError):
        # The parser's own slips on malformed text (an escape beyond Unicode, say) are the text's fault here.
        builder.add(builder.last, "not valid YAML from here on")
    return Document(root if builder.complete else None, tuple(builder.problems))


class _Stop(Exception):
    """Nothing after this point can be read; the problem is already noted."""


@dataclass(slots=True)
class _Builder:
    """Events of the YAML parser into nodes; problems are noted and reading goes on."""

    source: str
    fixed: Origin | None
    problems: list[Problem] = field(default_factory=list)
    last: Origin = field(init=False)
    complete: bool = False

    def __post_init__(self) -> None:
        self.last = self.fixed or Origin(self.source, 1, 1)

    def add(self, at: Origin, what: str) -> None:
        self.problems.append(Problem(at, what))

    def document(self, events: Iterator[Any]) -> Node | None:
        """The one document of the stream, or None for an empty stream."""
        root: Node | None = None
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if root is not None:
                    self.add(self.at(event), "a second document; a recipe is one")
                    raise _Stop
                root = self.node(next(events), events, 0)
        self.complete = True
        return root

    def at(self, event: Any) -> Origin:
        mark = event.start_mark
        self.last = self.fixed or Origin(self.source, mark.line + 1, mark.column + 1)
        return self.last

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        at = self.at(event)
        kind = type(event).__name__
        if depth > MAX_DEPTH:
            self.add(at, f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        if kind == "AliasEvent":
            self.add(at, f"aliases (*{shown(event.anchor, quote='')}) are not read; write the value out")
            return ScalarNode(None, "", at)
        self.refuse_extras(event, at)
        if kind == "MappingStartEvent":
            return self.mapping(at, events, depth)
        if kind == "SequenceStartEvent":
            items = []
            while type(item := next(events)).__name__ != "SequenceEndEvent":
                items.append(self.node(item, events, depth + 1))
            return SequenceNode(tuple(items), at)
        quoted = event.style not in (None, "")
        return ScalarNode(event.value if quoted else plain_value(event.value), event.value, at, quoted)

    def refuse_extras(self, event: Any, at: Origin) -> None:
        if event.anchor:
            self.add(
                at, f"anchors (&{shown(event.anchor, quote='')}) are not read; write the value out where it is used"
            )
        if event.tag:
            self.add(at, f"tags ({shown(str(event.tag), quote='')}) are not read; write a plain value")

    def mapping(self, at: Origin, events: Iterator[Any], depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, ScalarNode):
                self.add(key.at, "a key must be a plain word")
            elif key.text in entries:
                first = entries[key.text].at.line
                self.add(key.at, f"{shown(key.text)} is written twice" + (f"; first on line {first}" if first else ""))
            else:
                # The parser puts a value that is not there at the next word; for a reader it is at its key.
                nothing = isinstance(value, ScalarNode) and not value.text and not value.quoted
                entries[key.text] = Entry(key.at, replace(value, at=key.at) if nothing else value)
        return MappingNode(entries, at)


def _place(source: str, text: str, index: int) -> Origin:
    """Line and column of a character of the text."""
    before = text[:index]
    return Origin(source, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


def _syntax_problem(error: Any, source: str, text: str) -> tuple[Origin, str]:
    """A parser's message as one line, with its place and the words that stand there."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Origin(source, 1, 1), f"not valid YAML: {error.problem}"
    at = Origin(source, mark.line + 1, mark.column + 1)
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if line[mark.column : mark.column + 1] == "\t":
        return at, "a tab; YAML is indented with spaces"
    here = line[mark.column :].strip() or "the end of the line"
    what = " ".join(str(error.problem or error.context).split())
    return at, f"not valid YAML at {shown(here)}: {what}"
