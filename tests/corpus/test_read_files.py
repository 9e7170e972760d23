"""Texts that are a file each: plain, Markdown, HTML, Mallard."""

from pathlib import Path

import pytest

from tests.corpus.reading import read, written

ARTICLE = "<p>" + "A paragraph about bread that is long enough to count as the main text of the page. " * 6 + "</p>"


def page(title: str, text: str) -> str:
    return (
        f"<html><head><title>{title}</title></head><body><nav><a href='a'>Home</a><a href='b'>Products</a></nav>"
        f"<article><h1>{title}</h1><p>Prev Next</p>{text}</article><footer>Cookies and imprint</footer></body></html>"
    )


def test_a_text_is_read_as_it_is_and_says_where_it_is_from(tmp_path: Path) -> None:
    written(tmp_path, {"b/two.txt": "Zwei\n", "a/one.txt": "Eins", "a/.hidden.txt": "no", "a/picture.png": b"\x89"})
    reading = read("text", tmp_path, langs=("de",), licence="CC0")
    assert [(one.where, one.text, one.lang, one.licence) for one in reading.documents] == [
        ("a/one.txt", "Eins", "de", "CC0"),
        ("b/two.txt", "Zwei", "de", "CC0"),
    ]
    assert len({one.id for one in reading.documents}) == 2


def test_an_id_does_not_hang_on_where_the_folder_lies(tmp_path: Path) -> None:
    for name in ("here", "there"):
        written(tmp_path / name, {"one.txt": "Eins"})
    assert read("text", tmp_path / "here").only.id == read("text", tmp_path / "there").only.id


def test_a_file_that_is_not_utf8_or_is_empty_is_counted(tmp_path: Path) -> None:
    written(tmp_path, {"a.txt": "fein", "b.txt": "größer".encode("cp1252"), "c.txt": " \n"})
    reading = read("text", tmp_path)
    assert reading.texts == ["fein"]
    assert reading.cut == {"the file is not UTF-8": 1, "no text": 1}


def test_packed_files_are_unpacked_and_torn_ones_counted(tmp_path: Path) -> None:
    import gzip

    whole = gzip.compress(b"A story. " * 999)
    written(tmp_path, {"a.txt.gz": whole, "b.txt.gz": whole[:40]})
    reading = read("text", tmp_path)
    assert reading.texts == [("A story. " * 999).strip()]
    assert reading.cut == {"the file cannot be read": 1}


@pytest.mark.parametrize(
    ("front", "title", "licence"),
    [
        ('---\ntitle: "Bread: the basics"\ntags: [a]\nlicense: CC-BY-4.0\n---\n', "Bread: the basics", "CC-BY-4.0"),
        ('+++\ntitle = "Bread"\n+++\n', "Bread", "CC0"),
        ("# Bread #\n\n", "Bread", "CC0"),
        ("", "", "CC0"),
        ("---\n---\n", "", "CC0"),
    ],
)
def test_front_matter_becomes_title_and_licence(tmp_path: Path, front: str, title: str, licence: str) -> None:
    one = read("markdown", written(tmp_path, {"a.md": f"{front}Mix *flour*.\n\n---\nBake."})).only
    assert (one.title, one.licence) == (title, licence)
    assert one.text.endswith("Mix *flour*.\n\n---\nBake.")
    assert "tags" not in one.text


def test_front_matter_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    reading = read("markdown", written(tmp_path, {"a.md": '---\ntitle: "open\n---\ntext', "b.md": "+++\nx\n+++\ntext"}))
    assert reading.cut == {"its front matter cannot be read": 2}


def test_a_page_is_its_main_text_without_menus(tmp_path: Path) -> None:
    pytest.importorskip("lxml_html_clean")
    one = read("html", written(tmp_path, {"bread.html": page("Bread", ARTICLE)})).only
    assert one.title == "Bread"
    assert "A paragraph about bread" in one.text
    for elsewhere in ("Products", "Cookies", "Prev Next", "<p>"):
        assert elsewhere not in one.text


def test_a_page_without_main_text_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("lxml_html_clean")
    reading = read("html", written(tmp_path, {"a.html": "<html><body></body></html>", "b.html": ""}))
    assert reading.cut == {"no main text in the page": 2}


def test_of_one_page_in_several_files_the_wanted_language_is_read(tmp_path: Path) -> None:
    pytest.importorskip("lxml_html_clean")
    names = ("ch1.html", "ch1.en.html", "ch1.de.html", "index.html.en", "index.html.de", "ch2.html", "hello.cs.html")
    written(tmp_path, {name: page(name, ARTICLE) for name in names})
    reading = read("html", f"{tmp_path}/*.html*")
    assert [one.where for one in reading.documents] == ["ch1.en.html", "ch2.html", "hello.cs.html", "index.html.en"]
    assert reading.cut == {"the same page in another file": 1, "a page in another language, by its name": 2}


