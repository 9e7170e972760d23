"""What machines did to a text is undone; what its author wrote stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ftfy")

from lft.corpus.read.clean import clean, clean_line, is_navigation, printable, without_navigation


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BÃ¼cher fÃ¼r groÃŸe LÃ¶wen", "Bücher für große Löwen"),
        ("itâ€™s late", "it’s late"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("N\bNA\bAM\bME\bE", "NAME"),
        ("auto\u2010\n       matic", "automatic"),
        ("a zero\u200bwidth and soft\u00adhyphen", "a zerowidth and softhyphen"),
        ("\ufeffBOM and \x07bell", "BOM and bell"),
        ("\x1b[1mbold\x1b[0m", "bold"),
        ("end  \t\nnext", "end\nnext"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("  \n Brugnens is a commune. \n", "Brugnens is a commune."),
        ("half \ud83d", "half �"),
    ],
)
def test_what_a_machine_did_is_undone(before: str, after: str) -> None:
    assert clean(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "“Curly” quotes, ‘single’ ones, «Guillemets» and an em—dash…",
        "well-\nknown: a hyphen that somebody typed",
        "ein well‐known U+2010 in the line",
        "&lt;p&gt; is how <p> is written, and &amp; is an ampersand",
        "def f(x):\n    return  x   # two  spaces",
        "ﬁne ligature, ｆｕｌｌ width, Ŀ l·l",
        "Он сказал: «Ёлка» — и ушёл.",
        "Prix : 5 €, « bien » !",  # no-break spaces
        "می‌خواهم 👩‍👩‍👧",  # joiners carry meaning
        "a\tb\tc",
        "Café and Café",  # composed and decomposed
    ],
)
def test_what_an_author_wrote_stays(text: str) -> None:
    assert clean(text) == text


def test_real_documents_in_five_languages_are_hardly_touched(shared_data) -> None:
    changed = 0
    for lang in ("de", "es", "fr", "ru"):
        for line in (shared_data / "corpus" / f"gnome-help.{lang}.jsonl").read_text(encoding="utf-8").splitlines():
            text = json.loads(line)["text"]
            changed += clean(text) != text.strip()
    assert changed == 0


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_a_title_is_one_line() -> None:
    assert clean_line(" Two\n  lines\t here ") == "Two lines here"


@pytest.mark.parametrize(
    "line",
    [
        "Prev   Next",
        "« Zurück | Weiter »",
        "Table of Contents",
        "Anterior · Inicio · Siguiente",
        "Содержание",
        "Up: Home",
    ],
)
def test_lines_that_only_lead_elsewhere_are_navigation(line: str) -> None:
    assert is_navigation(line)


@pytest.mark.parametrize("line", ["", "Next, open the panel.", "Home folder", "Search for files", "Zurück nach Berlin"])
def test_sentences_and_headings_are_not(line: str) -> None:
    assert not is_navigation(line)


def test_a_page_loses_its_navigation_and_nothing_else() -> None:
    page = "Prev Next\n\nInstall the package.\nNext, start it.\nTable of Contents"
    assert without_navigation(page) == "\nInstall the package.\nNext, start it."


def test_half_a_surrogate_can_be_written() -> None:
    assert printable("a\ud800b") == "a?b"
