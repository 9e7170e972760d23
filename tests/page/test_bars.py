"""Bars stand where their bins are and are as high as their counts, and a line stands where it says."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from lft.page.bars import Bars, Divider, bars
from tests.pages import Page

COUNTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30)


def shares(text: str, name: str, kind: str) -> list[float]:
    found = re.findall(rf'<(?:rect|line)[^>]* {name}="([\d.]+)%"[^>]*class="{kind}"', text)
    return [float(one) for one in found]


def test_two_kinds_stand_on_each_other_and_the_line_where_the_threshold_is():
    kinds = (Bars("kept", "kept", (0, 2, 4)), Bars("cut", "cut", (1, 0, 4)))
    text = bars("s", "similarity", (0.0, 0.9), kinds, Divider(0.3, "goes on: at least 0.3")).text
    assert shares(text, "x1", "divider") == [33.333]
    kept, cut = shares(text, "height", "bar kept"), shares(text, "height", "bar cut")
    assert (len(kept), len(cut)) == (2, 2)
    assert kept[1] == cut[1] == 4 * cut[0] == 2 * kept[0]
    assert shares(text, "y", "bar cut")[1] + cut[1] == shares(text, "y", "bar kept")[1]
    page = Page(text)
    assert "0.6 to 0.9: 4 cut" in page.text
    assert "kept: 6, cut: 5; from 0 to 0.9. goes on: at least 0.3." in page.text


@settings(max_examples=50)
@given(COUNTS, st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0, 1))
def test_bars_of_any_counts_stay_inside_their_figure(counts, low, width, part):
    kinds = [Bars(name, name, tuple(pair[at] for pair in counts)) for at, name in enumerate(("kept", "cut"))]
    text = bars("s", "S", (low, low + width), kinds, Divider(low + part * width, "line")).text
    places = re.findall(r' (?:x|y|x1|x2|y1|y2|width|height)="(-?[\d.]+)%"', text)
    assert all(-0.01 <= float(place) <= 100.01 for place in places)
    drawn = [count for pair in counts for count in pair if count]
    assert Page(text).tags.count("rect") == len(drawn)
    for name in ("kept", "cut"):
        tops = zip(shares(text, "y", f"bar {name}"), shares(text, "height", f"bar {name}"), strict=True)
        assert all(top + height <= 100.01 for top, height in tops)
