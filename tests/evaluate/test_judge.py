"""A judge's words count only where they are what was asked for, and only where the order of texts does not matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.ask.ledger import open_ledger
from lft.errors import InputError, RecipeError
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.judge import NO_REPLY, UNREADABLE, Court, points, winner
from lft.evaluate.rubric import load_judge, load_rubric
from tests.corpus.models import Rule

BACKEND = "backend: {kind: openai, url: http://127.0.0.1:1/v1, model: m}\n"
RUBRIC = load_rubric("longform", Path())
GOOD = json.dumps(dict.fromkeys(RUBRIC.dimensions, 4))


def row(number: int, text: str) -> Row:
    return Row(Item(f"{number:064x}", "en", "s", "", "Write {braces} well.", "", ""), Output(text))


def court(tmp_path: Path, says, ledger) -> Court:
    path = tmp_path / "judge.yaml"
    path.write_text(BACKEND)
    judge, rubric = load_judge(path)
    return Court(judge, rubric, Rule(says), ledger, print)


@pytest.mark.parametrize(
    "reply",
    [
        "", "4", "I think it is good. " + GOOD, GOOD + " Well done!", GOOD.replace("4", "6"), GOOD.replace("4", "4.5"),
        GOOD.replace("4", "true"), GOOD.replace("4", '"4"'), '{"relevance": 4}', GOOD[:-1] + ', "style": 3}',
        GOOD[:-1] + ', "relevance": 1}', "[" + GOOD + "]", "[" * 5000, "null", '{"relevance": {"a": 1}}',
    ],
)  # fmt: skip
def test_anything_but_the_object_that_was_asked_for_is_no_verdict(reply: str) -> None:
    assert points(reply, RUBRIC) is None
    assert winner(reply) is None


@settings(max_examples=50)
@given(st.text() | st.recursive(st.integers() | st.text() | st.none(), lambda inner: st.lists(inner)).map(json.dumps))
def test_no_reply_whatever_breaks_the_reading(reply: str) -> None:
    assert points(reply, RUBRIC) is None
    assert winner(reply) is None


def test_points_are_the_mean_and_a_code_fence_does_no_harm() -> None:
    given_points = dict(zip(RUBRIC.dimensions, (5, 4, 3, 2, 1), strict=True))
    assert points(json.dumps(given_points), RUBRIC) == 3.0
    assert points(f"```json\n{json.dumps(given_points)}\n```", RUBRIC) == 3.0


def test_a_row_that_the_judge_does_not_rate_is_left_out_with_its_reason(tmp_path: Path) -> None:
    def says(prompt: str) -> str | None:
        return None if "silent" in prompt else "nonsense" if "mad" in prompt else GOOD

    with open_ledger(tmp_path / "l") as ledger:
        made = court(tmp_path, says, ledger).rated([row(0, "fine"), row(1, "mad"), row(2, "silent")])
    assert made.sums[0].tolist() == [4.0, 1.0]
    assert made.reasons == {1: UNREADABLE, 2: NO_REPLY}
    assert "longform v1" in made.variant


def test_a_judge_that_likes_what_stands_first_decides_nothing(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger:
        found = court(tmp_path, lambda _: '{"better": "first"}', ledger).preferred([(row(0, "a"), row(0, "b"))])
    assert [(one.winner, one.agreed) for one in found] == [("tie", False)]


@pytest.mark.parametrize(("one", "other", "wanted"), [("good", "bad", "first"), ("bad", "good", "second")])
def test_the_better_text_wins_wherever_it_stands(tmp_path: Path, one: str, other: str, wanted: str) -> None:
    def says(prompt: str) -> str:
        first = prompt.index("<first>") < prompt.index("good") < prompt.index("</first>")
        return json.dumps({"better": "first" if first else "second"})

    with open_ledger(tmp_path / "l") as ledger:
        found = court(tmp_path, says, ledger).preferred([(row(0, one), row(0, other))])
    assert [(verdict.winner, verdict.agreed) for verdict in found] == [(wanted, True)]


def test_a_judges_file_is_checked_like_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "j.yaml"
    path.write_text("rubrik: longform\nbackend: {kind: openai, model: m}\n")
    with pytest.raises(RecipeError, match=r"j\.yaml:1:1.*rubric"):
        load_judge(path)
    path.write_text("backend: {kind: openai, model: m}\n")
    with pytest.raises(RecipeError, match="url"):
        load_judge(path)
    path.write_text("rubric: longfrm\n" + BACKEND)
    with pytest.raises(InputError, match="longform"):
        load_judge(path)
    mine = "name: x\nversion: 1\nabout: x\ndimensions: {a: b}\nsingle: '{instruction} {anser} {keys}'\npair: x\n"
    (tmp_path / "r.yaml").write_text(mine)
    path.write_text("rubric: r.yaml\n" + BACKEND)
    with pytest.raises(RecipeError) as caught:
        load_judge(path)
    assert "nearest: {answer}" in str(caught.value)
    assert "pair does not say where {first} goes" in str(caught.value)
