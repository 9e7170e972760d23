"""HTML of a post or an e-mail to text: paragraphs, lists, code and quotations keep their shape."""

from __future__ import annotations

import re
from typing import Any, Final

_BLOCK_TAGS: Final = "p div h1 h2 h3 h4 h5 h6 ul ol table tr blockquote section article header footer hr dl dt dd"
_BLOCKS: Final = frozenset(_BLOCK_TAGS.split())
_SKIPPED: Final = frozenset({"script", "style", "head", "title", "img", "svg"})
_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_LINES: Final = re.compile(r"[ \t]*\n[ \t]*")


def html_text(html: str) -> str:
    """The text of a piece of HTML; code is fenced or in backticks, list items start with - or a number."""
    from lxml import etree
    from lxml import html as parser

    if not html.strip():
        return ""
    try:
        root = parser.fragment_fromstring(html, create_parent="div")
    except (etree.ParserError, ValueError):  # nothing but a comment, or an XML declaration in front
        return _SPACE.sub(" ", re.sub(r"<[^>]*>", " ", html)).strip()
    return re.sub(r"\n{3,}", "\n\n", _children(root)).strip()


def _children(node: Any) -> str:
    parts = [_spaced(node.text)]
    for child in node:
        if isinstance(child.tag, str) and child.tag not in _SKIPPED:
            parts.append(_element(child))
        parts.append(_spaced(child.tail))
    return "".join(parts)


def _spaced(text: str | None) -> str:
    return _SPACE.sub(" ", text or "")


def _element(node: Any) -> str:
    tag = node.tag
    if tag == "br":
        return "\n"
    if tag == "pre":
        return f"\n\n```\n{node.text_content().strip(chr(10))}\n```\n\n"
    if tag == "code":
        return f"`{node.text_content()}`"
    if tag == "li":
        return f"\n{_bullet(node)} {_tight(node)}\n"
    if tag in ("td", "th"):
        return f"{_children(node).strip()}\t"
    if tag == "blockquote":
        quoted = "\n".join(f"> {line}".rstrip() for line in _tight(node).split("\n"))
        return f"\n\n{quoted}\n\n"
    return f"\n\n{_whole(node)}\n\n" if tag in _BLOCKS else _children(node)


def _whole(node: Any) -> str:
    """What is in a block, without space around its lines; code keeps its indents and empty lines."""
    inner = _children(node).strip()
    return inner if node.find(".//pre") is not None else _LINES.sub("\n", inner)


def _tight(node: Any) -> str:
    inner = _whole(node)
    return inner if node.find(".//pre") is not None else re.sub(r"\n{2,}", "\n", inner)


def _bullet(node: Any) -> str:
    parent = node.getparent()
    if parent is None or parent.tag != "ol":
        return "-"
    return f"{sum(1 for other in parent if other.tag == 'li' and parent.index(other) <= parent.index(node))}."
