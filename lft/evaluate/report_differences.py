"""What a comparison adds to an evaluation's page: sentences, forest plots, wins and losses, a heat map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from lft.evaluate.compare import Case, Comparison, Effect, Tested
from lft.evaluate.metric import Metric
from lft.evaluate.report_text import difference_range, p_words, worth_showing
from lft.evaluate.summary import is_companion, shown
from lft.page.document import folded, missing
from lft.page.forest import Interval, forest
from lft.page.heat import Cell, heat
from lft.page.html import Child, Html, element, joined

SIDES: Final = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}
_SENTENCES: Final = 3  # at the head of the page
_OPEN_WORDS: Final = 120  # a longer text is folded behind its beginning
_MOST_LETTERS: Final = 30_000  # a page with whole books in it opens nowhere
_AHEAD: Final = {"better": "better", "worse": "worse", "moved": "different", "unclear": "not told apart"}


def sentences(comparison: Comparison) -> Iterator[Html]:
    """What the chosen metric says, a sentence for each of the first suites and subjects."""
    tests = [one for one in comparison.tests if one.metric.name == comparison.chosen]
    for test in tests[:_SENTENCES]:
        yield element("p", _sentence(test, comparison), class_="lead")
    if len(tests) > _SENTENCES:
        yield element("p", f"{len(tests) - _SENTENCES} more comparisons follow below.", class_="note")


def _sentence(test: Tested, comparison: Comparison) -> str:
    found, metric = test.whole.difference, test.metric
    who = f"{comparison.labels[test.other]} is {_AHEAD[verdict(test.whole, metric)]} by {metric.title}"
    return (
        f"{test.suite.name}: {who}, from {shown(test.whole.before, metric)} to {shown(test.whole.after, metric)}: "
        f"{shown(found.value, metric, sign=True)} ({difference_range(found, test)}), p {p_words(test.holm)} after Holm."
    )


def verdict(effect: Effect, metric: Metric) -> str:
    """better, worse or moved where the interval leaves out no difference; unclear where it does not."""
    found = effect.difference
    if not (found.low > 0 or found.high < 0):
        return "unclear"
    if metric.better == "neither":
        return "moved"
    return "better" if (found.low > 0) == (metric.better == "higher") else "worse"


def warnings(comparison: Comparison) -> list[Html]:
    """A box with gains that are not what they seem; nothing where there is none."""
    if not comparison.warnings:
        return []
    return [element("div", *(element("p", f"⚠ {words}") for words in comparison.warnings), class_="warnings")]


def differences(comparison: Comparison) -> Html:
    """A forest plot a metric: the chosen one and what must be read with it, the others folded."""
    metrics = sorted(comparison.metrics, key=lambda one: one.name != comparison.chosen)
    first = [one for one in metrics if one.name == comparison.chosen or is_companion(one.name)]
    rest = [one for one in metrics if one not in first]
    key = "Filled: the interval leaves out no difference. Blue is better, orange is worse, a ring is not told apart."
    found = [_forest(comparison, metric) for metric in first]
    if rest:
        names = ", ".join(metric.title for metric in rest)
        found.append(folded(f"Other metrics: {names}", joined([_forest(comparison, metric) for metric in rest])))
    return joined([element("p", key, class_="note"), *found])


def _forest(comparison: Comparison, metric: Metric) -> Html:
    tests = [one for one in comparison.tests if one.metric.name == metric.name]
    two = len(comparison.labels) == 2
    columns: list[tuple[str, Callable[[Tested], Child]]] = [("p after Holm", _p)]
    if any(one.floor for one in tests):
        columns.append(("beyond floor", _beyond))
    if metric.better != "neither":
        columns.append(("won : lost", lambda one: f"{one.won:,} : {one.lost:,}"))
    rows = [
        _row(
            one.suite.name if two else f"{one.suite.name}: {comparison.labels[one.other]}",
            one.whole,
            one,
            tuple(made(one) for _, made in columns),
        )
        for one in tests
    ]
    drawing = f"{comparison.labels[1] if two else 'each'} minus {comparison.labels[0]}"
    head = ("suite", drawing, "difference", *(name for name, _ in columns))
    return forest(f"{metric.title}, {SIDES[metric.better]}", head, rows, zero=0.0)


def _p(test: Tested) -> Html:
    return stacked(p_words(test.holm), f"p {p_words(test.whole.difference.p)}")


def _beyond(test: Tested) -> Child:
    if test.floor is None:
        return ""
    net = test.floor.net
    return stacked(shown(net.value, test.metric, sign=True), difference_range(net, test))


def stacked(score: str, *below: str) -> Html:
    """A number and, small below it, what belongs to it."""
    return joined([element("strong", score), *(element("span", words, class_="range") for words in below if words)])


def _row(name: Child, effect: Effect, test: Tested, cells: tuple[Child, ...]) -> Interval:
    found = effect.difference
    numbers = stacked(shown(found.value, test.metric, sign=True), difference_range(found, test), found.note)
    return Interval(name, found.value, found.low, found.high, (numbers, *cells), verdict(effect, test.metric))


def differences_by_part(comparison: Comparison) -> Html:
    """The chosen metric over parts of each suite; parts are not tested, only their intervals are given."""
    found: list[Html] = []
    for test in comparison.tests:
        parts = worth_showing(test.parts) if test.metric.name == comparison.chosen else []
        rows = [
            _row(f"{one.part.kind}: {one.part.value or 'none'}", one, test, (f"{one.difference.items:,}",))
            for one in parts
        ]
        if rows:
            caption = f"{test.suite.name}, {comparison.labels[test.other]}: {test.metric.title}"
            found.append(forest(caption, ("part", "difference", "in numbers", "items"), rows, zero=0.0))
    return joined(found or [missing("No suite has more than one language, source, subset or length.")])


def matrix(comparison: Comparison) -> Html:
    """Subjects down, suites across: the chosen metric, and its difference from the baseline below it."""
    suites = list(dict.fromkeys(name for one in comparison.summaries for name in one))
    metric = next(one for one in comparison.metrics if one.name == comparison.chosen)
    rows = []
    for place, label in enumerate(comparison.labels):
        changes = {one.suite.name: one.whole.difference for one in comparison.of(place, metric.name)}
        cells = []
        for name in suites:
            summary = comparison.summaries[place].get(name)
            one = summary.get(metric.name) if summary else None
            score = math.nan if one is None else one.whole.score
            note = shown(changes[name].value, metric, sign=True) if name in changes else ""
            cells.append(Cell(score, shown(score, metric), note))
        rows.append((label, cells))
    caption = f"{metric.title}; below it the difference from {comparison.labels[0]}; bold is the best of a suite"
    return heat(caption, "subject", suites, rows, higher_is_better=metric.better != "lower")


def cases(comparison: Comparison) -> Html:
    """Answers that gained and lost most, both texts side by side."""
    if not comparison.cases:
        return missing("No answer gained or lost.")
    metric = comparison.cases[0].metric
    note = element("p", f"The largest gains and losses of {metric.title} in each suite.", class_="note")
    return joined([note, *(_case(case, comparison) for case in comparison.cases)])


def _case(case: Case, comparison: Comparison) -> Html:
    change = shown(case.change, case.metric, sign=True)
    gained = (case.change > 0) == (case.metric.better != "lower")
    title = element(
        "h3",
        element("span", f"{'▲ gain' if gained else '▼ loss'} {change}", class_="better" if gained else "worse"),
        f" {case.suite}, {case.item.lang}, {case.item.source or 'no source'}, item {case.item.id[:8]}",
    )
    texts = [
        _text(f"{comparison.labels[0]}: {shown(case.before, case.metric)}", case.before_text),
        _text(f"{comparison.labels[case.other]}: {shown(case.after, case.metric)}", case.after_text),
    ]
    if case.item.reference:
        texts.append(_text("reference", case.item.reference))
    question = element("div", _long(f"{case.item.instruction}\n\n{case.item.context}".strip()), class_="question")
    return element("article", title, question, element("div", *texts, class_="answers"), class_="sample")


def _text(title: str, text: str) -> Html:
    words = len(text.split())
    heading = element("h4", f"{title}, {words:,} words")
    return element("div", heading, _long(text) if text.strip() else missing("an empty text"), class_="answer")


def _long(text: str) -> Html:
    """A text; the beginning of a long one, with the whole behind it as far as a page holds it."""
    words = text.split()
    if len(words) <= _OPEN_WORDS and len(text) <= 8 * _OPEN_WORDS:
        return _paragraph(text)
    cut = len(text) > _MOST_LETTERS
    end = "… cut here: the whole text is in rows.jsonl of the result" if cut else ""
    rest = [element("p", end, class_="note")] if cut else []
    opening = " ".join(words[: _OPEN_WORDS // 2])[: 6 * _OPEN_WORDS]
    whole = folded(f"all of it, {len(words):,} words", joined([_paragraph(text[:_MOST_LETTERS]), *rest]))
    return joined([_paragraph(f"{opening} …"), whole])


def _paragraph(text: str) -> Html:
    return element("p", text, class_="text", dir="auto")
