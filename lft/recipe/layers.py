"""One tree out of several layers: the recipes it extends, the file itself, the overrides on the command line.

Mappings are merged key by key, and an empty one clears what lies below it; lists and values are replaced as a whole, so
that a reader of the upper layer sees all of what it says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lft.recipe.catalogue_files import recipes_in
from lft.recipe.document import Entry, MappingNode, Node, ScalarNode, SequenceNode, parse, plain_value, read_document
from lft.recipe.problems import COMMAND_LINE, Origin, Problem, nearest, shown

MAX_CHAIN: Final = 16


@dataclass(frozen=True, slots=True)
class Layered:
    """The merged tree; ``whole`` is False when a layer could not be read, so that missing keys mean nothing."""

    root: MappingNode | None
    problems: tuple[Problem, ...]
    whole: bool = True


def layered(path: Path, overrides: Sequence[str]) -> Layered:
    """A recipe file with everything it extends below it and the overrides on top."""
    base = _with_parents(path, ())
    root, problems = base.root, list(base.problems)
    for override in overrides:
        layer = override_layer(override)
        problems += layer.problems
        if root is not None and layer.root is not None:
            root = merged(root, layer.root)
    return Layered(root, tuple(problems), base.whole)


def merged(below: MappingNode, above: MappingNode) -> MappingNode:
    """``above`` over ``below``: mappings key by key, all else replaced; ``{}`` would say nothing, so it clears."""
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        known, node = entries.get(key), entry.node
        if known and isinstance(known.node, MappingNode) and isinstance(node, MappingNode) and node.entries:
            entries[key] = Entry(entry.at, merged(known.node, node))
        else:
            entries[key] = entry
    return MappingNode(entries, above.at if above.at.line else below.at)


def override_layer(override: str) -> Layered:
    """``key.path=value`` as a tree; the value may hold ``=`` and spaces.

    A value in brackets, braces or quotes is YAML; anything else is one plain word or text, to its end. What looks like
    YAML and is not stays the text it is.
    """
    at = Origin(COMMAND_LINE, override=override)
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals:
        return Layered(None, (Problem(at, "expected key.path=value"),))
    if not all(parts):
        return Layered(None, (Problem(at, f"{shown(key)} is not a key; write it as section.key"),))
    if parts[0] == "extends":
        return Layered(None, (Problem(at, "extends stands in the recipe file, not on the command line"),))
    node, problems = _override_value(text.strip(), at)
    for part in reversed(parts):
        node = MappingNode({part: Entry(at, node)}, at)
    return Layered(node if isinstance(node, MappingNode) else None, problems)


def anchored(root: MappingNode) -> MappingNode:
    """The tree with relative paths made absolute, where they say that they are relative.

    ``./x`` and ``../x`` in a file start at the folder of that file, on the command line at the current folder.
    Everything else stays as written: a hub id, ``package://x``, ``sample://x``, or a path from the current folder.
    """
    changed = _changed(root, ("base", "model"), _absolute)
    changed = _changed(changed, ("output", "runs"), _absolute)
    changed = _changed(changed, ("data", "train"), _absolute_sources)
    changed = _changed(changed, ("method", "on_top_of"), _absolute_items)
    return changed if isinstance(changed, MappingNode) else root


def _with_parents(path: Path, below: tuple[Path, ...]) -> Layered:
    """The tree of a file over the tree of the file it extends, and so on."""
    document = read_document(path, str(path))
    problems = document.problems
    if document.root is None:
        empty = Problem(Origin(str(path), 1, 1), "the file is empty; a recipe has at least name, base and data")
        return Layered(None, problems or (empty,))
    if not isinstance(document.root, MappingNode):
        what = "expected keys such as name:, base: and data: at the top of a recipe"
        return Layered(None, (*problems, Problem(document.root.at, what)))
    entries = dict(document.root.entries)
    extends = entries.pop("extends", None)
    root = MappingNode(entries, document.root.at)
    if extends is None:
        return Layered(root, problems)
    parent = _parent(extends.node, path, (*below, path))
    return Layered(
        merged(parent.root, root) if parent.root else root,
        (*problems, *parent.problems),
        parent.whole and parent.root is not None,
    )


def _parent(node: Node, path: Path, chain: tuple[Path, ...]) -> Layered:
    """The recipe that ``extends`` names, relative to the file that says so."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str) or not node.value:
        return Layered(None, (Problem(node.at, "extends: expected the path of one recipe file"),))
    parent = path.parent / node.value
    if not os.path.isfile(parent):
        close = nearest(parent.name, recipes_in(parent.parent))
        hint = f"; nearest: {shown(close)}" if close else ""
        return Layered(None, (Problem(node.at, f"extends: no file {shown(node.value)} beside {path.name}{hint}"),))
    if any(os.path.samefile(parent, seen) for seen in chain):
        circle = " -> ".join(file.name for file in (*chain, parent))
        return Layered(None, (Problem(node.at, f"extends: goes round in a circle: {shown(circle)}"),))
    if len(chain) >= MAX_CHAIN:
        return Layered(None, (Problem(node.at, f"extends: more than {MAX_CHAIN} recipes on top of each other"),))
    return _with_parents(parent, chain)


def _override_value(text: str, at: Origin) -> tuple[Node, tuple[Problem, ...]]:
    if text[:1] in tuple("[{\"'"):
        document = parse(text, COMMAND_LINE, at)
        if document.root is not None:
            return document.root, document.problems
    return ScalarNode(plain_value(text), text, at), ()


def _changed(node: Node, path: tuple[str, ...], change: Callable[[Node], Node]) -> Node:
    """The tree with the node at ``path`` replaced by ``change`` of it, if the recipe writes it."""
    if not path:
        return change(node)
    if not isinstance(node, MappingNode) or path[0] not in node.entries:
        return node
    entry = node.entries[path[0]]
    return replace(node, entries={**node.entries, path[0]: replace(entry, node=_changed(entry.node, path[1:], change))})


def _absolute_sources(node: Node) -> Node:
    """One source, or the ``path`` of each source of a mixture."""
    if isinstance(node, SequenceNode):
        return replace(node, items=tuple(_changed(item, ("path",), _absolute) for item in node.items))
    return _absolute(node)


def _absolute_items(node: Node) -> Node:
    return replace(node, items=tuple(map(_absolute, node.items))) if isinstance(node, SequenceNode) else node


def _absolute(node: Node) -> Node:
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str) or not _says_relative(node.value):
        return node
    folder = "" if node.at.override else os.path.dirname(node.at.source)
    return replace(node, value=os.path.abspath(os.path.join(folder, node.value)))


def _says_relative(value: str) -> bool:
    return value in (".", "..") or value.startswith(("./", "../"))
