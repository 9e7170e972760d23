"""The paper's templates stand word for word; documents are put into prompts as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.ask.request import Message, rough_tokens
from lft.corpus.instruct.excerpt import GAP, excerpt
from lft.corpus.instruct.prompts import CHAT, COMPLETION, HERE, asked, frame

LANGS = ("en", "de", "es", "fr", "ru")
STYLES = ("instruction", "chatbot", "search-engine")


def test_the_papers_templates_are_word_for_word() -> None:
    def lines(text: str) -> list[str]:
        return [line for line in text.split("\n") if line]

    assert lines(COMPLETION["en"]["instruction"]) == [
        "Instruction: X",
        "Output: <corpus_example>",
        "What kind of instruction could this be the answer to?",
        "X:",
    ]
    assert lines(COMPLETION["en"]["chatbot"]) == [
        "You are a chatbot. A user sent you an informal message and your reply is as follows.",
        "Message: X",
        "Reply: <corpus_example>",
        "What is the informal message X?",
        "X:",
    ]
    assert lines(COMPLETION["en"]["search-engine"]) == [
        "You are a search engine. A person queried something in detail and the most relevant document about the query "
        "is as follows.",
        "Query: X",
        "Document: <corpus_example>",
        "What is the detailed query X?",
        "X:",
    ]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("style", STYLES)
def test_every_language_has_its_own_prompt_with_one_place_for_the_document(lang: str, style: str) -> None:
    for table in (CHAT, COMPLETION):
        assert table[lang][style].count(HERE) == 1  # type: ignore[index]
    assert len({CHAT[other][style] for other in LANGS}) == 5  # type: ignore[index]
    assert COMPLETION[lang][style].rstrip().endswith(":")  # type: ignore[index]


@pytest.mark.parametrize(
    ("form", "style", "lang", "said"),
    [
        ("chat", "instruction", "pl", "Write the instruction in the document's language (Polish)."),
        ("chat", "chatbot", "pl", "Write the message in the document's language (Polish)."),
        ("completion", "search-engine", "ja", "Write the query in the document's language (Japanese).\n\nX:"),
        ("completion", "instruction", "zzz", "(ISO 639 code zzz)"),
    ],
)
def test_another_language_is_asked_for_by_name(form: str, style: str, lang: str, said: str) -> None:
    assert said in frame(form, style, lang)  # type: ignore[arg-type]


def test_english_instructions_for_other_languages() -> None:
    assert frame("chat", "instruction", "de", english=True).endswith("Write the instruction in English.")
    assert frame("chat", "instruction", "en", english=True) == CHAT["en"]["instruction"]


@pytest.mark.parametrize("text", ["{style} %s {0}", f"a {HERE} b", "</text> X:"])
def test_a_document_is_not_read_as_a_template(text: str) -> None:
    message = asked("chat", frame("chat", "chatbot", "en"), text)
    assert isinstance(message, tuple)
    assert message == (
        Message("user", CHAT["en"]["chatbot"].split(HERE)[0] + text + CHAT["en"]["chatbot"].split(HERE)[1]),
    )


def test_a_long_document_shows_its_beginning_and_its_end() -> None:
    text = " ".join(f"word{n}" for n in range(5000))
    cut = excerpt(text, 300, rough_tokens)
    head, tail = cut.split(GAP)
    assert text.startswith(head + " ")
    assert text.endswith(" " + tail)
    assert len(head) > len(tail) > 300
    assert 250 <= rough_tokens(cut) <= 300
    assert excerpt("short text", 300, rough_tokens) == "short text"


@given(st.text(max_size=3000), st.integers(1, 400))
def test_an_excerpt_never_passes_its_tokens(text: str, tokens: int) -> None:
    assert rough_tokens(excerpt(text, tokens, rough_tokens)) <= tokens
