"""A whole page: one file that asks for nothing outside itself and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from lft.page.html import Child, Html, element

# Even if a text were to get through as HTML, nothing of it would run and nothing would be fetched.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(title: str, header: Html, sections: Iterable[tuple[str, Child]], footer: Html) -> str:
    """The text of a page; ``title`` is that of its tab, each section has a heading."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html((files("lft.page") / "page.css").read_text(encoding="utf-8"))),
    )
    body = [element("section", element("h2", name), content) for name, content in sections]
    whole = element("html", head, element("body", header, element("main", *body), footer), lang="en")
    return f"<!doctype html>\n{whole.text}\n"


def folded(title: Child, content: Child) -> Html:
    """Content that opens when its title is chosen."""
    return element("details", element("summary", title), content)


def missing(text: str) -> Html:
    """A sentence that says what is not there."""
    return element("p", text, class_="missing")
