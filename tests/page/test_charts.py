"""Charts say in words what they draw, and put every value where its axis has it."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.page.chart import PARAMETERS, Series, chart, short
from lft.page.forest import Interval, forest
from lft.page.heat import Cell, heat
from tests.pages import Page

SIZES = ((125e6, 12.0, 10.0, 14.0), (1.3e9, 16.0, 15.0, 17.5), (30e9, 20.0, 18.0, 21.0))
NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


def values(page: Page, name: str) -> list[str]:
    return [value for key, value in page.attributes if key == name]


def test_sizes_of_models_stand_at_equal_factors_with_their_intervals():
    series = [
        Series("METEOR", "train", SIZES, dots=True, line=False),
        Series("fit", "validation", ((125e6, 12.0), (30e9, 20.0))),
    ]
    page = Page(chart("scale", "Scale", "METEOR", series, PARAMETERS).text)
    across = [float(place[:-1]) for place in values(page, "cx")]
    assert across[0] == 0
    assert across[2] == 100
    assert across[1] == pytest.approx(100 * math.log(1.3e9 / 125e6) / math.log(30e9 / 125e6), abs=0.01)
    assert page.tags.count("polyline") == 1
    assert values(page, "class").count("whisker train") == 3
    assert "12 (10 to 14) at size 125M" in page.text
    assert "over parameters" in page.text
    ticks = re.findall(r'class="x-tick">([^<]*)<', chart("scale", "Scale", "METEOR", series, PARAMETERS).text)
    assert 2 <= len(ticks) <= 6
    assert {"1B", "10B"} <= set(ticks)


def test_what_has_no_logarithm_is_not_drawn_and_the_chart_says_so():
    page = Page(
        chart(
            "a", "A", "u", [Series("one", "train", ((0.0, 1.0), (-5.0, 1.0), (1e9, 2.0)), dots=True)], PARAMETERS
        ).text
    )
    assert page.tags.count("circle") == 1
    assert "2 values that are not finite are not drawn" in page.text


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(1, 1e13), st.floats(-1e6, 1e6), st.floats(0, 1e5), st.floats(0, 1e5)),
        min_size=1,
        max_size=8,
    )
)
def test_every_interval_stays_inside_its_axes(drawn):
    points = tuple((x, y, y - below, y + above) for x, y, below, above in drawn)
    page = Page(chart("a", "A", "u", [Series("one", "train", points, dots=True)], PARAMETERS).text)
    places = [value for key, value in page.attributes if key in ("cx", "cy", "x1", "x2", "y1", "y2")]
    assert all(-0.01 <= float(place.rstrip("%")) <= 100.01 for place in places)
    assert page.tags.count("circle") == len(points)


@pytest.mark.parametrize(
    ("value", "words"), [(135e6, "135M"), (999.9e6, "1B"), (1.7e9, "1.7B"), (3e13, "30T"), (7, "7")]
)
def test_sizes_are_written_as_people_say_them(value, words):
    assert short(value) == words


@settings(max_examples=50)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=6), st.none() | st.floats(-10, 10))
def test_a_forest_of_any_numbers_draws_what_is_finite_inside_its_axis(rows, zero):
    made = [Interval(f"row {n}", *map(float, row[:3]), ("x",), "", row[3]) for n, row in enumerate(rows)]
    page = Page(forest("Caption", ("name", "drawing", "number"), made, zero).text)
    assert page.tags.count("circle") == sum(math.isfinite(row[0]) for row in rows)
    places = [value for key, value in page.attributes if key in ("cx", "x1", "x2", "x") and value.endswith("%")]
    assert all(-0.01 <= float(place[:-1]) <= 100.01 for place in places)
    assert page.tags.count("caption") == 1
    assert ("aria-label", "Caption") in page.attributes


def test_a_heat_map_colours_each_column_by_its_own_range_and_marks_the_best():
    nothing = Cell(math.nan, "–")
    rows = [("a", [Cell(1, "1.0"), Cell(50, "50"), nothing]), ("b", [Cell(3, "3.0"), Cell(10, "10"), nothing])]
    text = heat("C", "subject", ("x", "y", "z"), rows).text
    assert re.findall(r"<td(?: class=\"(\w+)\")?><(\w+)>", text) == [
        ("", "span"), ("gain4", "strong"), ("", "span"), ("gain4", "strong"), ("", "span"), ("", "span"),
    ]  # fmt: skip
    turned = heat("C", "subject", ("x", "y", "z"), rows, higher_is_better=False).text
    assert "<strong>1.0</strong>" in turned
    assert "<strong>10</strong>" in turned


def test_a_heat_map_with_a_middle_has_a_colour_for_either_side():
    text = heat(
        "C", "s", ("x",), [(name, [Cell(v, str(v))]) for name, v in (("a", -4.0), ("b", 0.0), ("c", 1.0))], middle=0.0
    ).text
    assert re.findall(r'<td(?: class="(\w+)")?>', text) == ["loss4", "", "gain1"]


@settings(max_examples=30)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), st.none() | NUMBERS.filter(math.isfinite), st.booleans())
def test_a_heat_map_of_any_numbers_is_a_table(rows, middle, higher):
    cells = [(str(n), [Cell(value, "x") for value in row]) for n, row in enumerate(rows)]
    page = Page(heat("C", "s", ("x", "y"), cells, middle, higher).text)
    assert page.tags.count("td") == 2 * len(rows)
    assert {value for key, value in page.attributes if key == "class"} <= {
        "table heat",
        *(f"{k}{n}" for k in ("gain", "loss") for n in range(1, 5)),
    }
