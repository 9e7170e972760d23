"""Replies of models as they are: what is left is the bare instruction, or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.instruct.clean import cleaned, ended
from lft.corpus.instruct.prompts import CHAT, COMPLETION, HERE, frame

DOCUMENT = "Turn on sticky keys\nTurn on sticky keys to type shortcuts one key at a time, with one hand alone."


def clean(reply: str, style: str = "instruction", finish: str = "stop", form: str = "chat") -> tuple[str, str]:
    found = cleaned(reply, finish, frame(form, "instruction", "en"), DOCUMENT, style)  # type: ignore[arg-type]
    return found.text, found.reason


WANTED = "Describe the town of Brugnens."


@pytest.mark.parametrize(
    "reply",
    [
        WANTED,
        'Describe the town of Brugnens',
        '"Describe the town of Brugnens."',
        '"Describe the town of Brugnens".',
        "“Describe the town of Brugnens.”",
        "„Describe the town of Brugnens.“",
        "«Describe the town of Brugnens»",
        "« Describe the town of Brugnens. »",
        "'Describe the town of Brugnens.'",
        "‘Describe the town of Brugnens.’",
        "「Describe the town of Brugnens.」",
        "`Describe the town of Brugnens.`",
        "**Describe the town of Brugnens.**",
        '"Describe the town of Brugnens.',
        " \n\n Describe the town\nof Brugnens. \n\nIt would also be possible to ask for its history.",
        "Instruction: Describe the town of Brugnens.",
        "**Instruction:** Describe the town of Brugnens.",
        "### Instruction:\nDescribe the town of Brugnens.",
        "X: Describe the town of Brugnens.",
        "The instruction X is: Describe the town of Brugnens.",
        'The instruction is: "Describe the town of Brugnens."',
        "Anweisung: Describe the town of Brugnens.",
        "Instruction : « Describe the town of Brugnens. »",
        "Инструкция: Describe the town of Brugnens.",
        "Sure, here is a possible instruction: Describe the town of Brugnens.",
        "Sure! Here's an instruction for this text:\n\n\"Describe the town of Brugnens.\"\n\nLet me know if it helps!",
        "Here is the instruction that the text answers:\n\nX: \"Describe the town of Brugnens.\"",
        "Natürlich, hier ist die Anweisung: Describe the town of Brugnens.",
        "Of course! Describe the town of Brugnens.",
        "Here is a sample of how to write the user's message.\n\nDescribe the town of Brugnens.",
        "A: Describe the town of Brugnens.",
        "1. Describe the town of Brugnens.",
        "1) Describe the town of Brugnens.\n2) Write about Brugnens.",
        "- Describe the town of Brugnens.",
        "<think>The text is about a town: Brugnens.</think>\n\nDescribe the town of Brugnens.",
        "Describe the town of Brugnens.\nOutput: Brugnens is a town",
        "Describe the town of Brugnens:",
        "Describe the town of Brugnens,",
    ],
)  # fmt: skip
def test_what_stands_around_an_instruction_goes(reply: str) -> None:
    assert clean(reply) == (WANTED, "")


@pytest.mark.parametrize(
    "reply",
    [
        '"Ulysses" and "Dubliners": compare the two books.',
        'Compare "Ulysses" with "Dubliners".',
        'Explain what is meant by "wide" and "narrow".',
        "«Война» и «мир»: сравни.",
        "'Twas the night before Christmas is a poem; analyse it.",
        "3 eggs and a lemon are left: what can I cook?",
        "Here is my essay: please correct it.",
        "Sure, but how do I set the clock to 12:30?"[6:],
        "What is the time in Rome?",
        "¿Cómo activo las teclas?",
        "Question the witness about the fire.",
        "**Bold** text is what I want to learn about.",
        "Message boards: what are they for?",
    ],
)
def test_what_belongs_to_an_instruction_stays(reply: str) -> None:
    assert clean(reply) == (reply, "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("\u200b", "empty"),
        ("…", "empty"),
        ("X:", "empty"),
        ("X", "empty"),
        ('""', "empty"),
        ("<think>What could it be", "only thoughts"),
        ("Turn on sticky keys", "repeats the document's beginning"),
        ("Turn on sticky keys. Turn on sticky keys to type shortcuts", "repeats the document's beginning"),
        ('"Turn on sticky keys: turn on sticky keys to type my shortcuts', "repeats the document's beginning"),
        ('The instructions are: "Turn on sticky keys to type', "repeats the document's beginning"),
        ("I'm sorry, but I cannot help with that.", "the model refused"),
        ("Es tut mir leid, das kann ich nicht.", "the model refused"),
        ("Reply with the instruction alone, in one or two sentences", "the prompt itself"),
    ],
)
def test_what_is_no_instruction_has_its_reason(reply: str, reason: str) -> None:
    assert clean(reply) == ("", reason)


@pytest.mark.parametrize("form", ["chat", "completion"])
@pytest.mark.parametrize("lang", ["en", "de", "es", "fr", "ru"])
def test_the_prompt_itself_is_no_instruction(form: str, lang: str) -> None:
    for style, whole in (CHAT if form == "chat" else COMPLETION)[lang].items():
        found = cleaned(whole.replace(HERE, DOCUMENT), "stop", frame(form, style, lang), DOCUMENT, style)  # type: ignore[arg-type]
        assert found.reason == "the prompt itself"


def test_an_instruction_that_was_cut_off_is_none_and_one_that_is_followed_by_more_is() -> None:
    assert clean("Write a text that tells how to", finish="length") == ("", "cut off at max_tokens")
    assert clean("Write a text.", finish="length") == ("Write a text.", "")
    assert clean("Write a text\n\nOutput: The text", finish="length") == ("Write a text.", "")


def test_a_query_keeps_its_own_end_and_other_styles_get_a_mark() -> None:
    assert clean("how to use sticky keys with one hand", "search-engine")[0] == "how to use sticky keys with one hand"
    assert clean("how to use sticky keys with one hand")[0] == "how to use sticky keys with one hand?"
    assert clean("hey i need a recipe for plums", "chatbot")[0] == "hey i need a recipe for plums."
    assert ended('Explain the word "keys"') == 'Explain the word "keys".'
    assert ended('Explain "Why?"') == 'Explain "Why?"'
    assert ended("Расскажи о клавишах") == "Расскажи о клавишах."


@given(st.text(max_size=60) | st.text(alphabet="\"'“”«»X: .1)-*\nab", max_size=30))
def test_no_reply_is_an_error_and_cleaning_is_done_once(reply: str) -> None:
    text, reason = clean(reply)
    assert bool(text) != bool(reason)
    assert "\n" not in text
    if text and not any(mark in text for mark in "\"'“”«»*_`:"):
        assert clean(text) in ((text, ""), ("", "repeats the document's beginning"))
