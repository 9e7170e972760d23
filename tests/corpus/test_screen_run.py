"""Screening as a whole: every pair that is cut has its reason, every one that is kept its scores."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lft.ask.ledger import open_ledger
from lft.ask.meter import FREE, Meter
from lft.ask.request import Failure, Reply, Request, Take
from lft.corpus.document import Pair
from lft.corpus.load import load_build
from lft.corpus.schema import Build, RoundTrip
from lft.corpus.screen.round_trip import load_scorer, trips
from lft.corpus.screen.run import Models, screen
from lft.corpus.screen.scores import ScoreFile
from lft.corpus.step import OPEN, Report, read_records
from tests.tiny import save_tiny

FILE = """\
name: help
sources: [{name: a, kind: text, path: x, licence: CC0}]
instruct: {backend: {kind: transformers, model: m}}
screen:
  similarity: {model: e, keep: 0.3}
  round_trip: {model: m, others: 3, keep_rank: 1}
  judge: {backend: {kind: transformers, model: j}, keep: 4}
"""
TOPICS = ("tulips", "bread", "bicycles", "printers", "rivers")


def similarities(pairs: list[Pair], _: str) -> list[float]:
    """1 where both texts name the same topic."""
    return [float(any(topic in one.input and topic in one.output for topic in TOPICS)) for one in pairs]


class Judging:
    """Gives five points, but two for bread and no readable answer on rivers."""

    name, form, limits, counted_by = "j", "chat", FREE, "words"

    def __init__(self) -> None:
        self.asked = 0

    def count(self, text: str) -> int:
        return len(text.split())

    async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
        for request in requests:
            self.asked += 1
            text = "Score: 2" if "bread" in request.prompt else "no idea" if "rivers" in request.prompt else "Score: 5"
            take(request, Reply(text, "stop", 1, 1, 0.0))


class Likes:
    """Scores a text by how many of the instruction's words it has."""

    name = "m"

    def scores(self, instructions: list[str], text: str, tokens: int) -> list[float]:
        return [float(sum(word in text for word in one.rstrip("?").split())) for one in instructions]


def pairs() -> list[Pair]:
    made = [
        Pair(f"How do I look after {topic}?", f"A text on {topic}, which need care. Write to me@home.net.", "a", "",
             f"{n}", "en", "CC0", "instruction")
        for n, topic in enumerate(TOPICS)
    ]  # fmt: skip
    made.append(replace(made[0], id="5", input="Wie pflege ich eigentlich meine schönen tulips im Garten?"))
    made.append(replace(made[0], id="6", input="What is the weather like in Bonn today?"))
    made.append(replace(made[1], id="7", input="How do I look after tulips or bread?"))
    return made


def build_of(folder: Path, text: str = FILE) -> Build:
    (folder / "b.yaml").write_text(text)
    return load_build(folder / "b.yaml")


def screened(folder: Path, judge: Judging, text: str = FILE) -> tuple[Report, list[Pair]]:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(one.record()) + "\n" for one in pairs()))
    out = folder / "out"
    out.mkdir(exist_ok=True)
    models = Models(lambda _: Likes(), similarities, lambda _: judge)  # type: ignore[arg-type, return-value]
    with open_ledger(folder / "ledger.jsonl") as ledger:
        report = screen(
            build_of(folder, text), folder / "pairs.jsonl", out, models, ledger, folder / "scores.jsonl", lambda _: None
        )
    return report, [Pair.of(record) for record in read_records(out / "pairs.jsonl")]


def test_every_cut_has_its_reason_and_every_row_its_scores(tmp_path: Path) -> None:
    report, kept = screened(tmp_path, Judging())
    assert {reason: cut.count for reason, cut in report.cut.items()} == {
        "the instruction is de, and was to be en": 1,
        "similarity below 0.3": 1,
        "the judge gave less than 4 of 5": 2,
        "the judge's answer could not be read": 1,
    }
    assert [one.id for one in kept] == ["0", "2", "3"]
    assert {"leak", "similarity", "round_trip_rank", "round_trip_margin", "judge"} == set(kept[0].scores)
    assert kept[0].output.endswith("Write to [e-mail address].")
    assert report.figures["scores"]["judge"]["median"] == 5


