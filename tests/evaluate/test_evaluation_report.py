"""report.html of an evaluation: whole, honest, safe against answers, readable at every width in both schemes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.evaluate.compare import Comparison, Effort, compared
from lft.evaluate.compare_pairs import labelled
from lft.evaluate.report import Report, render, write_report
from lft.evaluate.result import LeftOut, Result
from lft.evaluate.summary import Published
from tests.browser import PATIENCE, opened_browser, with_chromium
from tests.evaluate.made_results import METRICS, made_result
from tests.pages import Page

SUITES = ("longform", "eli5", "news-multilingual")
PUBLISHED = {"eli5": (Published("LongForm-LLaMA-7B", "METEOR", 18.6, "README of the paper, variant not stated"),)}
NASTY = [
    "</script><script>document.title='owned'</script>", '"><img src=x onerror=alert(1)>', "</style><style>*{}",
    "\u202eevil\u202c مرحبا بالعالم", "\0\x1b[31m", "\ud800", "word " * 50_000, "w" * 50_000, "",
    "</details></article><h1>x",
]  # fmt: skip


def against(*groups: list[Result]) -> Comparison:
    entries = labelled([{one.suite.name: one for one in group} for group in groups])
    return compared(entries, METRICS, effort=Effort(draws=50, permutations=100))


def three(text: str = "Another answer, {}.", label: str = "tuned") -> Comparison:
    return against(
        [made_result(suite=name) for name in SUITES],
        [made_result(label, 0.05, suite=name, floor_gain=0.06, longer=0.7, text=text) for name in SUITES],
        [made_result("merged", -0.02, suite=name, text=text) for name in SUITES],
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(Report.of(three(), PUBLISHED)))


def test_the_page_asks_for_nothing_outside_itself_and_runs_nothing(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "srcset", "style") or name.startswith("on")]
    policy = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy[0].startswith("default-src 'none'")


def test_the_page_says_what_a_reader_must_know(page: Page) -> None:
    wanted = [
        "tuned, merged against base", "longform v1, small offline set, eeeeeeeeeeee", "top_p 0.9, seed 1",
        "eli5: tuned is better by METEOR, from", "⚠ longform, tuned: METEOR gain +", "floor gain +6.0",
        "Length ratio from 0.90 to 1.60", "LongForm-LLaMA-7B", "Printed by others, not measured here", "▲ gain",
        "▼ loss", "Another answer, ", "NLTK 3.10, WordNet", "en: NLTK 3.10, WordNet; de: NLTK 3.10",
        "bold is the best of a suite", "3 more comparisons follow below", "Holm's correction", "lft 0.1.0",
    ]  # fmt: skip
    assert [text for text in wanted if text not in page.text] == []


def test_every_table_has_a_caption_and_every_heading_is_in_order(page: Page) -> None:
    assert page.tags.count("table") == page.tags.count("caption") > 10
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_what_was_left_out_and_not_shared_stands_in_the_page() -> None:
    odd = made_result(
        "b", left_out=(LeftOut("longform-0001", 0, "meteor", "the answer is empty"),), decoding={"top_k": 5}
    )
    odd.columns["meteor"].sums[1] = np.nan
    columns = {name: one for name, one in odd.columns.items() if name != "repetition"}
    odd = replace(odd, columns={**columns, "mine": odd.columns["repetition"]})
    text = Page(render(Report.of(against([made_result(), made_result(suite="eli5")], [odd])))).text
    for words in (
        "the answer is empty", "1 of 40 left out", "eli5 was answered by base only.", "this lft knows no metric mine",
        "the decoding differs: top_k is not said | 5", "though overlap metrics say little without: repetition.",
        "No published number is known for these suites.",
    ):  # fmt: skip
        assert words in text, words


def test_a_single_subject_and_three_items_have_a_page(tmp_path: Path) -> None:
    comparison = against([made_result(items=3)], [made_result("b", items=3)])
    alone = Report(("base",), comparison.summaries[:1], published=PUBLISHED)
    text = Page(write_report(alone, tmp_path).read_text(encoding="utf-8")).text
    assert "too few items: 3" in text
    assert "Wins and losses" not in text
    assert "language: de" in text
    nothing = made_result()
    for column in nothing.columns.values():
        column.sums[:] = np.nan
    empty = against([nothing], [made_result("b")])
    assert "No answer gained or lost." in Page(render(Report.of(empty))).text


@settings(max_examples=15)
@given(st.sampled_from(NASTY[:6] + NASTY[8:]) | st.text())
def test_no_text_of_an_answer_or_a_name_becomes_html(text: str) -> None:
    def made(words: str, label: str) -> Page:
        after = made_result("b", 0.05, items=6, text=f"{words}x{{}}")
        after = replace(after, subject=replace(after.subject, label=label))
        return Page(render(Report.of(against([made_result(items=6)], [after]))))

    nasty, plain = made(text, text + "z"), made("x", "xz")
    assert nasty.tags == plain.tags
    assert [name for name, _ in nasty.attributes] == [name for name, _ in plain.attributes]


def test_a_text_that_is_too_long_for_a_page_is_cut_and_the_page_says_so() -> None:
    text = render(Report.of(against([made_result(items=6)], [made_result("b", items=6, text=NASTY[6] + "{}")])))
    assert "all of it, 50,001 words" in text
    assert "cut here: the whole text is in rows.jsonl of the result" in text
    assert len(text) < 1_500_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


LOW_CONTRAST = """() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parts(c).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e), ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => x - y);
    if ((b + 0.05) / (a + 0.05) < 4.5) bad.push(e.tagName + ' ' + e.className + ' ' + ink + ' on ' + ground(e));
  }
  return bad;
}"""


@pytest.mark.slow
@with_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_scrolling_sideways_whatever_the_answers_are(
    tmp_path: Path, browser: Any, scheme: str, width: int
) -> None:
    for number, text in enumerate(NASTY):
        suite = f"suite-{number}"
        after = made_result(f"{number} {'very-long-label' * 6}", 0.02 * number, suite=suite, text=text + "{}")
        comparison = against([made_result(suite=suite)], [after])
        path = write_report(Report.of(comparison, {suite: PUBLISHED["eli5"]}), tmp_path / str(number))
        opened = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        opened.set_default_timeout(PATIENCE)
        asked: list[str] = []
        opened.on("request", lambda request, seen=asked: seen.append(request.url))
        opened.goto(path.as_uri())
        opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert opened.title().startswith(f"{number} very-long-label")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert asked == [path.as_uri()]
        assert opened.evaluate(LOW_CONTRAST) == []
        opened.close()


@pytest.mark.slow
@with_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_heat_map_and_forests_are_drawn_inside_their_cells(tmp_path: Path, browser: Any, scheme: str) -> None:
    path = write_report(Report.of(three(), PUBLISHED), tmp_path)
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme).new_page()
    opened.goto(path.as_uri())
    assert opened.evaluate(LOW_CONTRAST) == []
    assert opened.evaluate(
        """() => [...document.querySelectorAll('.plot circle')].every(dot => {
          const a = dot.getBoundingClientRect(), b = dot.closest('td').getBoundingClientRect();
          return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top && a.bottom <= b.bottom; })"""
    )
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className").startswith("table")
