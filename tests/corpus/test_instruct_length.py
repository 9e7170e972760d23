"""A clause about length is true of its text, grammatical, and never runs into the instruction."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.instruct import draw
from lft.corpus.instruct.clean import ended
from lft.corpus.instruct.length import drawn_clause, true_clauses, with_clause
from lft.data.clauses import WORDINGS
from lft.data.sentences import sentences


@pytest.mark.parametrize(
    ("lang", "text", "count"),
    [
        ("en", "One. Two! Three? Four… Five", None),
        ("en", "One. Two! Three? Four…", 4),
        ("en", "Mr. Smith paid 3.50 dollars, i.e. too much. He left.", 2),
        ("en", 'He said "stop." Then he left.', 2),
        ("en", '"Stop!" John cried.', None),
        ("en", "Why? he asked. Nobody knew.", 2),
        ("en", "Bread, salt, etc. Water is needed.", None),
        ("en", "John F. Kennedy spoke.", None),
        ("en", "A heading\n\nOne sentence. Another one.", None),
        ("en", "- Open the settings.\n- Click on Sound.", 2),
        ("en", "1. Open the settings.\n2. Click on Sound. Wait.", 3),
        ("en", "This is a line that breaks where it is full, as they do in\ne-mails and other texts of the kind, "
               "where one sentence lies over\nthree lines. This is the second.", 2),
        ("de", "Das gilt z. B. für Äpfel, d. h. für Obst. Es kostet 3,50 Euro.", 2),
        ("de", "Am 3. Mai kam er.", None),
        ("de", "Am Ende stand es 12:30. Alle gingen.", 2),
        ("de", "„Warum?“, fragte er. Niemand wusste es.", 2),
        ("es", "¿Cómo se hace? ¡Así! El Sr. García lo sabe.", 3),
        ("fr", "« Pourquoi ? » demanda M. Dupont. Personne ne répondit.", 2),
        ("ru", "Откройте файл, т. е. документ. См. раздел 3. Готово!", 3),
        ("ru", "Это было в 1990 г. Потом всё изменилось.", None),
        ("ja", "これは文です。二つ目です。", 2),
        ("en", "", None),
        ("en", "... !!! ???", None),
    ],
)  # fmt: skip
def test_sentences_are_counted_where_that_is_certain(lang: str, text: str, count: int | None) -> None:
    found = sentences(text, lang)
    assert (found.count if found.certain else None) == count


@pytest.mark.parametrize(
    ("lang", "n", "said"),
    [
        ("en", 1, "Respond in 1 word."), ("en", 2, "Respond in 2 words."),
        ("de", 1, "Antworte mit 1 Wort."), ("de", 21, "Antworte mit 21 Wörtern."),
        ("es", 1, "Responde con 1 palabra."), ("es", 101, "Responde con 101 palabras."),
        ("fr", 1, "Réponds en 1 mot."), ("fr", 5, "Réponds en 5 mots."),
        ("ru", 1, "Объём ответа: 1 слово."), ("ru", 3, "Объём ответа: 3 слова."), ("ru", 5, "Объём ответа: 5 слов."),
        ("ru", 11, "Объём ответа: 11 слов."), ("ru", 13, "Объём ответа: 13 слов."),
        ("ru", 21, "Объём ответа: 21 слово."), ("ru", 22, "Объём ответа: 22 слова."),
        ("ru", 111, "Объём ответа: 111 слов."), ("ru", 1004, "Объём ответа: 1004 слова."),
    ],
)  # fmt: skip
def test_numbers_have_their_form(lang: str, n: int, said: str) -> None:
    assert true_clauses("ja " * n, lang)["words"] == said


def test_the_release_said_in_1_sentences() -> None:
    assert true_clauses("It is a town.", "en")["sentences"] == "Respond in 1 sentence."


def test_brief_detailed_and_paragraphs_are_said_of_texts_that_are() -> None:
    def kinds(count: int) -> dict[str, str]:
        return dict(true_clauses("It is so. " * count, "en"))

    assert kinds(2)["manner"] == "Respond briefly."
    assert "manner" not in kinds(3)
    assert "manner" not in kinds(10)
    assert kinds(11)["manner"] == "Respond in detail."
    assert "paragraphs" not in kinds(5)
    assert true_clauses("One.\n\nTwo.\n \nThree.", "fr")["paragraphs"] == "Réponds en 3 paragraphes."


def test_a_text_whose_sentences_are_uncertain_gets_other_clauses() -> None:
    assert true_clauses("A heading\n\nOne sentence.", "en") == {
        "words": "Respond in 4 words.",
        "paragraphs": "Respond in 2 paragraphs.",
    }


def test_an_english_clause_for_another_language_and_none_where_there_are_no_words_for_it() -> None:
    assert true_clauses("Es ist so.", "de", "en")["sentences"] == "Respond in 1 sentence."
    assert true_clauses("Tak jest.", "pl") == {}
    assert drawn_clause("Tak jest.", "pl", "pl", 1.0, 1, "a") == ""


@given(st.text(min_size=1, max_size=300), st.sampled_from(sorted(WORDINGS)), st.integers(0, 99))
def test_every_clause_is_true_by_a_count_of_its_own(text: str, lang: str, seed: int) -> None:
    clause = drawn_clause(text, lang, lang, 1.0, seed, "id")
    assert bool(clause) == bool(text.strip())
    number = re.search(r"\d+", clause)
    if clause and clause == true_clauses(text, lang)["words"]:
        assert number is not None
        assert int(number[0]) == len(text.split())


@given(st.text(min_size=1, max_size=50).filter(str.strip), st.booleans())
def test_a_mark_stands_between_instruction_and_clause(instruction: str, first: bool) -> None:
    text = with_clause(ended(instruction.strip()), "Respond briefly.", first)
    before = text.removesuffix(" Respond briefly.") if not first else text.removeprefix("Respond briefly. ")
    assert re.search(r"[.!?…。！？؟।][\"'”’»›)\]*_`]*$", before)


def test_shares_are_met_up_to_chance_and_are_the_same_again() -> None:
    ids = [f"{n:016x}" for n in range(20_000)]
    shares = {"instruction": 0.5, "chatbot": 0.3, "search-engine": 0.2}
    drawn = [draw.by_share(shares, 42, "style", id) for id in ids]
    for name, part in shares.items():
        assert drawn.count(name) / len(ids) == pytest.approx(part, abs=0.012)
    assert drawn == [draw.by_share(shares, 42, "style", id) for id in ids]
    assert drawn != [draw.by_share(shares, 43, "style", id) for id in ids]
    clauses = [drawn_clause("It is so.", "en", "en", 0.317, 42, id) for id in ids]
    assert sum(map(bool, clauses)) / len(ids) == pytest.approx(0.317, abs=0.012)
    within = [bool(clause) for clause, style in zip(clauses, drawn, strict=True) if style == "chatbot"]
    assert sum(within) / len(within) == pytest.approx(0.317, abs=0.02), "clauses depend on the style"
