"""A clause about length is read as it was written, in every language that has one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.data.clauses import WORDINGS, asked_lengths


@given(st.sampled_from(sorted(WORDINGS)), st.sampled_from(["words", "sentences", "paragraphs"]), st.integers(1, 9999))
def test_every_clause_is_read_back_with_its_number_and_unit(lang: str, unit: str, number: int) -> None:
    said = WORDINGS[lang]
    forms: tuple[str, ...] = getattr(said, unit)
    clause = forms[said.plural(number)].replace("{n}", str(number))
    for instruction in (f"{clause} Wie geht das?", f"Как это сделать? {clause}", clause.upper()):
        assert list(asked_lengths(instruction)) == [(number, unit)]


@pytest.mark.parametrize(
    "instruction", ["Respond briefly.", "Write 3 sentences.", "Respond in many words.", "It ends in 5 stepsons.", ""]
)
def test_what_asks_for_no_length_gives_none(instruction: str) -> None:
    assert not list(asked_lengths(instruction))


def test_steps_and_the_wrong_plurals_of_the_released_data_are_read() -> None:
    assert list(asked_lengths("How do I bake bread in 5 steps?")) == [(5, "steps")]
    assert list(asked_lengths("Name a bird. Respond in 1 sentences.")) == [(1, "sentences")]
