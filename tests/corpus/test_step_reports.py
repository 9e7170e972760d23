"""Reports of steps: parts add up to the whole, with a few samples of each reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lft.corpus.select.tally import Shown, Tally
from lft.corpus.step import SHOWN, SHOWN_LETTERS, Counter, Cut, Report, merged

CUTS = st.lists(st.tuples(st.sampled_from(["short", "copied", "odd"]), st.text(max_size=9)), max_size=20)


def counted(cuts: list[tuple[str, str]], kept: int) -> Report:
    counter = Counter()
    counter.came = len(cuts) + kept
    for reason, text in cuts:
        counter.cut(reason, text, text)
    return counter.report("read")


@settings(max_examples=50)
@given(st.lists(st.tuples(CUTS, st.integers(0, 9)), max_size=4))
def test_reports_of_parts_add_up_to_that_of_the_whole(parts: list[tuple[list[tuple[str, str]], int]]) -> None:
    whole = counted([cut for cuts, _ in parts for cut in cuts], sum(kept for _, kept in parts))
    assert merged("read", [counted(cuts, kept) for cuts, kept in parts]) == whole
    assert all(len(cut.samples) == min(cut.count, SHOWN) for cut in whole.cut.values())


def test_a_reason_without_samples_is_counted_all_the_same() -> None:
    tally = Tally(came=9)
    tally.add("quality", "short", 4, [])
    tally.add("quality", "odd", 2, [Shown(1, "a", "text")])
    report = tally.report("select")
    assert (report.came, report.kept) == (9, 3)
    assert report.cut["short"] == Cut(4)
    assert report.cut["odd"].count == 2


def test_a_sample_is_shown_as_far_as_it_fits() -> None:
    (cut,) = counted([("short", "x" * 999)], 0).cut.values()
    assert len(cut.samples[0].text) == SHOWN_LETTERS
