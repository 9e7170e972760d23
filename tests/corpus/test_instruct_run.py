"""The instruct step: one pair a document, the same whatever went wrong on the way."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lft.ask.endpoint import Endpoint as Model
from lft.ask.meter import BudgetSpent, Limits
from lft.corpus.document import Document, Pair
from lft.corpus.instruct.run import Estimate, estimate, instruct
from lft.corpus.step import Report
from lft.errors import InputError
from tests.conftest import ROOT
from tests.corpus.endpoint import Endpoint
from tests.corpus.instruct_once import build, documents


def made(stub: Endpoint, folder: Path, found: list[Document], **settings: Any) -> Report:
    step = folder / "3-instruct"
    step.mkdir(parents=True, exist_ok=True)
    keys = {key: settings.pop(key) for key in ("styles", "length_clauses", "language") if key in settings}
    usual: dict[str, Any] = {"concurrency": 4, "timeout": 2.0, "retries": 4, "first_wait": 0.01}
    model = Model("stub", stub.url, **{**usual, **settings})
    return instruct(build(**keys), found, step, model, lambda line: None)


def pairs(folder: Path) -> list[Pair]:
    return [Pair.of(json.loads(line)) for line in (folder / "3-instruct" / "pairs.jsonl").open(encoding="utf-8")]


@pytest.fixture
def stub() -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


def test_every_document_becomes_a_pair_sorted_by_id(stub: Endpoint, tmp_path: Path) -> None:
    found = documents(60)
    report = made(stub, tmp_path, found)
    rows = pairs(tmp_path)
    assert (report.came, report.kept) == (60, 60)
    assert [row.id for row in rows] == sorted(one.id for one in found)
    by_id = {one.id: one for one in found}
    for row in rows:
        document = by_id[row.id]
        assert (row.output, row.lang, row.licence, row.where) == (
            document.text,
            document.lang,
            "CC0-1.0",
            document.where,
        )
        assert row.input.startswith((row.length_clause or row.input)[:5]) or row.input.endswith(row.length_clause)
        assert "topic" in row.input or row.style == "human"
    assert report.figures["styles"]["human"] == 5
    assert sum(stub.seen.values()) == 55
    assert 5 < report.figures["length clauses"] < 30
    assert any("pl (9)" in note for note in report.notes)


def test_a_persons_question_needs_no_model(stub: Endpoint, tmp_path: Path) -> None:
    one = documents(1)[0]
    asked = [replace(one, id="a", question=" Why?\n"), replace(one, id="b", question="How to x", style="template")]
    made(stub, tmp_path, asked)
    assert [(row.input, row.style, row.subset, row.length_clause) for row in pairs(tmp_path)] == [
        ("Why?", "human", "human", ""),
        ("How to x", "template", "template", ""),
    ]
    assert not stub.seen


def test_a_second_run_asks_nothing_and_writes_the_same(stub: Endpoint, tmp_path: Path) -> None:
    made(stub, tmp_path, documents(30))
    first = (tmp_path / "3-instruct" / "pairs.jsonl").read_bytes()
    asked = sum(stub.seen.values())
    report = made(stub, tmp_path, list(reversed(documents(30))), concurrency=1)
    assert (tmp_path / "3-instruct" / "pairs.jsonl").read_bytes() == first
    assert sum(stub.seen.values()) == asked
    assert report.figures["answered in this run"] == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("empty", "empty"), ("null", "empty"), ("echo", "the prompt itself"), ("text:…", "empty"),
     ("text:Document number 1. It says", "repeats the document's beginning"),
     ("text:I'm sorry, but I can't help with that.", "the model refused")],
)  # fmt: skip
def test_a_reply_that_is_no_instruction_is_counted_with_its_reason(
    fault: str, reason: str, stub: Endpoint, tmp_path: Path
) -> None:
    stub.always = {"number 1.": fault}
    report = made(stub, tmp_path, documents(4))
    assert {name: cut.count for name, cut in report.cut.items()} == {reason: 1}
    assert report.kept == 3
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 4
    made(stub, tmp_path, documents(4))
    assert set(stub.seen.values()) == {1}


def test_a_document_that_gets_no_answer_is_counted_and_said(stub: Endpoint, tmp_path: Path) -> None:
    stub.always = {"number 1.": "500"}
    report = made(stub, tmp_path, documents(4))
    assert {name: cut.count for name, cut in report.cut.items()} == {"no answer after 5 tries, the last: HTTP 500": 1}
    assert any("1 request failed after every try" in note for note in report.notes)


def test_the_release_kept_quotes_and_lacked_a_mark_before_the_clause(stub: Endpoint, tmp_path: Path) -> None:
    """LongForm's rows: `"Describe Brugnens." Respond in 11 words.` and `Describe Brugnens Respond in 11 words.`"""
    one = replace(documents(1)[0], text="Brugnens is a commune in the Gers department in southwestern France.")
    for number, reply in enumerate(('"Describe Brugnens."', "Describe Brugnens", '"Describe Brugnens"')):
        stub.always = {"Brugnens": f"text:{reply}"}
        folder = tmp_path / str(number)
        made(stub, folder, [replace(one, id=f"{n}") for n in range(12)], length_clauses=1.0,
             styles={"instruction": 1.0, "chatbot": 0.0, "search_engine": 0.0})  # fmt: skip
        said = {row.input for row in pairs(folder)}
        assert said <= {
            f"{first} {second}"
            for clause in ("Respond in 11 words.", "Respond in 1 sentence.", "Respond briefly.")
            for first, second in ((clause, "Describe Brugnens."), ("Describe Brugnens.", clause))
        }
        assert len(said) >= 4


