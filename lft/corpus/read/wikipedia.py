"""Wikipedia: the first paragraph of an article (75 in 100) or the first two, without what templates left behind."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text, chance, words_of
from lft.corpus.schema import Source

TWO_PARAGRAPHS: Final = 0.25  # the paper's 1,250 of 5,000
_PARAGRAPH_WORDS: Final = 5  # less is a heading or a hatnote
_ARTICLE: Final = re.compile(r"<doc\b(?P<said>[^>]*)>(?P<text>.*?)</doc>", re.S)
_SAID: Final = re.compile(r'(\w+)="([^"]*)"')

_MARKUP: Final = (
    (re.compile(r"<ref\b[^>]*/>|<ref\b.*?</ref>|<!--.*?-->", re.S), ""),
    (re.compile(r"\{\{[^{}]*\}\}"), ""),
    (re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]"), r"\1"),
    (re.compile(r"\[(?:\d{1,3}|citation needed|Anm\. ?\d+|note \d+)\]"), ""),
    (re.compile(r"</?(?:br|small|sup|sub|span|nowiki|poem|i|b)\b[^<>]*>"), ""),
    (re.compile(r"'{2,5}"), ""),
)
# brackets that held a pronunciation, a date or a foreign name
_EMPTY_BRACKETS: Final = re.compile(r"[ \u00a0]*[(\[][\s,;:.\-–—/\"'“”„«»’‘]*[)\]]")
_BRACKET_BEGINS: Final = re.compile(r"([(\[])[\s,;:]+(?=\S)")
_BRACKET_ENDS: Final = re.compile(r"[\s,;:]+([)\]])")
# a word that wants another after it, and finds a comma, a full stop or a hole: "a total area of , all of it land"
_WANTING: Final = (
    "of about approximately around nearly roughly over under to from at by with in between than is was are were used "
    "von etwa rund circa ca. mit bei aus über unter beträgt auf de unos cerca alrededor desde hasta es con en d' "
    "environ près est à depuis около примерно из от до с в на составляет"
)
_HOLE: Final = re.compile(
    rf"(?:^|(?<=\s))(?:{'|'.join(re.escape(word) for word in _WANTING.split())})"
    r"(?:[ \u00a0]+(?:and|und|y|et|и)?[ \u00a0]*(?=[,.;])(?!\.\.|\.\d|,\d)|[ \u00a0]{2,}(?=\w))",
    re.IGNORECASE,
)
_SPACE_BEFORE: Final = re.compile(r"(?<=\w)[ \u00a0]+(?=[,.](?:\s|$))")
# "… of the movement.Humans lived in …": where lines were joined, a paragraph ended
_GLUED: Final = re.compile(r"(?<=[a-zß-ÿа-я)\]][.!?])(?=[A-ZÀ-ÞА-Я])")
_SPACES: Final = re.compile(r"[ \t]{2,}")
_SENTENCE_ENDS: Final = re.compile(r"(?<!\b[A-ZÄÖÜА-Я]\.)(?<=[.!?])[ \u00a0]+(?=[\"“„«(]?[A-ZÀ-ÞА-ЯЁ0-9])")


def wikipedia_row(row: dict[str, Any], place: str, _source: Source, _lang: str) -> Iterator[Item]:
    """An article with text, title and url (the hub's wikimedia/wikipedia, or wikiextractor's JSON)."""
    title = as_text(row.get("title"))
    yield _beginning(as_text(row.get("text")), place, title, as_text(row.get("url")))


def read_dump(file: SourceFile, _source: Source) -> Iterator[Item]:
    """Articles of a text dump: wikiextractor's ``<doc …>`` blocks, or one article a line."""
    with file.lines() as stream:
        first = next((line.lstrip() for line in stream if line.strip()), "")
    if first.startswith(("<mediawiki", "<?xml")):
        yield Dropped("XML with markup: its text is read after wikiextractor --json has made it", text=first)
        return
    yield from _doc_blocks(file) if first.startswith("<doc") else _article_lines(file)


def without_residue(text: str) -> str:
    """A paragraph without markup, empty brackets and sentences whose numbers a template has kept to itself."""
    for pattern, instead in _MARKUP:
        text = pattern.sub(instead, text)
    text = _EMPTY_BRACKETS.sub("", html.unescape(text))
    text = _BRACKET_ENDS.sub(r"\1", _BRACKET_BEGINS.sub(r"\1", text))
    whole = (one for one in _SENTENCE_ENDS.split(text) if not _HOLE.search(one))
    return _SPACES.sub(" ", _SPACE_BEFORE.sub("", " ".join(whole))).strip()


def _beginning(text: str, place: str, title: str, url: str) -> Item:
    paragraphs = _paragraphs(text, title)
    wanted = 2 if chance(url or title or text[:200], "paragraphs") < TWO_PARAGRAPHS else 1
    kept = []
    for paragraph in paragraphs:
        cleaned = without_residue(paragraph)
        if words_of(cleaned) >= _PARAGRAPH_WORDS:
            kept.append(cleaned)
        if len(kept) == wanted:
            break
    if not kept:
        return Dropped("no paragraph in the article", place, text)
    return Found("\n\n".join(kept), place, url=url, title=title)


def _paragraphs(text: str, title: str) -> Iterator[str]:
    for line in text.split("\n"):
        line = line.strip()
        if line and line != title and not line.startswith(("==", "{|", "|", "*", "#")):
            yield line


def _doc_blocks(file: SourceFile) -> Iterator[Item]:
    block: list[str] = []
    number = 0
    with file.lines() as stream:
        for line in stream:
            if line.startswith("<doc"):
                block = []
            block.append(line)
            if line.startswith("</doc>"):
                number += 1
                yield _doc_block("".join(block), f"#{number}")
                block = []
    if block:
        yield Dropped("an article has no end", f"#{number + 1}", "".join(block))


def _doc_block(block: str, place: str) -> Item:
    found = _ARTICLE.search(block)
    if found is None:
        return Dropped("an article has no beginning", place, block)
    said = {name: html.unescape(value) for name, value in _SAID.findall(found["said"])}
    return _beginning(found["text"], place, said.get("title", ""), said.get("url", ""))


def _article_lines(file: SourceFile) -> Iterator[Item]:
    with file.lines() as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _beginning(_GLUED.sub("\n", line), f"#{number}", "", "")
