"""Mallard help pages (GNOME's): paragraphs, steps, lists, tables and notes as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile
from lft.corpus.schema import Source

_SPACE: Final = re.compile(r"\s+")
_SKIPPED: Final = frozenset({"info", "links", "media", "comment", "title", "desc", "credit", "subtitle", "cite"})
_WORDS_INSIDE: Final = frozenset({"title", "desc", "cite", "media"})  # in a line, a picture's words stand for it
_GROUPS: Final = frozenset(
    {"section", "note", "example", "figure", "listing", "quote", "div", "synopsis", "if", "when"}
)
_VERBATIM: Final = frozenset({"code", "screen"})
_JOINED: Final = {"keyseq": "+", "guiseq": " ▸ "}


def read_mallard(file: SourceFile, _source: Source) -> Iterator[Item]:
    """The text of a page; its title stands apart. Pages of one name under several languages are parallel."""
    from lxml import etree

    try:
        with file.binary() as stream:
            root = etree.parse(stream, _parser()).getroot()
    except etree.XMLSyntaxError as error:
        yield Dropped("the page is no XML", text=str(error))
        return
    if _name(root) != "page":
        yield Dropped("the file is no Mallard page", text=f"<{_name(root)}>")
        return
    page = _Page(file)
    yield Found("\n\n".join(page.blocks(root)), title=page.title(root))


class _Page:
    """One page, and the titles of those beside it, which links without words stand for."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file

    def title(self, node: Any) -> str:
        """The title of a page or section."""
        found = next((child for child in node if _name(child) == "title"), None)
        return "" if found is None else self.inline(found)

    def blocks(self, node: Any, depth: int = 1) -> Iterator[str]:
        """What is in a page, section or item, one block after the other."""
        for child in node:
            name = _name(child)
            if name in _SKIPPED or not name:
                continue
            if name in _GROUPS:
                yield from self._group(child, name, depth)
            elif name == "choose":
                yield from self.blocks(_chosen(child), depth)
            elif block := self._block(child, name):
                yield block

    def _group(self, node: Any, name: str, depth: int) -> Iterator[str]:
        deeper = depth + (name == "section")
        inside = list(self.blocks(node, deeper))
        title = self.title(node)
        if title and inside:
            yield f"{'#' * deeper} {title}" if name == "section" else title
        yield from inside

    def _block(self, node: Any, name: str) -> str:
        if name in _VERBATIM:
            return f"```\n{''.join(node.itertext()).strip(chr(10))}\n```"
        if name in ("steps", "list", "tree"):
            return self._items(node, numbered=name == "steps")
        if name == "terms":
            return "\n".join(f"- {self.title(item)}: {self._item(item)}" for item in _all(node, "item"))
        if name == "table":
            rows = (" | ".join(self._item(cell) for cell in row) for row in node.iter("{*}tr"))
            return "\n".join(row for row in rows if row.strip(" |"))
        return self.inline(node)

    def _items(self, node: Any, numbered: bool) -> str:
        lines: list[str] = []
        for item in _all(node, "item"):
            if text := self._item(item):
                mark = f"{len(lines) + 1}." if numbered else "-"
                lines.append(f"{mark} {text}")
        return "\n".join(lines)

    def _item(self, node: Any) -> str:
        parts = [_SPACE.sub(" ", node.text or "").strip(), *self.blocks(node)]
        return "\n".join(part for part in parts if part).replace("\n", "\n   ")

    def inline(self, node: Any) -> str:
        """The words in a block, on one line."""
        return _SPACE.sub(" ", self._words(node)).strip()

    def _words(self, node: Any) -> str:
        name = _name(node)
        if not name or name in _SKIPPED - _WORDS_INSIDE:
            return ""
        if name in _JOINED:
            return _JOINED[name].join(self.inline(child) for child in node)
        if name == "link" and not "".join(node.itertext()).strip():
            return self._linked(node)
        return (node.text or "") + "".join(self._words(child) + (child.tail or "") for child in node)

    def _linked(self, link: Any) -> str:
        """The title of what an empty link leads to: that is what readers see in its place."""
        page, _, section = (link.get("xref") or "").partition("#")
        root = link.getroottree().getroot() if not page else self._beside(page)
        if root is None:
            return link.get("href") or ""
        if section:
            root = next((node for node in root.iter("{*}section") if node.get("id") == section), root)
        return self.title(root) if root is not link.getroottree().getroot() or section else ""

    def _beside(self, page: str) -> Any:
        from lxml import etree

        folder = self._file.path.rpartition("/")[0]
        name = f"{folder}/{page}.page" if folder else f"{page}.page"
        try:
            with self._file.folder.open(name, "rb") as stream:
                return etree.parse(stream, _parser()).getroot()
        except (OSError, etree.XMLSyntaxError):
            return None


def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(resolve_entities="internal", no_network=True, remove_comments=True, remove_pis=True)


def _name(node: Any) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _all(node: Any, name: str) -> Iterator[Any]:
    return (child for child in node if _name(child) == name)


def _chosen(choose: Any) -> Any:
    """The first branch of a conditional: pages are written for the current desktop first."""
    return choose[0] if len(choose) else choose
