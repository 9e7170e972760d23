"""A dump's questions with one answer each; other people's answers never get into a question."""

import subprocess
import sys
from html import escape
from pathlib import Path

import pytest

from lft.corpus.read.markup import html_text
from tests.corpus.reading import read, written


def post(**attributes) -> str:
    return "<row " + " ".join(f'{name}="{escape(str(value))}"' for name, value in attributes.items()) + " />\n"


def question(number: int, **more) -> str:
    return post(Id=number, PostTypeId=1, Score=5, Title=f"Title {number}?", Body=f"<p>Body {number}</p>", **more)


def answer(number: int, parent: int, score: int, **more) -> str:
    body = f"<p>Answer {number}</p>"
    return post(Id=number, PostTypeId=2, ParentId=parent, Score=score, Body=body, ContentLicense="CC BY-SA 4.0", **more)


DUMP = (
    '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
    + answer(9, 1, 1)  # before its question
    + question(1, AcceptedAnswerId=2)
    + answer(2, 1, 3)
    + answer(3, 1, 50)
    + question(4)
    + answer(5, 4, 7)
    + answer(6, 4, 7)
    + answer(7, 4, -1)
    + question(8)
    + question(10)
    + answer(11, 10, 0)
    + post(Id=12, PostTypeId=5, Body="tag wiki")
    + post(Id=13, PostTypeId=2, Body="no parent")
    + post(Id=1, PostTypeId=1, Title="again", Body="x")
    + "</posts>"
)


def test_the_accepted_or_else_the_best_answer_alone_is_the_text(tmp_path: Path) -> None:
    reading = read("stackexchange", written(tmp_path, {"boardgames.stackexchange.com/Posts.xml": DUMP}), min_score=1)
    first, second = reading.documents
    assert (first.text, second.text) == ("Answer 2", "Answer 5")
    assert first.question == "Title 1?\n\nBody 1"
    assert "Answer" not in first.question + second.question
    assert (first.title, first.score, first.subset, first.style) == ("Title 1?", 3.0, "boardgames", "human")
    assert (first.where, first.licence) == ("https://boardgames.stackexchange.com/a/2", "CC BY-SA 4.0")
    assert reading.cut == {
        "a question without an answer": 1,
        "an answer with fewer than 1 votes": 1,
        "a post lacks what it needs, or is there twice": 2,
    }


def test_a_torn_dump_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    torn = DUMP[: DUMP.index('<row Id="8"')] + "<row Id="
    reading = read("stackexchange", written(tmp_path, {"Posts.xml": torn}))
    assert reading.texts == ["Answer 2", "Answer 5"]
    assert reading.documents[0].where == "Posts.xml#2"
    assert reading.cut == {"the dump is no whole XML": 1}


MEASURE = """
import resource, sys
from datatrove.io import get_datafolder
from lft.corpus.read.found import Found, SourceFile
from lft.corpus.read.stackexchange import read_stackexchange
from lft.corpus.schema import Source
source = Source(name="x", kind="stackexchange", path="x", licence="x")
found = read_stackexchange(SourceFile(get_datafolder(sys.argv[1]), "Posts.xml", "en"), source)
print(sum(isinstance(one, Found) for one in found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    def kilobytes(questions: int) -> int:
        folder = tmp_path / str(questions)
        folder.mkdir()
        with (folder / "Posts.xml").open("w") as stream:
            stream.write("<posts>")
            for n in range(2, 2 * questions + 2, 2):
                stream.write((question(n) + answer(n + 1, n, n)).replace("p&gt;Body", "p&gt;" + "words " * 500))
            stream.write("</posts>")
        said = subprocess.run(
            [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(said[0]) == questions
        return int(said[1])

    assert kilobytes(20_000) < kilobytes(2000) + 15_000  # the dumps have 65 MB and 6.5 MB


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One  <b>bold</b>\nword.</p><p>Two.</p>", "One bold word.\n\nTwo."),
        (
            "<p>See:</p><pre><code>if x:\n    y()\n\n    z()\n</code></pre>",
            "See:\n\n```\nif x:\n    y()\n\n    z()\n```",
        ),
        ("<ul><li>a</li><li><p>b</p></li></ul>", "- a\n\n- b"),
        ("<ol><li>a</li><li>b<br>c</li></ol>", "1. a\n\n2. b\nc"),
        ("Use <code>ls -l</code> &amp; read", "Use `ls -l` & read"),
        ("<blockquote><p>They said.</p><p>More.</p></blockquote><p>I say.</p>", "> They said.\n> More.\n\nI say."),
        ('A <a href="x">link</a><img src="y"> here<script>x()</script>.', "A link here."),
        ("", ""),
        ("<!-- only -->", ""),
        ("plain", "plain"),
    ],
)
def test_html_of_a_post_keeps_its_shape(html: str, text: str) -> None:
    assert html_text(html) == text
