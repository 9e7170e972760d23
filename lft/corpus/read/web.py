"""Rows of known data sets: C4's pages, SciTLDR's abstracts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lft.corpus.read.found import Dropped, Found, Item, as_text
from lft.corpus.schema import Source


def c4_row(row: dict[str, Any], place: str, _source: Source, _lang: str) -> Iterator[Item]:
    """A page of C4: text and address."""
    yield Found(as_text(row.get("text")), place, url=as_text(row.get("url")), title=as_text(row.get("title")))


def scitldr_row(row: dict[str, Any], place: str, _source: Source, _lang: str) -> Iterator[Item]:
    """An abstract (a list of sentences, or one text) and the title of its paper."""
    sentences = row.get("source")
    text = " ".join(as_text(one).strip() for one in sentences) if isinstance(sentences, list) else as_text(sentences)
    if not text.strip():
        yield Dropped("no abstract", place, str(row))
        return
    paper = as_text(row.get("paper_id"))
    yield Found(text, f"#{paper}" if paper else place, title=as_text(row.get("title")))
