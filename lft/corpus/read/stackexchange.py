"""A Stack Exchange dump (Posts.xml): each question with one answer, the accepted or else the best-scored one.

The release of LongForm split the Pile's text at its last "A:", so that its questions hold other people's answers; the
dump keeps every post apart. Posts go through a temporary SQLite file, so memory does not grow with the site.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile
from lft.corpus.read.markup import html_text
from lft.corpus.schema import Source
from lft.errors import MachineError

_QUESTION, _ANSWER = 1, 2  # PostTypeId; the others are wiki pages, tag texts and elections
_SITE: Final = re.compile(r"[\w-]+(\.meta)?(\.stackexchange)?\.(com|net|org)")
_TABLES: Final = """
create table question (id integer primary key, title text, body text, accepted integer);
create table answer (id integer primary key, parent integer, score integer, body text, licence text);
"""
# the accepted one, else the one with most votes, of those the oldest
_CHOSEN: Final = """
select number, title, asked, answer.id, answer.body, score, licence from (
  select id as number, title, body as asked, coalesce(
    (select one.id from answer as one where one.id = question.accepted and one.parent = question.id),
    (select one.id from answer as one where one.parent = question.id order by one.score desc, one.id limit 1)
  ) as chosen from question)
left join answer on answer.id = chosen order by number
"""


def read_stackexchange(file: SourceFile, source: Source) -> Iterator[Item]:
    """Questions with their answers, in the order of the dump."""
    site = site_of(file)
    with tempfile.TemporaryDirectory(prefix="lft-posts-") as folder:
        posts = sqlite3.connect(Path(folder, "posts.sqlite"))
        try:
            posts.executescript("pragma journal_mode = off; pragma synchronous = off;" + _TABLES)
            yield from _load(file, posts)
            posts.execute("create index by_question on answer (parent)")
            for row in posts.execute(_CHOSEN):
                yield _item(row, site, source)
        except sqlite3.OperationalError as error:
            fix = "free some space, or set TMPDIR to a folder on a larger disk"
            raise MachineError(f"posts cannot be put into a temporary file: {error}", where=folder, fix=fix) from None
        finally:
            posts.close()


def site_of(file: SourceFile) -> str:
    """The site's address by the name of its folder or file (boardgames.stackexchange.com), else an empty text."""
    parts = f"{file.folder.path}/{file.path}".split("/")
    found = (_SITE.match(part) for part in (parts[-1], parts[-2] if len(parts) > 1 else ""))
    return next((match[0] for match in found if match), "")


def _load(file: SourceFile, posts: sqlite3.Connection) -> Iterator[Item]:
    from lxml import etree

    with file.binary() as stream:
        try:
            for _, row in etree.iterparse(stream, tag="row", resolve_entities="internal", no_network=True):
                dropped = _store(row.attrib, posts)
                row.clear()
                while row.getprevious() is not None:
                    del row.getparent()[0]
                if dropped:
                    yield dropped
        except etree.XMLSyntaxError as error:
            yield Dropped("the dump is no whole XML", text=str(error))


def _store(post: Any, posts: sqlite3.Connection) -> Dropped | None:
    try:
        kind, number = int(post["PostTypeId"]), int(post["Id"])
        if kind == _QUESTION:
            values = (number, post.get("Title", ""), post["Body"], int(post.get("AcceptedAnswerId", 0)))
            posts.execute("insert into question values (?, ?, ?, ?)", values)
        elif kind == _ANSWER:
            licence = post.get("ContentLicense", "")
            answer = (number, int(post["ParentId"]), int(post["Score"]), post["Body"], licence)
            posts.execute("insert into answer values (?, ?, ?, ?, ?)", answer)
    except (KeyError, ValueError, sqlite3.IntegrityError):
        return Dropped("a post lacks what it needs, or is there twice", f"#{post.get('Id', '?')}", str(dict(post)))
    return None


def _item(row: tuple[Any, ...], site: str, source: Source) -> Item:
    number, title, body, answer, text, score, licence = row
    question = f"{title}\n\n{html_text(body)}".strip()
    if answer is None:
        return Dropped("a question without an answer", f"#{number}", question)
    if source.min_score is not None and score < source.min_score:
        return Dropped(f"an answer with fewer than {source.min_score:g} votes", f"#{answer}", question)
    return Found(
        text=html_text(text),
        place=f"#{answer}",
        url=f"https://{site}/a/{answer}" if site else "",
        title=title,
        question=question,
        subset=site.split(".")[0],
        style="human",
        score=float(score),
        licence=licence,
    )
