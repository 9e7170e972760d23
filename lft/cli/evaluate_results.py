"""`lft evaluate compare / show / report / matrix`: what results say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lft.evaluate.compare import Comparison
    from lft.evaluate.compare_pairs import Entry

PlacesArgument = Annotated[
    list[Path], typer.Argument(metavar="RESULT...", help="folders of results, the baseline first")
]
MetricOption = Annotated[str | None, typer.Option(help="whose wins and losses are shown; METEOR by default")]
SharedOption = Annotated[
    bool, typer.Option("--shared-only", help="only the items that both answered, where they differ")
]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="a section for a model card")]
ReportOption = Annotated[Path | None, typer.Option(metavar="DIR", help="write report.html and comparison.json there")]


def compare(
    results: PlacesArgument,
    metric: MetricOption = None,
    shared_only: SharedOption = False,
    judge: Annotated[Path | None, typer.Option(help="a judge's file: which answer is better")] = None,
    markdown: MarkdownOption = False,
    into: ReportOption = None,
) -> None:
    """Every result against the first: paired differences with intervals, tests, what was won and lost."""
    from lft.evaluate.compare import compared
    from lft.evaluate.compare_json import save_comparison
    from lft.evaluate.markdown import evaluation_section
    from lft.evaluate.report import Report, write_report
    from lft.evaluate.report_text import comparison_lines
    from lft.evaluate.run import METRICS

    entries = _entries(results)
    found = compared(entries, METRICS, metric, shared_only=shared_only)
    if markdown:
        for summaries in found.summaries[1:]:
            typer.echo(evaluation_section(list(summaries.values()), found, _published(entries)), nl=False)
    else:
        for line in comparison_lines(found):
            typer.echo(line)
    if judge is not None:
        _judged(found, judge, into)
    if into is not None:
        _require_place(into)
        save_comparison(found, into)
        typer.echo(f"\nreport: {write_report(Report.of(found, _published(entries)), into)}")


def show(results: PlacesArgument, markdown: MarkdownOption = False) -> None:
    """The scores of results, with intervals, floors and what was left out."""
    from lft.evaluate.markdown import evaluation_section
    from lft.evaluate.report_text import summary_lines
    from lft.evaluate.run import METRICS
    from lft.evaluate.summary import summarised

    entries = _entries(results)
    published = _published(entries)
    for entry in entries:
        summaries = [summarised(result, METRICS) for result in entry.results.values()]
        if markdown:
            typer.echo(evaluation_section(summaries, None, published), nl=False)
            continue
        for summary in summaries:
            for line in summary_lines(summary, published.get(summary.suite.name, ())):
                typer.echo(line)
            typer.echo("")


def report(
    results: PlacesArgument,
    into: Annotated[Path, typer.Option(metavar="DIR", help="where report.html is written")] = Path(),
    metric: MetricOption = None,
    shared_only: SharedOption = False,
) -> None:
    """One static page of results: scores, differences where there are several, texts side by side."""
    from lft.evaluate.compare import compared
    from lft.evaluate.report import Report, write_report
    from lft.evaluate.run import METRICS
    from lft.evaluate.summary import summarised

    entries = _entries(results)
    _require_place(into)
    if len(entries) > 1:
        page = Report.of(compared(entries, METRICS, metric, shared_only=shared_only), _published(entries))
    else:
        only = {name: summarised(result, METRICS) for name, result in entries[0].results.items()}
        page = Report((entries[0].label,), (only,), None, _published(entries), metric or "meteor")
    typer.echo(f"report: {write_report(page, into)}")


def _entries(results: Sequence[Path]) -> tuple[Entry, ...]:
    from lft.evaluate.compare_pairs import entries_of

    return entries_of(results)


def _published(entries: Sequence[Entry]) -> dict[str, tuple[Any, ...]]:
    """What others scored on the suites that ship with lft; a suite of one's own is not known by name."""
    from lft.evaluate.suite import find_suite, load_suite, suite_names
    from lft.evaluate.summary import published_of

    names = {name for entry in entries for name in entry.results} & set(suite_names())
    return {name: published_of(load_suite(find_suite(name))) for name in sorted(names)}


def _judged(found: Comparison, file: Path, into: Path | None) -> None:
    import json
    from dataclasses import asdict

    from lft.cli.evaluate_judge import court
    from lft.evaluate.preferences import preference_line, preferences
    from lft.evaluate.rubric import load_judge
    from lft.files import write_text

    baseline, made = found.entries[0], []
    with court(load_judge(file)) as held:
        typer.echo(f"\njudge: {held.variant}; both orders")
        for other in found.entries[1:]:
            for one in preferences(baseline, other, held):
                typer.echo(preference_line(one, baseline.label))
                made.append(asdict(one))
    if into is not None:
        _require_place(into)
        write_text(into / "preferences.json", json.dumps(made, ensure_ascii=False, indent=1) + "\n")


def _require_place(folder: Path) -> None:
    from lft.files import disk_errors

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