def test_a_clause_on_length_that_masking_made_untrue_goes(tmp_path: Path) -> None:
    text = "A text on tulips that is written by me. Call +49 228 123 4567 now, please, or write."
    words = len(text.split())
    clause = f"Respond in {words} words."
    asked = replace(pairs()[0], input=f"How do I look after tulips? {clause}", output=text, length_clause=clause)
    true = replace(asked, id="9", output=" ".join(["Tulips need much care."] * 5)[: len(text)], length_clause="")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one.record()) + "\n" for one in (asked, true)))
    (tmp_path / "out").mkdir()
    plain = FILE[: FILE.index("screen:")]
    none = Models(*([lambda *_: pytest.fail("asked")] * 3))  # type: ignore[arg-type]
    with open_ledger(tmp_path / "ledger.jsonl") as ledger:
        report = screen(
            build_of(tmp_path, plain), tmp_path / "pairs.jsonl", tmp_path / "out", none, ledger, tmp_path / "s", print
        )
    found = [Pair.of(record) for record in read_records(tmp_path / "out" / "pairs.jsonl")]
    assert found[0].input == "How do I look after tulips?"
    assert found[0].length_clause == ""
    assert report.figures["clauses on length that were not true any more"] == 1
    assert found[1].input == true.input


def test_a_second_run_asks_the_judge_nothing_and_says_the_same(tmp_path: Path) -> None:
    judge = Judging()
    first = screened(tmp_path, judge)
    asked = judge.asked
    assert screened(tmp_path, judge) == first
    assert judge.asked == asked


def test_a_pair_that_the_judge_never_saw_is_told_from_one_whose_opinion_cannot_be_read(tmp_path: Path) -> None:
    class Broken(Judging):
        async def answer(self, requests: Iterator[Request], take: Take, meter: Meter) -> None:
            for request in requests:
                lost = "printers" in request.prompt or "bicycles" in request.prompt
                if lost:
                    take(request, Failure("no answer after 7 tries (nothing within 2 s)", "bicycles" in request.prompt))
                else:
                    await super().answer(iter([request]), take, meter)

    report, kept = screened(tmp_path, Broken())
    assert report.cut["no opinion of the judge: no answer after 7 tries"].count == 2
    assert report.cut["the judge's answer could not be read"].count == 1
    assert report.figures[OPEN] == 1, "one of the two would be refused again"
    assert "1 request failed" in report.notes[0]
    again, more = screened(tmp_path, Judging())
    assert (len(more), again.notes) == (len(kept) + 2, ())


def test_pairs_with_personal_data_can_be_dropped(tmp_path: Path) -> None:
    report, kept = screened(tmp_path, Judging(), FILE + "  pii: drop\n")
    assert kept == []
    assert report.cut["personal data in it"].count == 7


def test_scores_are_those_of_one_sequence_at_a_time(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "base", "llama")
    scorer = load_scorer(str(folder), tmp_path / "cache", lambda _: None)
    text, asked = "the cat sat on the mat and slept", ["write", "tell me about the cat", "a much longer instruction"]
    found = scorer.scores(asked, text, 6)
    target = scorer.tokenizer(text, add_special_tokens=False)["input_ids"][:6]
    for score, instruction in zip(found, asked, strict=True):
        prompt = scorer._prompt(instruction)
        with torch.inference_mode():
            logits = scorer.model(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.float().log_softmax(-1)[range(len(target)), target]
        assert score == pytest.approx(float(chosen.mean()), abs=1e-5)


def test_others_are_of_the_same_language_and_never_its_own(tmp_path: Path) -> None:
    made = [replace(one, lang="de" if n % 2 else "en", input=f"Ask {n % 3}") for n, one in enumerate(pairs())]
    seen: list[list[str]] = []

    class Watching(Likes):
        def scores(self, instructions: list[str], text: str, tokens: int) -> list[float]:
            seen.append(list(instructions))
            return super().scores(instructions, text, tokens)

    known = ScoreFile(tmp_path / "s.jsonl")
    wanted = RoundTrip(model="m", others=2)
    list(trips(made, wanted, Watching(), 1, known))  # type: ignore[arg-type]
    assert all(len(set(one)) == len(one) for one in seen)
    alone = [replace(made[0], lang="fr")]
    assert list(trips(alone, wanted, Watching(), 1, known)) == [None]  # type: ignore[arg-type]


def test_a_torn_line_of_scores_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    ScoreFile(path).add({"a": 1.0})
    with path.open("a") as stream:
        stream.write('{"key": "b", "sco')
    ScoreFile(path).add({"c": 3.0})
    again = ScoreFile(path)
    assert again["a"] == 1.0
    assert "c" in again
    assert "b" not in again
