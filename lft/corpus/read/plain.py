"""Texts that are a file each: plain text, Markdown with front matter, HTML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lft.corpus.read.clean import without_navigation
from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text
from lft.corpus.schema import Source

_FRONT: Final = re.compile(r"\A(?P<mark>---|\+\+\+)[ \t]*\r?\n(?P<inside>.*?)^(?P=mark)[ \t]*\r?\n?", re.S | re.M)
_HEADING: Final = re.compile(r"\A\s*#[ \t]+(?P<title>.+?)[ \t]*#*[ \t]*$", re.M)


def read_text(file: SourceFile, _source: Source) -> Iterator[Item]:
    """A text as it is."""
    yield Found(file.text())


def read_markdown(file: SourceFile, _source: Source) -> Iterator[Item]:
    """A text without its front matter, of which title and licence are kept; a first heading is a title as well."""
    text = file.text()
    front = _FRONT.match(text)
    said = _front_matter(front["inside"], front["mark"]) if front else {}
    if said is None:
        yield Dropped("its front matter cannot be read", text=text)
        return
    text = text[front.end() :] if front else text
    heading = _HEADING.match(text)
    title = as_text(said.get("title")) or (heading["title"] if heading else "")
    licence = as_text(said.get("licence")) or as_text(said.get("license"))
    yield Found(text, title=title, licence=licence)


def read_html(file: SourceFile, _source: Source) -> Iterator[Item]:
    """The main text of a page: trafilatura leaves headers, menus and footers out, and a list of words what it left."""
    import trafilatura

    with file.binary() as stream:
        page = stream.read()
    found = trafilatura.bare_extraction(page, include_comments=False, include_images=False, with_metadata=True)
    if found is None or not (found.text or "").strip():
        yield Dropped("no main text in the page", text=page[:300].decode("utf-8", "replace"))
        return
    yield Found(without_navigation(found.text), title=found.title or "")


def _front_matter(inside: str, mark: str) -> Mapping[str, Any] | None:
    """What front matter (YAML or TOML) says; None where it is neither."""
    try:
        said = tomllib.loads(inside) if mark == "+++" else _yaml(inside)
    except ValueError:
        return None
    if said is None:
        return {}
    return said if isinstance(said, dict) else None


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(str(error)) from None
