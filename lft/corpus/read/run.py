"""The read step: every source through datatrove's executor into shards of records, and what was read and left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lft.corpus.read.clean import printable
from lft.corpus.read.draw import Draw, Lot, drawn
from lft.corpus.read.found import SourceFile
from lft.corpus.read.kinds import has_rows, items_of
from lft.corpus.read.places import Listed, is_hub, listed, places
from lft.corpus.schema import Build, Source
from lft.corpus.step import SHOWN, SHOWN_LETTERS, Counter, Cut, Report, Sample, merged, read_records
from lft.errors import InputError
from lft.files import new_file, write_text

Notify = Callable[[str], None]
LOGS: Final = "_logs"  # no source can be called so


def read_sources(build: Build, out: Path, notify: Notify) -> Report:
    """Read and clean all sources of a build into ``out/<source>/NNNNN.jsonl``, a shard a task; logs are in out/_logs.

    The same documents come out for any number of tasks; their order hangs on it.

    Raises:
        InputError: a source is not there, holds nothing, or has not the columns that are named.
        MachineError: the disk is full, or tasks of a cluster did not finish.
    """
    found = [(source, () if is_hub(source) else listed(source)) for source in build.sources]
    for source, files in found:
        _try_first_row(source, files)
    reports = []
    for source, files in found:
        report = _read_source(source, files, build, out, notify)
        reports.append(report)
        notify(f"{source.name}: {report.kept:,} documents of {report.came:,}")
    return merged("read", reports)


def _read_source(source: Source, files: tuple[Listed, ...], build: Build, out: Path, notify: Notify) -> Report:
    from lft.corpus.executor import make_executor, run_executor
    from lft.corpus.read.steps import COUNTS, Figures, LanguageStep, ShardWriter

    shards, logs = out / source.name, out / LOGS / source.name
    draw = Draw(source.limit, source.per_subset, build.seed)
    counter = Counter()
    readers = _file_readers(source, files, logs, counter) if files else _hub_readers(source, counter, notify)
    steps = [*readers, LanguageStep(), ShardWriter(shards, logs, draw, counter)]
    run_executor(make_executor(steps, build.run, logs, f"read-{source.name}".replace(" ", "-")))
    counted = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((logs / COUNTS).glob("*.json"))]
    report = merged("read", [*_left_out(source, files), *(Report.of(one["report"]) for one in counted)])
    figures = Figures()
    for one in counted:
        figures.merge(Figures.of(one["figures"]))
    if not draw.everything:
        figures, report = _settle(draw, sorted(shards.glob("*.jsonl")), source, report)
    _require_some(source, report)
    others = sum(one.others for one in files)
    notes = (f"{source.name}: {others} files of its folders are of other kinds, and were not read",) if others else ()
    said = {"documents": report.kept, **figures.to_json()}
    return replace(report, figures={source.name: said}, notes=notes)


def _try_first_row(source: Source, files: tuple[Listed, ...]) -> None:
    """Read the first row of a source of rows, so that a wrong column is told here and not in some task's log."""
    from datatrove.io import get_datafolder

    first = next(((one, name) for one in files for name in one.files), None)
    if first and has_rows(first[1], source):
        next(items_of(SourceFile(get_datafolder(first[0].root), first[1], first[0].lang), source), None)


def _file_readers(source: Source, files: tuple[Listed, ...], logs: Path, counter: Counter) -> list[Any]:
    from lft.corpus.read.steps import FilesReader

    readers = []
    for one in files:
        names = logs / f"files-{one.lang}.txt"
        write_text(names, "".join(f"{name}\n" for name in one.files))
        readers.append(FilesReader(source, one, names, counter))
    return readers


def _hub_readers(source: Source, counter: Counter, notify: Notify) -> list[Any]:
    from lft.corpus.read.steps import HubReader
    from lft.data.hub import commit_of

    readers = []
    for lang in places(source):
        repo = source.path.replace("{lang}", lang)
        config = source.config.replace("{lang}", lang) if source.config else None
        # one commit for all tasks, though somebody may push while they run
        revision = commit_of(repo, source.revision, notify) or source.revision
        options = {"name": config, "split": source.split, "revision": revision}
        readers.append(HubReader(source, lang, repo, options, counter))
    return readers


def _left_out(source: Source, files: tuple[Listed, ...]) -> list[Report]:
    """What was left before any file was opened."""
    counter = Counter()
    for one in files:
        for dropped in one.dropped:
            counter.came += 1
            counter.cut(f"{source.name}: {dropped.reason}", printable(dropped.place), dropped.text)
    return [counter.report("read")] if files else []


def _settle(draw: Draw, shards: list[Path], source: Source, report: Report) -> tuple[Any, Report]:
    """Leave in the shards what is drawn of all tasks' candidates."""
    from lft.corpus.document import Document
    from lft.corpus.read.steps import Figures

    lots = [
        Lot(draw.lot(record["id"]), record["subset"], (part, line))
        for part, shard in enumerate(shards)
        for line, record in enumerate(read_records(shard))
    ]
    chosen = drawn(draw, lots)
    figures, samples = Figures(), list[Sample]()
    for part, shard in enumerate(shards):
        with new_file(shard) as draft, draft.open("w", encoding="utf-8") as stream:
            for line, record in enumerate(read_records(shard)):
                if (part, line) in chosen:
                    figures.add(Document.of(record))
                    stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                elif len(samples) < SHOWN:
                    samples.append(Sample(record["id"], record["text"][:SHOWN_LETTERS]))
    over = report.kept - len(chosen)
    if not over:
        return figures, report
    cut = {**report.cut, f"{source.name}: over its limit": Cut(over, tuple(samples))}
    return figures, replace(report, cut=cut, kept=len(chosen))


def _require_some(source: Source, report: Report) -> None:
    if report.kept:
        return
    if not report.came:
        raise InputError(f"sources: {source.name} holds nothing", where=source.path, fix="give another path")
    reasons = sorted(report.cut.items(), key=lambda one: -one[1].count)[:3]
    said = "; ".join(f"{reason.partition(': ')[2]} ({cut.count:,})" for reason, cut in reasons)
    raise InputError(
        f"sources: {source.name}: nothing of what it holds can be used: {said}",
        where=source.path,
        fix=f"check that it is of kind {source.kind}",
    )
