"""HTML that is escaped unless it was made here: text goes in as text, elements as elements."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_VOID: Final = ("meta", "wbr")
# Control characters have no place in HTML; their pictures have. Tab, line feed and carriage return stay.
_PICTURES: Final = {code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)} | {127: 0x2421}


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already."""

    text: str


Child = Html | str


def element(name: str, /, *children: Child, **attributes: str) -> Html:
    """An element; ``class_`` and ``aria_label`` stand for ``class`` and ``aria-label``."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    opening = "".join(f' {key}="{_escaped(value)}"' for key, value in pairs)
    if name in _VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{joined(children).text}</{name}>")


def joined(children: Iterable[Child]) -> Html:
    """Children side by side."""
    return Html("".join(child.text if isinstance(child, Html) else _escaped(child) for child in children))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str = "") -> Html:
    """A table that scrolls by itself, by keys too, where it is too wide; the first cell of a row is its header."""
    header = element("tr", *(element("th", text, scope="col") for text in head))
    cells = [(element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows]
    body = [element("tr", *row) for row in cells]
    whole = element("table", element("caption", caption), element("thead", header), element("tbody", *body))
    return element("div", whole, class_=f"table {class_}".strip(), tabindex="0", role="group", aria_label=caption)


def definitions(pairs: Iterable[tuple[str, Child]], class_: str) -> Html:
    """Names and what they are."""
    items = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", *items, class_=class_)


def _escaped(text: str) -> str:
    """Any text as HTML text or attribute; what UTF-8 cannot hold becomes a question mark."""
    return html.escape(text.translate(_PICTURES).encode("utf-8", "replace").decode("utf-8"))
