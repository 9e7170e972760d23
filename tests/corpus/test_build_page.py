"""The page of a build: every number of its reports, every text as text, in a browser where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.corpus.page import render
from lft.corpus.screen.histogram import Histogram, Threshold, histogram
from lft.corpus.step import Cut, Report, Sample
from tests.browser import PATIENCE, opened_browser, with_chromium
from tests.corpus.test_corpus_build import Rule, build, build_with, instruction, lft, tools  # noqa: F401
from tests.evaluate.test_evaluation_report import LOW_CONTRAST
from tests.pages import Page

NASTY = "</style><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">" + "w" * 200


def made(number: int = 60) -> list[Report]:
    """Reports of all steps, with scores on both sides of their thresholds."""
    spread = {f"{n}": (n * 37 % 100) / 100 for n in range(number)}
    ranks = {f"{n}": float(1 + n * 7 % 6) for n in range(number)}
    kept = {one for one, value in spread.items() if value >= 0.3 and ranks[one] <= 3}
    histograms = {
        "similarity": histogram(spread, kept, Threshold(0.3, "at least")).to_json(),
        "round_trip_rank": histogram(ranks, kept, Threshold(3, "at most")).to_json(),
        "round_trip_margin": histogram(dict.fromkeys(spread, 0.25), kept, None).to_json(),
    }
    cuts = {"similarity below 0.3": Cut(number - len(kept), (Sample("id <b>", NASTY), Sample("7", "")))}
    language, quotas = Report("language", 90, 80, {"it is fr": Cut(10)}), Report("quotas", 80, number, {"x": Cut(20)})
    parts = [language.to_json(), quotas.to_json()]
    counts = {"split": {"train": len(kept)}, "source": {NASTY: len(kept)}, "lang": {"de": len(kept)}}
    counts |= {"licence": {"": len(kept)}, "style": {"instruction": len(kept)}}
    quartiles = {"similarity": dict.fromkeys(("least", "quarter", "median", "three quarters", "most"), 0.5)}
    return [
        Report("read", 100, 90, {"no text": Cut(10, (Sample("a.txt", NASTY),))}, notes=(NASTY,)),
        Report("select", 90, number, {"all": Cut(30)}, {"steps": parts}),
        Report("screen", number, len(kept), cuts, {"histograms": histograms, "scores": quartiles}),
        Report("write", len(kept), len(kept), {}, {"rows": len(kept), "words": 12_345, **counts}),
    ]


def test_the_page_has_every_count_reason_sample_and_table() -> None:
    reports = made()
    page = Page(render("town", reports))
    for one in reports:
        for reason, cut in one.cut.items():
            assert f"{cut.count:,} ({cut.count / one.came:.1%}): {reason}" in page.text
    assert page.text.count(NASTY) == 4
    assert {"script", "img"}.isdisjoint(page.tags)
    assert "12,345 words" in page.text
    for word in ("goes on: at least 0.3", "goes on: at most 3", "Rows by language", "Parts of select", "(empty)"):
        assert word in page.text
    kept = reports[2].kept
    assert f"kept: {kept}, cut: {60 - kept}" in page.text
    assert not [value for name, value in page.attributes if name in ("src", "href")]


def test_the_page_of_a_build_that_is_not_finished_says_how_far_it_is() -> None:
    page = Page(render("town", made()[:2]))
    assert "60 after the step select" in page.text
    assert "Scores" not in page.text
    assert "What is in it" not in page.text
    assert "Nothing was cut." in Page(render("town", [Report("read", 3, 3)])).text


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(), st.floats(-1e9, 1e9) | st.integers(1, 5).map(float), min_size=1, max_size=40),
    st.none() | st.builds(Threshold, st.floats(-10, 10), st.sampled_from(["at least", "at most"])),
    st.integers(0, 5),
)
def test_every_score_is_in_one_bin_of_its_own_side(
    scores: dict[str, float], threshold: Threshold | None, every: int
) -> None:
    kept = set(list(scores)[::every] if every else [])
    found = histogram(scores, kept, threshold)
    assert (sum(found.kept), sum(found.cut)) == (len(kept), len(scores) - len(kept))
    assert len(found.kept) == len(found.cut) <= 20
    assert all(found.low <= value <= found.high for value in scores.values())
    assert threshold is None or found.low <= threshold.at <= found.high
    assert Histogram.of(found.to_json()) == found


def test_points_of_a_judge_have_a_bin_each() -> None:
    found = histogram({"a": 1, "b": 4, "c": 5, "d": 5}, {"b", "c"}, Threshold(4, "at least"))
    assert (found.low, found.high) == (0.5, 5.5)
    assert (found.kept, found.cut) == ((0, 0, 0, 1, 1), (1, 0, 0, 0, 1))
    reports = [Report("screen", 4, 2, {"low": Cut(2)}, {"histograms": {"judge": found.to_json()}})]
    (line,) = re.findall(r'<line x1="([\d.]+)%"[^>]*class="divider"', render("town", reports))
    assert float(line) == 60  # between three and four points


def test_a_build_leaves_its_page_and_show_writes_it_at_any_step(build: Any, tmp_path: Path) -> None:  # noqa: F811
    from lft.corpus.build import folder_of, reports_in, root_of, run_build

    run_build(build, tools(Rule(instruction)), "select")
    early = lft("show", "out/town", "--html", "early.html", cwd=tmp_path)
    assert (early.returncode, early.stdout) == (0, "wrote early.html\n"), early.stderr
    assert "after the step select" in Page((tmp_path / "early.html").read_text()).text
    run_build(build, tools(Rule(instruction)))
    text = (folder_of(root_of(build), "write") / "report.html").read_text()
    assert text == render("town", reports_in(root_of(build)))  # of the same reports, the same bytes
    page = Page(text)
    assert "fewer than 30 words" in page.text
    assert "goes on: at most 0.5" in page.text  # the leak of every instruction
    assert ("class", "divider") in page.attributes


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.slow
@with_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_whole_and_readable_at_both_widths(
    tmp_path: Path, browser: Any, scheme: str, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render("town", made()), encoding="utf-8")
    opened = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    opened.set_default_timeout(PATIENCE)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(path.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.title() == "town: data set"
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == [path.as_uri()]
    seen = [one for one in opened.evaluate(LOW_CONTRAST) if not one.startswith(("title ", "desc "))]  # never painted
    assert seen == []
    assert opened.evaluate(
        """() => [...document.querySelectorAll('.bars > svg rect')].every(bar => {
          const a = bar.getBoundingClientRect(), b = bar.ownerSVGElement.getBoundingClientRect();
          return a.width > 1 && a.left >= b.left - 1 && a.right <= b.right + 1 && a.bottom <= b.bottom + 1; })"""
    )
    opened.close()
