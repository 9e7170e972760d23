"""The rules that need one document alone, in one pass over the texts: language, quality, contamination.

A step of datatrove's pipelines. Of each document that is left it writes the line, and its row (``rows``), and hands the
text on to whatever stands next in the pipeline (the MinHash signatures).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from datatrove.data import Document as Page
from datatrove.pipeline.base import PipelineStep

from lft.corpus.document import Document
from lft.corpus.language import detected
from lft.corpus.schema import Build, Select
from lft.corpus.select.contamination import EvaluationTexts, contamination, load_texts
from lft.corpus.select.languages import mismatch
from lft.corpus.select.quality import boilerplate, gopher_quality, gopher_repetition, in_c4_lines, too_short_or_long
from lft.corpus.select.rows import draw_of, files_of, row_of
from lft.corpus.select.tally import Shown, Tally
from lft.corpus.step import read_lines
from lft.errors import InputError

TEXTS: Final = "evaluation"  # folder of what documents are compared with
Verdict = Document | str
Check = tuple[str, Callable[[Document], Verdict]]


class Sift(PipelineStep):  # type: ignore[misc]
    """Cut what a rule on single documents cuts; see the module."""

    type = "lft select"
    name = "rules on single documents"

    def __init__(self, build: Build, files: tuple[Path, ...], work: Path) -> None:
        super().__init__()
        self._build, self._files, self._work = build, files, work
        self._sources = {source.name: place for place, source in enumerate(build.sources)}

    def run(self, _: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Page]:
        """Pages of the documents that are left, file after file of this task."""
        checks = checks_of(self._build.select, self._work / TEXTS)
        for index in files_of(rank, world_size, len(self._files)):
            yield from self._file(index, checks)

    def _file(self, index: int, checks: tuple[Check, ...]) -> Iterator[Page]:
        tally, place = Tally(), self._work / f"{index:05d}"
        with (
            place.with_suffix(".jsonl").open("w", encoding="utf-8") as left,
            place.with_suffix(".rows").open("wb") as rows,
        ):
            for line, document in _documents(self._files[index]):
                tally.came += 1
                kept = self._checked(document, checks, tally)
                if kept is None:
                    continue
                left.write(line if kept is document else json.dumps(kept.record(), ensure_ascii=False) + "\n")
                rows.write(row_of(kept, self._sources.get(kept.source, len(self._sources)), self._build.seed))
                yield Page(text=kept.text, id=kept.id)
        tally.save(place.with_suffix(".tally"))

    def _checked(self, document: Document, checks: tuple[Check, ...], tally: Tally) -> Document | None:
        for step, check in checks:
            verdict = check(document)
            if isinstance(verdict, str):
                tally.cut(step, verdict, Shown(draw_of(document.id, self._build.seed), document.id, document.text))
                return None
            document = verdict
        return document


def checks_of(wanted: Select, texts: Path) -> tuple[Check, ...]:
    """The rules that a build asks for, in the order in which they are applied."""
    quality = wanted.quality
    rules: list[Check] = []
    if wanted.language.check:
        rules.append(("language", partial(_in_its_language, wanted=wanted.language)))
    if quality.c4:
        rules.append(("C4", _c4))
    rules.append(("length", partial(_kept_if_none, rule=partial(too_short_or_long, wanted=quality))))
    if quality.boilerplate:
        rules.append(("boilerplate", partial(_kept_if_none, rule=boilerplate)))
    if quality.gopher:
        rules.append(("quality", partial(_kept_if_none, rule=gopher_quality)))
    if quality.repetition:
        rules.append(("repetition", partial(_kept_if_none, rule=gopher_repetition)))
    if texts.is_dir():
        known = load_texts(texts)
        rules.append(("contamination", partial(_kept_if_none, rule=partial(_asked_by_evaluation, known=known))))
    return tuple(rules)


def _kept_if_none(document: Document, rule: Callable[[Document], str | None]) -> Verdict:
    return rule(document) or document


def _asked_by_evaluation(document: Document, known: EvaluationTexts) -> str | None:
    """Why the text, or the question that a person put to it, is one of evaluation's."""
    if reason := contamination(document.text, known):
        return reason
    reason = contamination(document.question, known) if document.question else None
    return f"its question {reason}" if reason else None


def _in_its_language(document: Document, wanted: Any) -> Verdict:
    if not document.detected:
        document = replace(document, detected=detected(document.text)[0])
    return mismatch(document, wanted) or document


def _c4(document: Document) -> Verdict:
    reason, text = in_c4_lines(document)
    if reason is not None:
        return reason
    return document if text == document.text else replace(document, text=text)


def _documents(path: Path) -> Iterator[tuple[str, Document]]:
    """Lines and their documents; a line that nothing changes is written as it came."""
    for number, (line, record) in enumerate(read_lines(path), 1):
        try:
            yield line if line.endswith("\n") else line + "\n", Document.of(record)
        except TypeError as error:
            raise InputError(f"line {number} is no document ({error})", where=str(path), fix="read them anew") from None
