"""No 60 seconds pass a limit, and an endpoint's wish to wait is read in both of its forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.ask.meter import BudgetSpent, Limits, Meter, Spent
from lft.ask.pace import Pace, Window, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 12)), max_size=40))
def test_no_minute_passes_the_limit(sends: list[tuple[float, int]]) -> None:
    window, now, sent = Window(12), 0.0, []
    for pause, amount in sends:
        now += pause
        while (delay := window.delay(now, amount)) > 0:
            now += delay
        window.note(now, amount)
        sent.append((now, amount))
    for at, _ in sent:
        assert sum(amount for other, amount in sent if at - 60 + 1e-6 < other <= at) <= 12


def test_more_than_the_limit_waits_for_an_empty_window_and_then_goes() -> None:
    window = Window(10)
    assert window.delay(0.0, 99) == 0
    window.note(0.0, 99)
    assert window.delay(1.0, 1) == pytest.approx(59.0)
    assert window.delay(60.0, 1) == 0


def test_what_a_request_really_took_counts() -> None:
    window = Window(100)
    note = window.note(0.0, 90)
    assert window.delay(1.0, 50) > 0
    window.correct(note, 20)
    assert window.delay(1.0, 80) == 0
    assert window.delay(1.0, 81) > 0
    assert window.delay(61.0, 100) == 0
    window.correct(note, 500)  # it has left the window
    assert window.delay(62.0, 100) == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
     (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0), ("soon", None), ("", None), ("-3", None),
     ("1e999", None)],
)  # fmt: skip
def test_retry_after_is_read(said: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": said}, NOW) == seconds


def test_a_date_is_read_by_the_endpoints_own_clock() -> None:
    headers = {
        "Retry-After": format_datetime(NOW + timedelta(seconds=30), usegmt=True),
        "Date": format_datetime(NOW + timedelta(seconds=10), usegmt=True),
    }
    assert retry_after(headers, NOW - timedelta(days=1)) == 20.0


def test_back_off_doubles_is_bounded_and_does_not_march() -> None:
    pace = Pace(None, None)
    for tried in range(40):
        drawn = {pace.back_off(1.0, tried, None) for _ in range(20)}
        top = min(2.0**tried, 60.0)
        assert top / 2 <= min(drawn) < max(drawn) <= top
    assert 90.0 <= pace.back_off(1.0, 0, 90.0) <= 90.2


def test_promises_are_kept_within_the_budget() -> None:
    meter = Meter(Limits(price_out=1e6, budget=10.0, where="instruct.backend"), Spent())
    most = Spent(1, 0, 4)
    assert meter.promise(most)
    assert meter.promise(most)
    assert not meter.promise(most), "12 were promised of 10"
    meter.settle(most, Spent(1, 0, 1))
    assert meter.promise(most)
    meter.settle(most, Spent(1, 0, 4))
    meter.settle(most, Spent(1, 0, 4))
    with pytest.raises(BudgetSpent, match=r"budget 10; spent so far: 3 answers.* 9 of money") as caught:
        meter.promise(most)
    assert "instruct.backend.budget" in str(caught.value)
