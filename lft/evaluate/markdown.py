"""The section "Evaluation" of a model card: numbers with all that is needed to doubt them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import lft
from lft.adapters.markdown import table, text
from lft.evaluate.compare import Comparison, Tested
from lft.evaluate.report_text import decoding_words, difference_range, p_words
from lft.evaluate.summary import MetricSummary, Published, Summary, shown


def evaluation_section(
    summaries: Sequence[Summary], comparison: Comparison | None = None,
    published: Mapping[str, Sequence[Published]] | None = None, only: Collection[str] | None = None,
) -> str:  # fmt: skip
    """Markdown of one subject's scores, and of its difference from a baseline where a comparison is given.

    Args:
        summaries: of the subject, suite by suite.
        comparison: whose first entry is the baseline.
        published: what others printed, by suite.
        only: names of metrics to show; overlap metrics and their companions if None.
    """
    lines = ["## Evaluation", ""]
    for summary in summaries:
        lines += [*_suite(summary, only), ""]
        lines += [*_published((published or {}).get(summary.suite.name, ())), ""]
    if comparison is not None:
        lines += [*_differences(comparison, only), ""]
    lines += [
        "Intervals are of 95 %, from a bootstrap over items. The floor is what the same answers get against the "
        f"references of other items. Written by lft {lft.__version__}."
    ]
    return "\n".join(_single_blanks(lines)) + "\n"


def _suite(summary: Summary, only: Collection[str] | None) -> Iterator[str]:
    suite = summary.suite
    offline = ", small offline set" if suite.offline else ""
    yield f"**{text(suite.name)}** version {suite.version}{offline}, `{suite.digest[:12]}`, {summary.items:,} items; "
    yield f"decoding {text(decoding_words(summary.decoding))}"
    yield ""
    rows = [_row(one) for one in summary.metrics if _wanted(one, only)]
    yield from table(("metric", "variant", "score", "95 % interval", "floor", "items", "answers", "left out"), rows)
    if summary.unread:
        yield ""
        yield f"Not measured, though overlap says little without: {text(', '.join(summary.unread))}."


def _wanted(one: MetricSummary, only: Collection[str] | None) -> bool:
    return one.metric.overlap or one.companion if only is None else one.metric.name in only


def _row(one: MetricSummary) -> list[str]:
    whole = one.whole
    return [
        text(one.metric.title),
        text(variants_words(one.variants)),
        shown(whole.score, one.metric),
        f"{shown(whole.low, one.metric)} to {shown(whole.high, one.metric)}"
        + (f" ({whole.note})" if whole.note else ""),
        "" if one.floor is None else shown(one.floor.score, one.metric),
        f"{whole.items:,}",
        f"{whole.rows:,}",
        text("; ".join(f"{reason.rows:,}: {reason.words}" for reason in one.left_out)) or "0",
    ]


def variants_words(variants: Mapping[str, str]) -> str:
    """How a metric was counted, languages that share a way together."""
    ways: dict[str, list[str]] = {}
    for lang, way in variants.items():
        ways.setdefault(way, []).append(lang)
    return "; ".join(way if len(ways) == 1 else f"{', '.join(langs)}: {way}" for way, langs in ways.items())


def _published(rows: Sequence[Published]) -> Iterator[str]:
    if rows:
        yield "Published elsewhere, not measured here:"
        yield ""
        yield from table(
            ("model", "metric", "score", "note"),
            [(text(one.model), text(one.metric), f"{one.score:g}", text(one.note)) for one in rows],
        )


def _differences(comparison: Comparison, only: Collection[str] | None) -> Iterator[str]:
    yield f"### Against {text(comparison.labels[0])}"
    yield ""
    head = ("suite", "subject", "metric", "before", "after", "difference", "95 % interval", "p", "p, Holm", "pairs")
    names = [metric.name for metric in comparison.metrics]
    tests = sorted(comparison.tests, key=lambda one: names.index(one.metric.name))
    chosen = (one.metric.overlap or one.metric.name == comparison.chosen for one in tests)
    kept = [one for one, main in zip(tests, chosen, strict=True) if (main if only is None else one.metric.name in only)]
    yield from table(head, [_test(one, comparison) for one in kept])
    for warning in comparison.warnings:
        yield ""
        yield f"Note: {text(warning)}"
    for note in [*comparison.notes, *(f"{p.suite.name}: {note}" for p in comparison.pairings for note in p.notes)]:
        yield ""
        yield f"Note: {text(note)}."


def _test(one: Tested, comparison: Comparison) -> list[str]:
    found = one.whole.difference
    return [
        text(one.suite.name),
        text(comparison.labels[one.other]),
        text(one.metric.title),
        shown(one.whole.before, one.metric),
        shown(one.whole.after, one.metric),
        shown(found.value, one.metric, sign=True),
        difference_range(found, one) + (f" ({found.note})" if found.note else ""),
        text(p_words(found.p)),
        text(p_words(one.holm)),
        f"{found.rows:,}",
    ]


def _single_blanks(lines: Sequence[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        if line or (place and lines[place - 1]):
            yield line