@pytest.mark.parametrize(
    "faults",
    [["timeout"], ["cut", "cut"], ["429"], ["500", "503", "drop"], ["garbage", "odd"]],
)
def test_faults_on_the_way_change_nothing(faults: list[str], stub: Endpoint, tmp_path: Path) -> None:
    made(stub, tmp_path / "calm", documents(24))
    stub.faults = list(faults)
    made(stub, tmp_path / "rough", documents(24), timeout=0.7)
    assert not stub.faults
    calm, rough = (tmp_path / name / "3-instruct" / "pairs.jsonl" for name in ("calm", "rough"))
    assert calm.read_bytes() == rough.read_bytes()


def test_two_documents_of_one_id_are_refused_and_the_answers_stay(stub: Endpoint, tmp_path: Path) -> None:
    one, two = documents(2)
    with pytest.raises(InputError, match="the same id"):
        made(stub, tmp_path, [one, replace(two, id=one.id)])
    assert not (tmp_path / "3-instruct" / "pairs.jsonl").exists()
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 2


def test_a_dry_run_asks_nothing_and_is_right_about_what_a_run_asks(stub: Endpoint, tmp_path: Path) -> None:
    model = Model("stub", stub.url, limits=Limits(1.0, 2.0))
    before = estimate(build(), documents(22), tmp_path / "3-instruct", model)
    assert not (tmp_path / "ledger.jsonl").exists()
    assert not stub.seen
    made(stub, tmp_path, documents(11))
    after = estimate(build(), documents(22), tmp_path / "3-instruct", model)
    assert (before.documents, before.with_question, before.known, before.requests) == (22, 2, 0, 20)
    assert (after.known, after.requests) == (10, 10)
    assert before.tokens_out == 20 * 128
    assert before.money == pytest.approx((before.tokens_in + 2 * before.tokens_out) / 1e6)
    assert "4 characters" in before.counted_by
    assert isinstance(before, Estimate)


def test_a_spent_budget_leaves_the_ledger_and_no_pairs(stub: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent):
        made(stub, tmp_path, documents(40), limits=Limits(token_budget=1500))
    assert not (tmp_path / "3-instruct" / "pairs.jsonl").exists()
    paid = sum(stub.sent.values())
    made(stub, tmp_path, documents(40))
    assert sum(stub.sent.values()) == sum(not one.question for one in documents(40)) > paid > 0


def _killed_at_random(stub: Endpoint, folder: Path, kills: int, count: int, seed: int) -> None:
    """Runs that are killed at random moments, then one to the end; what is on the disk is never asked again."""
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.corpus.instruct_once", stub.url, str(folder), str(count), "6"]
    ledger = folder / "ledger.jsonl"
    for _ in range(kills):
        kept = {json.loads(line)["id"] for line in _lines(ledger) if _whole(line)}
        seen = stub.seen.copy()
        process = subprocess.Popen(command, cwd=ROOT)
        until = time.monotonic() + 60
        more = chance.randrange(1, 1 + count // kills)
        while process.poll() is None and time.monotonic() < until:
            if sum(stub.seen.values()) - sum(seen.values()) >= more:
                break
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        again = {prompt for prompt in stub.seen if stub.seen[prompt] > seen[prompt]}
        assert not [id for id in kept if any(f"number {_number(id)}." in prompt for prompt in again)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)


def _lines(ledger: Path) -> list[bytes]:
    return ledger.read_bytes().split(b"\n") if ledger.exists() else []


def _whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _number(id: str) -> int:
    return next(n for n in range(100_003) if n * 7919 % 100_003 == int(id, 16))


def _assert_undisturbed(stub: Endpoint, folder: Path, kills: int, count: int) -> None:
    with Endpoint() as calm:
        made(calm, folder / "calm", documents(count))
    assert (folder / "3-instruct" / "pairs.jsonl").read_bytes() == (
        folder / "calm" / "3-instruct" / "pairs.jsonl"
    ).read_bytes()
    assert set(stub.seen) == set(calm.seen)
    # An answer is lost where it was under way or not yet flushed: with 6 workers some at each kill, never all.
    assert sum(stub.seen.values()) - len(stub.seen) <= kills * 24


def test_a_run_that_is_killed_twice_ends_as_one_that_was_not(tmp_path: Path) -> None:
    with Endpoint(latency=0.02) as stub:
        _killed_at_random(stub, tmp_path, 2, 60, seed=1)
        _assert_undisturbed(stub, tmp_path, 2, 60)


@pytest.mark.slow
def test_a_run_that_is_killed_at_20_random_moments_ends_as_one_that_was_not(tmp_path: Path) -> None:
    with Endpoint(latency=0.02) as stub:
        _killed_at_random(stub, tmp_path, 20, 600, seed=2)
        _assert_undisturbed(stub, tmp_path, 20, 600)