MALLARD = """<?xml version="1.0" encoding="utf-8"?>
<page xmlns="http://projectmallard.org/1.0/" xmlns:if="http://projectmallard.org/if/1.0/" type="topic" id="bounce"
      xml:lang="de">
  <info><link type="guide" xref="a11y"/><credit type="author"><name>Ann</name></credit><desc>Short.</desc></info>
  <title>Springende <gui>Tasten</gui></title>
  <!-- not this -->
  <comment><p>Somebody should write more.</p></comment>
  <p>Schalten Sie es
     ein, siehe <link xref="other"/> oder <link xref="other">hier</link>.</p>
  <steps>
    <title>So geht es</title>
    <item><p>Drücken Sie <keyseq><key>Strg</key><key>C</key></keyseq>.</p></item>
    <item><p>Wählen Sie <guiseq><gui>Datei</gui><gui>Neu</gui></guiseq>.</p><note><p>Vorsicht!</p></note></item>
  </steps>
  <section id="more"><title>Mehr</title>
    <list><item><p>eins</p></item><item><p>zwei</p></item></list>
    <table><tr><td><p>A</p></td><td><p>B</p></td></tr></table>
    <code>ls  -l
  x</code>
    <media type="image" src="a.png"><p>alternative</p></media>
    <if:choose><if:when test="a"><p>Neu.</p></if:when><if:else><p>Alt.</p></if:else></if:choose>
    <p>Die Taste <media type="image" src="key.svg"><key>Pos1</key></media>.</p>
  </section>
  <section id="empty"><title>Leer</title><links type="topic"/></section>
</page>
"""


def test_a_help_page_keeps_its_shape(tmp_path: Path) -> None:
    other = '<page xmlns="http://projectmallard.org/1.0/" id="other"><title>Andere Seite</title><p>Text.</p></page>'
    written(tmp_path, {"de/bounce.page": MALLARD, "de/other.page": other})
    first = read("mallard", tmp_path / "{lang}", langs=("de",)).documents[0]
    assert first.title == "Springende Tasten"
    assert first.where == "bounce.page"
    assert first.text == (
        "Schalten Sie es ein, siehe Andere Seite oder hier.\n\n"
        "1. Drücken Sie Strg+C.\n2. Wählen Sie Datei ▸ Neu.\n   Vorsicht!\n\n"
        "## Mehr\n\n- eins\n- zwei\n\nA | B\n\n```\nls  -l\n  x\n```\n\nNeu.\n\nDie Taste Pos1."
    )


def test_parallel_pages_have_one_place_and_english_is_under_c(tmp_path: Path) -> None:
    plain = '<page xmlns="http://projectmallard.org/1.0/"><title>T</title><p>{}</p></page>'
    written(tmp_path, {"C/help/a.page": plain.format("Text."), "fr/help/a.page": plain.format("Texte.")})
    reading = read("mallard", f"{tmp_path}/{{lang}}/help", langs=("en", "fr"))
    assert [(one.where, one.lang, one.text) for one in reading.documents] == [
        ("a.page", "en", "Text."),
        ("a.page", "fr", "Texte."),
    ]
    assert len({one.id for one in reading.documents}) == 2


def test_an_untranslated_page_is_seen_by_its_language(tmp_path: Path) -> None:
    from lft.corpus.language import detected

    plain = '<page xmlns="http://projectmallard.org/1.0/"><title>T</title><p>{}</p></page>'
    text = "The settings of this panel have not been translated into your language yet."
    written(tmp_path, {"de/a.page": plain.format(text)})
    one = read("mallard", tmp_path / "{lang}", langs=("de",)).only
    assert (one.lang, detected(one.text)[0]) == ("de", "en")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<page><p>open", "the page is no XML"),
        ("<article><p>x</p></article>", "the file is no Mallard page"),
        ('<!DOCTYPE p [<!ENTITY e SYSTEM "file:///etc/hostname">]><page><p>&e;</p></page>', "the page is no XML"),
    ],
)
def test_a_page_that_is_none_is_counted(tmp_path: Path, content: str, reason: str) -> None:
    assert read("mallard", written(tmp_path, {"a.page": content})).cut == {reason: 1}


def test_an_entity_of_the_page_itself_is_written_out(tmp_path: Path) -> None:
    page = '<!DOCTYPE p [<!ENTITY app "Files">]><page><p>Open &app; now.</p></page>'
    assert read("mallard", written(tmp_path, {"a.page": page})).texts == ["Open Files now."]
