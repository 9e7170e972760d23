"""WikiHow: a how-to title in one of 18 templates, and its steps as the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lft.corpus.read.found import Dropped, Found, Item, as_text, chance
from lft.corpus.read.rows import Row
from lft.corpus.schema import Source

WITH_INTRODUCTION: Final = 0.5  # as in the paper
# 18, of which 14 say how many steps there are, as in the paper; the wording is ours. {task} is "fold a map".
TEMPLATES: Final = (
    "Please explain how to {task} in {steps}.",
    "I would like to {task}. Can you take me through it in {steps}?",
    "Write a guide of {steps} on how to {task}.",
    "What is the best way to {task}? Give me {steps} to follow.",
    "List {steps} that help somebody {task}.",
    "Could you break down how to {task} into {steps}?",
    "In {steps}, tell me how one can {task}.",
    "My friend has never managed to {task}. Put together {steps} for a beginner.",
    "Show me how to {task}, using {steps}.",
    "Describe the {steps} it takes to {task}.",
    "Make a plan of {steps} for me to {task}.",
    "How would you {task}? Answer with {steps}.",
    "Teach me to {task} in {steps}.",
    "I need instructions to {task}: {steps}, in the right order.",
    "How do I {task}?",
    "Give me detailed advice on how to {task}.",
    "What should I know if I want to {task}?",
    "Is there a good method to {task}? Please go through it from start to finish.",
)
_HOW_TO: Final = re.compile(r"^\s*how\s+to\s+", re.IGNORECASE)
_GLUED_NUMBER: Final = re.compile(r"(?<=[a-z])\d+$")  # wikihowAll.csv numbers the parts of an article: "Artist1"
_Detail = Literal["summary", "description", "both"]


@dataclass(frozen=True, slots=True)
class _Step:
    summary: str
    description: str

    def text(self, detail: _Detail) -> str:
        wanted = {"summary": (self.summary,), "description": (self.description,)}.get(detail, ())
        parts = [part for part in wanted if part] or [part for part in (self.summary, self.description) if part]
        return "\n".join(parts)


@dataclass(slots=True)
class _Article:
    title: str
    place: str
    introduction: str = ""
    url: str = ""
    steps: list[_Step] = field(default_factory=list)


def wikihow_row(row: Row, place: str, _source: Source, lang: str) -> Iterator[Item]:
    """An article that is one row: title and steps (a list of texts or of objects, or lines), maybe an introduction."""
    article = _Article(
        as_text(row.get("title")),
        place,
        introduction=_first(row, "introduction", "intro", "overview", "summary"),
        url=_first(row, "url", "link"),
        steps=list(_steps(row.get("steps", row.get("headline")))),
    )
    yield _item(article, lang)


def wikihow_rows(rows: Iterator[tuple[str, Row] | Dropped], source: Source, lang: str) -> Iterator[Item]:
    """The articles of a file; one with a row for each step (wikihowSep.csv) is put together again."""
    article: _Article | None = None
    for found in rows:
        if isinstance(found, Dropped):
            yield found
            continue
        place, row = found
        if "sectionLabel" not in row:
            yield from wikihow_row(row, place, source, lang)
            continue
        title = as_text(row.get("title"))
        if article is None or article.title != title:
            if article:
                yield _item(article, lang)
            article = _Article(title, place, introduction=as_text(row.get("overview")))
        article.steps.append(_Step(as_text(row.get("headline")).strip(), as_text(row.get("text")).strip()))
    if article:
        yield _item(article, lang)


def question_of(title: str, steps: int, lang: str) -> str:
    """What somebody asks who is answered by an article; in other languages than English, its title as it stands."""
    if lang != "en":
        return title
    task = _HOW_TO.sub("", _GLUED_NUMBER.sub("", title.strip())).strip(" .?!")
    first = task.split(" ", 1)[0]
    if first[1:].islower() or len(first) == 1:  # not DVD, iPhone
        task = task[:1].lower() + task[1:]
    template = TEMPLATES[int(chance(title, "template") * len(TEMPLATES))]
    return template.format(task=task, steps="1 step" if steps == 1 else f"{steps} steps")


def _item(article: _Article, lang: str) -> Item:
    title = _GLUED_NUMBER.sub("", article.title.strip())
    steps = [step for step in article.steps if step.summary or step.description]
    if not title or not steps:
        return Dropped("no title or no steps", article.place, article.title)
    detail = ("summary", "description", "both")[int(chance(title, "detail") * 3)]
    lines = [f"{number}. {step.text(detail)}" for number, step in enumerate(steps, 1)]  # type: ignore[arg-type]
    if article.introduction.strip() and chance(title, "introduction") < WITH_INTRODUCTION:
        lines.insert(0, article.introduction.strip())
    return Found(
        text="\n".join(lines),
        place=article.place,
        url=article.url,
        title=title,
        question=question_of(title, len(steps), lang),
        style="template",
    )


def _steps(value: object) -> Iterator[_Step]:
    if isinstance(value, str):
        value = [line for line in value.split("\n") if line.strip(" \t\r,.")]
    for step in value if isinstance(value, list) else ():
        if isinstance(step, dict):
            yield _Step(_first(step, "summary", "headline", "title"), _first(step, "description", "text"))
        else:
            yield _Step(as_text(step).strip(" \t\r\n,"), "")


def _first(row: dict[str, Any], *names: str) -> str:
    return next((text for name in names if (text := as_text(row.get(name)).strip())), "")
