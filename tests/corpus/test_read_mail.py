"""E-mail: what its author wrote, and nothing that a mail program put there."""

from pathlib import Path

import pytest

from lft.corpus.language import detected
from lft.corpus.read.mail import own_words
from tests.corpus.reading import read, written

PLAIN = (
    "From: ann@example.org\nTo: bob@example.org\nSubject: =?utf-8?q?Re=3A_AW=3A_Gr=C3=BC=C3=9Fe?=\n"
    "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n"
    "Hallo Bob,\n\nsch=F6n! Write to me at ann@example.org.\n\nOn Monday, Bob Smith\n<bob@example.org> wrote:\n"
    "> How are you?\n>> Fine.\n-- \nAnn\nTel. 030 123\n"
)
HTML = (
    "From: c@example.org\nSubject: Plan\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n"
    "<html><body><p>Dear all,</p><p>we meet <b>today</b>.</p></body></html>\n"
)


@pytest.mark.parametrize(("lang", "style"), [("en", "template"), ("de", "template"), ("ru", "template"), ("it", None)])
def test_a_message_is_asked_for_in_its_language_or_by_a_model(tmp_path: Path, lang: str, style: str | None) -> None:
    one = read("email", written(tmp_path, {"1.": PLAIN}), langs=(lang,)).only
    assert one.style == style
    assert style is None or detected(one.question.replace("Grüße", ""))[0] == lang
    assert bool(one.question) == (style is not None)


def test_messages_of_a_maildir_are_read_without_quotation_and_signature(tmp_path: Path) -> None:
    reading = read("email", written(tmp_path, {"ann/sent/1.": PLAIN, "ann/sent/2.": HTML}))
    first, second = reading.documents
    assert first.text == "Hallo Bob,\n\nschön! Write to me at ann@example.org."
    assert first.title == "Grüße"
    assert "Grüße" in first.question
    assert first.style == "template"
    assert second.text == "Dear all,\n\nwe meet today."
    assert reading.cut == {}


def test_an_mbox_is_read_message_by_message(tmp_path: Path) -> None:
    mbox = "".join(f"From ann@example.org Mon Sep 17 00:00:00 2001\n{one}\n" for one in (PLAIN, HTML))
    inside = mbox.replace("Hallo Bob,", "Hallo Bob,\nFrom Berlin I came by train in 2001.")
    reading = read("email", written(tmp_path, {"inbox": inside}))
    assert len(reading.documents) == 2
    assert "From Berlin I came by train in 2001." in reading.texts[0]
    assert [one.where for one in reading.documents] == ["inbox#1", "inbox#2"]


@pytest.mark.parametrize(
    ("body", "own"),
    [
        ("Yes.\n\n-----Original Message-----\nFrom: Bob\nNo?", "Yes."),
        ("Ja.\n\nVon: Bob <bob@example.org>\nGesendet: heute\nNein?", "Ja."),
        ("FYI\n---------------------- Forwarded by Ann/HOU on 01/02/2001 ----\nlong", "FYI"),
        ("Oui.\n\nLe 3 mai, Bob a écrit :\n> Non ?", "Oui."),
        ("Ja.\n\nAm 3. Mai schrieb Bob:\n> Nein?\n\nUnd noch etwas.", "Ja.\n\n\nUnd noch etwas."),
        ("Sí.\nEl lunes, Bob escribió:\n> ¿No?", "Sí."),
        ("Да.\nВ понедельник Боб пишет:\n> Нет?", "Да."),
        ("Answer.\n_______________________________________________\nlist mailing list", "Answer."),
        ("Two -- dashes\n--- three\nstay", "Two -- dashes\n--- three\nstay"),
        ("On Monday I wrote: a poem.\nIt is good.", "On Monday I wrote: a poem.\nIt is good."),
        ("> only quoted", ""),
    ],
)
def test_only_the_authors_own_words_stay(body: str, own: str) -> None:
    assert own_words(body) == own


def test_what_is_no_message_is_counted(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "1": "Subject: x\n\n> quoted\n",
            "2": "Subject: x\nContent-Type: text/plain; charset=nonsense\n\nBytes \xff\n",
            "3": "no header here\n\nat all",
            "4": b"\x00\xff\xfe",
            "5": "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf\n\n%PDF\n--b--\n",
            "6": "Content-Type: text/plain\n\nNo subject, but words.\n",
        },
    )
    reading = read("email", tmp_path)
    assert "No subject, but words." in reading.texts
    one = next(one for one in reading.documents if one.text.startswith("No subject"))
    assert (one.question, one.style) == ("", None)
    assert sum(reading.cut.values()) + len(reading.documents) == 6
    assert reading.cut["nothing in the message is its author's own"] == 2
    assert reading.cut["the file is no message"] == 2
