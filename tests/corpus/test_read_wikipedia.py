"""Wikipedia's beginnings, without what templates left behind: the residue of LongForm's release does not come back."""

import json
from pathlib import Path

import pytest

from lft.corpus.read.wikipedia import TWO_PARAGRAPHS, without_residue
from tests.corpus.reading import read, written


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Poddębice () is a village.", "Poddębice is a village."),
        ('Isang Gamu-gamo ("") is a film.', "Isang Gamu-gamo is a film."),
        ("Abraham Lincoln (; February 12, 1809) was.", "Abraham Lincoln (February 12, 1809) was."),
        ('ánthrōpos (, "human") and lógos', 'ánthrōpos ("human") and lógos'),
        ("Toruń (German: Thorn; ) is a city.", "Toruń (German: Thorn) is a city."),
        ("DeLand Municipal Airport , also known as X, is one.", "DeLand Municipal Airport, also known as X, is one."),
        (
            "Nemaha is a city. The city has a total area of , all of it land. It is small.",
            "Nemaha is a city. It is small.",
        ),
        ("It is big. With a total of  of inland waterways, it has many.", "It is big."),
        ("Die Stadt liegt am Rhein. Die Fläche beträgt , davon Wald.", "Die Stadt liegt am Rhein."),
        (" Brugnens is a commune in the  Gers department.", "Brugnens is a commune in the Gers department."),
        ("'''Rome''' is a [[capital city|capital]] of [[Italy]].[1][citation needed]", "Rome is a capital of Italy."),
        ("A{{cite web|url=x}} town<ref name=a>Book</ref> near<br /> Ulm.", "A town near Ulm."),
        ("Tom &amp; Jerry is a series.", "Tom & Jerry is a series."),
    ],
)
def test_what_templates_left_behind_is_gone(before: str, after: str) -> None:
    assert without_residue(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "It was founded in 1990 (see below), and .5 per cent remain.",
        "The U.S. Army (founded 1775) is old. J. R. R. Tolkien wrote of it.",
        "Prix : 5 € ; « bien » ! Il est né à Paris, en 1802.",
        "f(x) = (x, y) and a[i] is what he spoke of.",
        "Что это из, а?",
    ],
)
def test_what_people_wrote_stays(text: str) -> None:
    assert without_residue(text) == text


ARTICLE = (
    "{n}\n\nThe first paragraph of number {n} is here.\n\nHistory\n\nThe second one of number {n} is here.\n\nThird."
)


def test_three_of_four_articles_give_one_paragraph_and_the_others_two(tmp_path: Path) -> None:
    rows = [{"id": str(n), "url": f"u/{n}", "title": str(n), "text": ARTICLE.format(n=n)} for n in range(2000)]
    written(tmp_path, {"wiki.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    documents = read("wikipedia", tmp_path).documents
    assert documents[0].title == "0"
    assert documents[0].where == "u/0"
    one = [
        document
        for document in documents
        if document.text == f"The first paragraph of number {document.title} is here."
    ]
    two = [document for document in documents if document.text.count("\n\n") == 1]
    assert len(one) + len(two) == 2000
    assert all("second one of number" in document.text and "History" not in document.text for document in two)
    assert abs(len(two) / 2000 - TWO_PARAGRAPHS) < 0.03


def test_a_dump_of_wikiextractor_is_read_and_a_torn_article_counted(tmp_path: Path) -> None:
    dump = (
        '<doc id="1" url="https://example.org/?curid=1" title="Ulm &amp; mehr">\nUlm &amp; mehr\n\nUlm () ist eine '
        'Stadt an der Donau.\n\n</doc>\n<doc id="2" url="" title="Leer">\nLeer\n</doc>\n<doc id="3" title="Torn">\nTorn'
    )
    reading = read("wikipedia", written(tmp_path, {"AA/wiki_00": dump}), langs=("de",))
    (one,) = reading.documents
    assert (one.title, one.text, one.where) == (
        "Ulm & mehr",
        "Ulm ist eine Stadt an der Donau.",
        "https://example.org/?curid=1",
    )
    assert reading.cut == {"no paragraph in the article": 1, "an article has no end": 1}


@pytest.mark.parametrize("first", ["<mediawiki xmlns='x'>", "<?xml version='1.0'?>\n<mediawiki>"])
def test_a_dump_with_markup_is_named_as_what_it_is(tmp_path: Path, first: str) -> None:
    text = f"{first}\n<page>\n<title>Ulm</title>\n<text>[[Ulm]] is a city on the river of Danube.</text></page>"
    reading = read("wikipedia", written(tmp_path, {"dump.xml": text}) / "dump.xml")
    assert reading.documents == []
    assert reading.cut == {"XML with markup: its text is read after wikiextractor --json has made it": 1}


def test_real_articles_begin_without_residue(shared_data, tmp_path: Path) -> None:
    rows = (shared_data / "corpus" / "wiki_demo.en.jsonl").read_text(encoding="utf-8").splitlines()
    written(tmp_path, {"wiki.txt": "\n".join(json.loads(row)["text"].replace("\n", " ") for row in rows)})
    documents = read("wikipedia", tmp_path).documents
    assert len(documents) == len(rows)
    for one in documents:
        for residue in ("()", "(;", "( ", "(,", " ,", "  ", " of ,"):
            assert residue not in one.text, one.text
        assert len(one.text.split()) < 1000


def test_the_rows_of_the_release_would_be_mended(shared_data) -> None:
    rows = json.loads((shared_data / "longform" / "longform_train.json").read_text(encoding="utf-8"))
    rows += json.loads((shared_data / "longform" / "longform_val.json").read_text(encoding="utf-8"))
    outputs = [row["output"] for row in rows if row["source"] == "Wikipedia"]
    assert any("()" in text or "area of ," in text for text in outputs)
    for text in map(without_residue, outputs):
        assert text == text.strip()
        assert not any(residue in text for residue in ("()", '("")', "area of ,", " , "))
