"""Rules on pairs that need no model, personal data, and the judge's points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.document import Pair
from lft.corpus.schema import Screen
from lft.corpus.screen.judge import points
from lft.corpus.screen.pii import masked, personal
from lft.corpus.screen.rules import bare, broken_rule, leak


def pair(instruction: str, answer: str = "Plant the bulb in autumn and water it well.", **other: str) -> Pair:
    return Pair(instruction, answer, "s", "", "1", "en", "CC0", **{"style": "instruction", **other})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to anna.b+x@mail.uni-bonn.de, please", ["e-mail address"]),
        ("user@example.com and root@localhost", []),
        ("call +49 228 1234567 or (0228) 123 45 67", ["telephone number", "telephone number"]),
        ("tel. 0228/1234567", ["telephone number"]),
        ("IBAN DE89 3704 0044 0532 0130 00", ["bank account"]),
        ("IBAN DE88 3704 0044 0532 0130 00", []),  # its sum is wrong
        ("card 4111 1111 1111 1111.", ["card number"]),
        ("card 4111 1111 1111 1112.", []),
        ("between 1914 and 1918, 12.5 kg, version 1.2.3.4, 192.168.0.1, ISBN 978-3-16-148410-1", []),
        ("0000 0000 0000 0000", []),
        ("in 2023-11-14 12:30:00 it took 0.000123456789 s", []),
        ("", []),
    ],
)
def test_personal_data_is_found_and_numbers_are_left_alone(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in personal(text)] == kinds


@given(st.text(alphabet="ab@.+0123456789 -()/", max_size=80))
def test_what_was_masked_holds_nothing_any_more_and_the_rest_stays(text: str) -> None:
    assert personal(masked(text)) == []
    if not personal(text):
        assert masked(text) == text


def test_masking_says_what_was_there() -> None:
    assert masked("Ask a.b@c.org or +1 555 123 4567!") == "Ask [e-mail address] or [telephone number]!"


def test_leak_is_the_share_of_what_is_copied() -> None:
    answer = "To plant a tulip, dig a hole of ten centimetres."
    assert leak("plant a tulip, DIG a hole", answer) == 1.0
    assert leak("How do I plant a tulip?", answer) == 0.0
    assert leak("tulip dig", answer) == 1.0
    assert leak("", answer) == 0.0
    assert leak("please plant a tulip dig", answer) == 0.5


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (pair("How do I plant a tulip?"), None),
        (pair("Plant the bulb in autumn and water it well."), "copied"),
        (pair("water it well"), None),  # three words that also stand there: a title is no leak
        (pair("word " * 130), "more than 120 words"),
        (pair(" "), "empty"),
        (pair("Respond in 9 words.", length_clause="Respond in 9 words."), "empty"),
        (pair("Plant the bulb in autumn and water it well. " * 30, style="human"), None),
        (pair("Correct this: Plant the bulb in autumn and water it well. " * 30, style="template"), None),
        (pair(" ", style="template"), "empty"),
    ],
)
def test_pairs_that_break_a_rule_are_cut_with_its_words(one: Pair, reason: str | None) -> None:
    found = broken_rule(one, Screen())
    assert found is None if reason is None else reason in (found or "")


def test_the_clause_on_length_is_not_part_of_what_is_screened() -> None:
    assert bare(pair("Why? Respond briefly.", length_clause="Respond briefly.")) == "Why?"


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("It is fine.\nScore: 4", 4),
        ("Good.\n\n**Score: 5**", 5),
        ("score: 3/5", 3),
        ("Score: 4\nBut then again, it might be better.", None),
        ("Score: 7", None),
        ("Score: 4.5", None),
        ("I would say Score: 2, or rather\nScore: 3", None),
        ("4", None),
        ("", None),
    ],
)
def test_points_are_read_strictly(reply: str, score: int | None) -> None:
    assert points(reply) == score
