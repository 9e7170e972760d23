"""An endpoint that misbehaves costs a try, not the run; a refusal ends it; the key stays secret."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lft.ask.asking import Asked, ask
from lft.ask.endpoint import Endpoint as Model
from lft.ask.ledger import open_ledger
from lft.ask.meter import BudgetSpent, Limits
from lft.ask.request import Message, Request, Sampling
from lft.ask.secret import Secret
from lft.errors import InputError, LftError, RecipeError
from tests.corpus.endpoint import Endpoint, answer_to

KEY = "sk-a-key-that-nobody-may-see"


def requests(count: int) -> list[Request]:
    return [Request(f"d{n}", f"{n:064x}", f"prompt number {n:02} " * 5, Sampling(), n) for n in range(count)]


def model(stub: Endpoint, **settings: Any) -> Model:
    usual: dict[str, Any] = {"concurrency": 4, "timeout": 1.0, "retries": 3, "first_wait": 0.01}
    return Model("stub", stub.url, "completion", **{**usual, **settings})


def asked(
    stub: Endpoint, folder: Path, count: int = 3, said: list[str] | None = None, **settings: Any
) -> tuple[Asked, dict[str, str]]:
    found = requests(count)
    notify = said.append if said is not None else lambda line: None
    with open_ledger(folder / "ledger.jsonl") as ledger:
        done = ask(model(stub, notify=notify, **settings), found, ledger, notify)
        entries = {one.id: ledger.get(one.key("stub")) for one in found}
    return done, {id: entry.text for id, entry in entries.items() if entry is not None}


def expected(count: int) -> dict[str, str]:
    return {one.id: answer_to(one.prompt) for one in requests(count)}


@pytest.mark.parametrize(
    "fault", ["timeout", "cut", "drop", "garbage", "odd", "500", "503", "429", "429-date", "429-bare", "renamed-key"]
)
def test_a_fault_costs_one_more_try_and_nothing_else(fault: str, tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.faults = [fault]
        done, texts = asked(stub, tmp_path)
    assert texts == expected(3)
    assert done.answered == 3
    assert sum(stub.seen.values()) == 4
    assert set(stub.sent.values()) == {1}


def test_a_429_with_retry_after_makes_every_worker_wait(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.faults = ["429"]
        asked(stub, tmp_path, 8, concurrency=1)
        later = [at - stub.arrived[0] for at in stub.arrived[1:]]
    assert min(later) >= 1.0


def test_the_pause_is_shared(tmp_path: Path) -> None:
    with Endpoint(latency=0.05) as stub:
        stub.faults = ["429"]
        asked(stub, tmp_path, 12, concurrency=3)
        after = [at - stub.arrived[0] for at in stub.arrived[3:]]  # three were under way
    assert min(after) >= 0.9


def test_a_request_that_always_fails_has_its_reason_and_is_asked_again_in_the_next_run(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.always = {"number 01 ": "500"}
        done, texts = asked(stub, tmp_path)
        assert set(texts) == {"d0", "d2"}
        assert list(done.failed.values()) == ["no answer after 4 tries, the last: HTTP 500 (oops)"]
        stub.always = {}
        done, texts = asked(stub, tmp_path)
    assert texts == expected(3)
    assert (done.answered, done.known) == (1, 2)


def test_an_endpoint_that_is_down_ends_the_run(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.always = {"prompt": "503"}
        with pytest.raises(InputError, match=r"the last 4 requests all failed.*overloaded"):
            asked(stub, tmp_path, 50, retries=1)
    assert sum(stub.seen.values()) <= 16


def test_nobody_at_the_address_is_told_as_such(tmp_path: Path) -> None:
    stub = Endpoint()
    stub.url = "http://user:secret@127.0.0.1:9/v1"
    with pytest.raises(InputError, match="a broken connection") as caught:
        asked(stub, tmp_path, 50, retries=1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("401", "does not know the key: HTTP 401"),
     ("403", "may not use the model"), ("404", "the model does not exist"), ("301", "refuses: HTTP 301")],
)  # fmt: skip
def test_a_refusal_ends_the_run_with_one_message_without_the_key(
    fault: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Endpoint(latency=0.02) as stub:
        stub.faults = ["", "", fault]
        with pytest.raises(InputError) as caught:
            asked(stub, tmp_path, 50, key=Secret(KEY))
        known, _ = asked(stub, tmp_path, 50, key=Secret(KEY))
    assert said in str(caught.value)
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert known.known >= 2, "what was under way was not kept"
    assert sum(stub.sent.values()) == 50
    told = [str(caught.value), repr(caught.value), caplog.text, (tmp_path / "ledger.jsonl").read_text()]
    error: BaseException | None = caught.value
    while error is not None:  # nor through what it came from
        told.append(repr(error) + repr(vars(error)))
        error = error.__cause__ or error.__context__
    assert not any(KEY in text for text in told)


@pytest.mark.parametrize("status", ["400", "413", "422"])
def test_one_refused_document_has_its_reason_and_the_run_goes_on(status: str, tmp_path: Path) -> None:
    said: list[str] = []
    with Endpoint(latency=0.02) as stub:
        stub.always = {"number 01 ": status, "number 07 ": status}
        done, texts = asked(stub, tmp_path, 9, said)
        again, _ = asked(stub, tmp_path, 9, said)
    assert set(texts) == {f"d{n}" for n in range(9)} - {"d1", "d7"}
    assert (done.answered, len(done.failed), done.open) == (7, 2, 0)
    assert all(f"HTTP {status} (too long" in reason for reason in done.failed.values())
    assert sum(status in line for line in said) == 2, "once a run"
    assert (again.known, len(again.failed)) == (7, 2), "a later run meets them again and ends"
    assert stub.seen[requests(2)[1].prompt] == 2, "a refusal is not tried again"


def test_a_run_that_begins_with_refusals_alone_ends_with_the_reason(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.always = {"prompt": "400"}
        with pytest.raises(InputError, match=r"cannot read the request: HTTP 400 \(too long"):
            asked(stub, tmp_path, 50)
    assert sum(stub.seen.values()) <= 10


def test_quick_refusals_among_slow_answers_are_the_documents_fault(tmp_path: Path) -> None:
    with Endpoint(latency=0.3) as stub:
        stub.always = {f"number 0{n} ": "400-now" for n in (1, 2, 4, 5)}
        done, texts = asked(stub, tmp_path, 8, concurrency=8)
    assert (len(texts), len(done.failed)) == (4, 4)


def test_documents_that_are_refused_are_so_where_others_were_answered_before(tmp_path: Path) -> None:
    with Endpoint() as stub:
        asked(stub, tmp_path, 1)
        stub.always = {f"number 0{n} ": "400" for n in range(1, 5)}
        done, texts = asked(stub, tmp_path, 6, concurrency=1)
    assert (set(texts), len(done.failed)) == ({"d0", "d5"}, 4)


def test_a_key_is_never_shown_nor_pickled() -> None:
    secret = Secret(f" {KEY}\n")
    assert KEY not in repr(secret) + str(secret) + f"{secret}" + repr(Model("m", "u", key=secret))
    assert secret.header() == f"Bearer {KEY}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    for odd in ("", "two\nlines", "schlüssel"):
        with pytest.raises(RecipeError) as caught:
            Secret(odd)
        assert not odd or odd not in str(caught.value)


def test_an_endpoint_that_repeats_the_key_does_not_get_it_into_the_ledger(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.always = {"number 00 ": f"text:your key is {KEY}"}
        _, texts = asked(stub, tmp_path, key=Secret(KEY))
    assert texts["d0"] == "your key is ***"
    assert KEY not in (tmp_path / "ledger.jsonl").read_text()


def test_an_empty_answer_is_an_answer_and_is_not_asked_for_again(tmp_path: Path) -> None:
    with Endpoint() as stub:
        stub.faults = ["empty", "null"]
        _, texts = asked(stub, tmp_path, 2)
        again, _ = asked(stub, tmp_path, 2)
    assert texts == {"d0": "", "d1": ""}
    assert again.known == 2
    assert set(stub.seen.values()) == {1}


def test_requests_a_minute_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lft.ask.pace._MINUTE", 0.5)
    with Endpoint() as stub:
        start = time.monotonic()
        asked(stub, tmp_path, 10, requests_per_minute=4)
    assert time.monotonic() - start >= 1.0
    for at in stub.arrived:  # a little slack: the clock of arrival is the server's
        assert sum(at <= other < at + 0.45 for other in stub.arrived) <= 4


def test_tokens_a_minute_are_kept_by_what_requests_really_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lft.ask.pace._MINUTE", 0.5)
    with Endpoint() as stub:
        start = time.monotonic()
        asked(stub, tmp_path, 4, tokens_per_minute=300, concurrency=1)  # 151 promised each, about 32 taken
        quick = time.monotonic() - start
        (tmp_path / "two").mkdir()
        asked(stub, tmp_path / "two", 4, tokens_per_minute=160, concurrency=1)
    assert quick < 0.45
    assert time.monotonic() - start - quick >= 0.45


@pytest.mark.parametrize("limits", [Limits(10.0, 30.0, budget=0.008), Limits(token_budget=420)])
def test_a_budget_stops_the_run_and_a_greater_one_goes_on_without_repeating(limits: Limits, tmp_path: Path) -> None:
    with Endpoint(latency=0.01) as stub:
        with pytest.raises(BudgetSpent) as caught:
            asked(stub, tmp_path, 40, limits=limits)
        paid = sum(stub.sent.values())
        with pytest.raises(BudgetSpent, match=f"spent so far: {paid} answers"):
            asked(stub, tmp_path, 40, limits=limits)
        assert sum(stub.sent.values()) == paid
        done, texts = asked(stub, tmp_path, 40)
    assert 0 < paid < 40
    assert "raise backend." in str(caught.value)
    assert (done.known, done.answered) == (paid, 40 - paid)
    assert texts == expected(40)
    assert set(stub.seen.values()) == {1}


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    with Endpoint(latency=0.05) as stub:
        asked(stub, tmp_path, 30, concurrency=5)
    assert stub.most_at_once == 5


def test_what_is_odd_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    with Endpoint() as stub:
        stub.always = {"prompt": "renamed"}
        asked(stub, tmp_path, 3, said)
        assert said == ["'stub' was asked, and 'other' says that it answers"]
        stub.always = {"prompt": "no-usage"}
        (tmp_path / "two").mkdir()
        asked(stub, tmp_path / "two", 3, said)
    assert said[1:] == ["the endpoint does not count tokens; 4 characters a token are taken"]


def test_chat_is_asked_with_messages_and_no_stream(tmp_path: Path) -> None:
    one = Request("d", "0" * 64, (Message("user", "Hello"),), Sampling(0.0, 0.9, 7), 5)
    with Endpoint() as stub, open_ledger(tmp_path / "l") as ledger:
        ask(Model("stub", stub.url), [one], ledger, lambda line: None)
    assert stub.bodies == [
        {"model": "stub", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.0, "max_tokens": 7,
         "seed": 5, "stream": False}
    ]  # fmt: skip


def test_an_error_in_the_documents_ends_the_run_and_keeps_what_was_under_way(tmp_path: Path) -> None:
    def broken(found: Sequence[Request]) -> Any:
        yield from found[:3]
        raise InputError("line 4 is no JSON")

    with Endpoint(latency=0.05) as stub, open_ledger(tmp_path / "l") as ledger:
        with pytest.raises(LftError, match="line 4"):
            ask(model(stub), broken(requests(9)), ledger, lambda line: None)
        assert len(ledger) == 3
