"""The card of a data set: what the hub shows. Everything in it was counted; nothing is praised."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lft.ask.schema import Backend
from lft.corpus.funnel import funnel
from lft.corpus.licences import hub_licence
from lft.corpus.schema import Build
from lft.corpus.step import Report
from lft.recipe.write import to_yaml

_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(build: Build, reports: Sequence[Report]) -> str:
    """README.md of a data set's folder.

    Args:
        build: what it was made by.
        reports: of all steps, the last of which wrote it.
    """
    figures = reports[-1].figures
    parts: list[Iterable[str]] = [_header(build, figures), _title(build, figures), _tables(figures), _how(build)]
    parts += [["## What was cut", "", funnel(reports, samples=False).rstrip()], _limits(), _use(build), _recipe(build)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _header(build: Build, figures: Mapping[str, Any]) -> Iterator[str]:
    names = sorted({hub_licence(name) for name in figures["licence"]})
    yield "---"
    yield f"license: {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}"
    yield f"language: [{', '.join(figures['lang'])}]"
    yield f"size_categories: [{_size(figures['rows'])}]"
    yield "task_categories: [text-generation]"
    yield "tags: [instruction-tuning, reverse-instructions, lft]"
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for split in figures["split"]:
        kind = "parquet" if "parquet" in build.write.formats else "jsonl"
        yield f"  - {{split: {split}, path: {split}.{kind}}}"
    yield "---"


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>1M")


def _title(build: Build, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {build.name}"
    yield ""
    yield f"{figures['rows']:,} instructions and the texts that answer them ({figures['words']:,} words)."
    rewrite, rewritten = build.beyond.rewrite, figures.get("rewritten", 0)
    if rewrite is not None and rewritten:
        yield f"People wrote the texts; {_model(rewrite.backend)} rewrote {rewritten:,} of them (rows with the score"
        yield "`faithfulness`)."
    else:
        yield "People wrote the texts."
    yield "A language model that was shown each wrote its instruction (reverse instructions, arXiv 2304.08460), except"
    yield "for the styles `human` and `template`."


def _tables(figures: Mapping[str, Any]) -> Iterator[str]:
    for key in ("split", "source", "lang", "licence", "style"):
        yield f"| {key} | rows |"
        yield "|---|---:|"
        for name, count in figures[key].items():
            yield f"| {name} | {count:,} |"
        yield ""
    yield f"Near-duplicates never lie in two splits ({figures['groups']:,} groups)."


def _how(build: Build) -> Iterator[str]:
    styles = build.instruct.styles
    yield "## How it was made"
    yield ""
    yield f"- Instructions: {_model(build.instruct.backend)}; styles {styles.instruction:.0%} instruction,"
    yield f"  {styles.chatbot:.0%} chatbot, {styles.search_engine:.0%} search engine;"
    yield f"  {build.instruct.length_clauses:.1%} were to say how long the answer is (with its true count)."
    judge = build.screen.judge
    if judge is not None:
        yield f"- Judged by {_model(judge.backend)}: {judge.keep} of 5 points at least."
    if build.screen.round_trip is not None:
        yield f"- Round trip: P(text | instruction) by {build.screen.round_trip.model}, its own among the"
        yield f"  {build.screen.round_trip.keep_rank} best of {build.screen.round_trip.others + 1}"
        yield "  (of fewer, where fewer other instructions in the language could be drawn)."
    for name in ("rewrite", "constraints", "translate"):
        if getattr(build.beyond, name) is not None:
            yield f"- Beyond the paper: {name}."


def _model(backend: Backend) -> str:
    return f"{backend.model} (temperature {backend.temperature:g}, top-p {backend.top_p:g})"


def _limits() -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "Nobody read all of it. The texts hold what their authors believed when they wrote them. An instruction may"
    yield "fit its text badly: `lft corpus sample-audit` measures how often. Each row keeps the licence of its text,"
    yield "and the terms of the model that wrote the instruction may apply as well."


def _use(build: Build) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```"
    yield use_line(f"./{build.name}")
    yield "```"


def use_line(place: str) -> str:
    """How a data set at a place is trained on."""
    return f"lft finetune quickstart {shlex.quote(f'data.train={place}')}"


def _recipe(build: Build) -> Iterator[str]:
    yield "## The build file"
    yield ""
    yield "```yaml"
    yield to_yaml(build).rstrip()
    yield "```"
