"""Selection from end to end. The order of its steps:

    rules on one document alone        language · C4 · length · boilerplate · quality · repetition · contamination
    decided between documents          duplicates · near-duplicates · diversity · quotas

Three pipelines of datatrove stand behind it: the rules with MinHash signatures, pairs of near-duplicates, and writing.
Between the last two everything is decided in this process, on 38 bytes a document.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from datatrove.pipeline.base import PipelineStep

from lft.corpus import schema
from lft.corpus.executor import make_executor, run_executor
from lft.corpus.language import checkable
from lft.corpus.schema import Build
from lft.corpus.select.contamination import EvaluationTexts, Suites, evaluation_texts, save_texts
from lft.corpus.select.decide import Decisions, Notify, decide, related_groups
from lft.corpus.select.near import RELATED, Banding, Pairs, Signatures, banding
from lft.corpus.select.rows import ROW, Layout, Rows, gathered, input_files
from lft.corpus.select.sift import TEXTS, Sift
from lft.corpus.select.take import Take, picked_up, save_decisions
from lft.corpus.select.tally import sum_of
from lft.corpus.step import Report
from lft.files import DRAFT

STEPS: Final = (
    "language", "C4", "length", "boilerplate", "quality", "repetition", "contamination",
    "duplicates", "near-duplicates", "diversity", "quotas",
)  # fmt: skip
_FEW: Final = 20_000
NO_SUITES: Final = Suites()


def select(
    build: Build, documents: Path, out: Path, notify: Notify, cache: Path | None = None, suites: Suites = NO_SUITES
) -> Report:
    """Take the documents of ``<documents>/<source>/NNNNN.jsonl`` that a build wants to ``<out>/NNNNN.jsonl``.

    Groups of near-duplicates that are kept are written to ``<out>/groups.json`` (``read_groups``). The result does not
    depend on the number of tasks. The report has one more report for each step in ``figures["steps"]``.

    Args:
        build: its sections ``select``, ``run``, ``sources`` and its seed count.
        documents: folder of documents.
        out: folder that is filled; may exist.
        notify: called with one line at the start of each stage.
        cache: folder of embeddings, which outlives this run; beside ``documents`` if None.
        suites: evaluation suites whose texts are looked for; the sample's held-out rows are, whatever is given.

    Raises:
        InputError: no or damaged documents, or a suite, file or model that is not there.
        MachineError: the disk is full, or some tasks did not finish.
    """
    files = input_files(documents)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}{DRAFT}", dir=out.parent) as name:
        work = Path(name).absolute()
        known = evaluation_texts(build.select.contamination, suites)
        if known is not None:
            save_texts(known, work / TEXTS)
        rows, layout = _sifted(build, files, work, notify)
        notify(f"deciding between {len(rows)} documents")
        decisions = decide(build, work, layout, rows, cache or documents.parent / "embeddings", notify)
        save_decisions(decisions, related_groups(decisions, build, work, layout), work)
        notify(f"writing {decisions.left.size} documents")
        _run(_sized(build, len(rows)), [Take(layout, work, out.absolute())], work, "take")
        return _report(build, decisions, work, out, known)


def _sifted(build: Build, files: tuple[Path, ...], work: Path, notify: Notify) -> tuple[Rows, Layout]:
    """Rows of the documents that the rules leave; pairs of near-duplicates lie in ``work`` then."""
    notify(f"reading {len(files)} files of documents")
    near = build.select.duplicates.near
    bands = banding(build.select.duplicates.similarity)
    sift = Sift(build, tuple(path.absolute() for path in files), work)
    _run(build.run, [sift, *([Signatures(work, bands)] if near else ())], work, "sift")
    rows, layout = gathered(work, files, build.run.tasks)
    if near:
        notify("looking for near-duplicates")
        _run(_sized(build, len(rows)), [Pairs(work, bands, build.select.duplicates.similarity)], work, "pairs")
    return rows, layout


def _sized(build: Build, documents: int) -> schema.Run:
    """Few documents are done sooner in this process than other processes are started (0.2 s of processor each)."""
    if build.run.executor == "local" and documents <= _FEW:
        return build.run.model_copy(update={"workers": 1})
    return build.run


def _run(where: schema.Run, steps: Sequence[PipelineStep], work: Path, name: str) -> None:
    run_executor(make_executor(steps, where, work / "logs" / name, f"lft-select-{name}"))


def _report(build: Build, decisions: Decisions, work: Path, out: Path, known: EvaluationTexts | None) -> Report:
    tally = sum_of(work.glob("*.tally"))
    groups = picked_up(decisions, work, out, tally)
    asked = [step for step in STEPS if _is_asked(build, step, known)]
    figures: dict[str, Any] = {
        "steps": [one.to_json() for one in tally.reports(asked)],
        "groups": len(groups),
        "grouped_documents": sum(map(len, groups)),
        "state_bytes_a_document": ROW.itemsize,
    }
    if known is not None:
        figures |= {"evaluation_texts": int(known.needed.size), "evaluation_megabytes": round(known.size / 1e6, 1)}
    whole = tally.report("select")
    notes = (*_notes(build, decisions.rows, known), *decisions.notes)
    return Report(whole.step, whole.came, whole.kept, whole.cut, figures, notes)


def _is_asked(build: Build, step: str, known: EvaluationTexts | None) -> bool:
    wanted = build.select
    return {
        "language": wanted.language.check,
        "C4": wanted.quality.c4,
        "boilerplate": wanted.quality.boilerplate,
        "quality": wanted.quality.gopher,
        "repetition": wanted.quality.repetition,
        "contamination": known is not None,
        "duplicates": wanted.duplicates.exact,
        "near-duplicates": wanted.duplicates.near,
        "diversity": wanted.diversity is not None,
    }.get(step, True)


def _notes(build: Build, rows: Rows, known: EvaluationTexts | None) -> tuple[str, ...]:
    wanted, notes = build.select, []
    if wanted.language.check:
        langs = [lang.decode() for lang in np.unique(rows["lang"]).tolist()]
        if unknown := [lang for lang in langs if not checkable(lang)]:
            notes.append(f"the language detector does not know {', '.join(unknown)}: texts of these were not checked")
    if known is None:
        notes.append("contamination was not checked: select.contamination names no suite and no file")
    elif known.too_short:
        notes.append(f"{known.too_short} evaluation texts have fewer than 8 words and were not looked for")
    if wanted.duplicates.near:
        notes.append(_near_note(banding(wanted.duplicates.similarity), wanted.duplicates.similarity))
    else:
        notes.append("near-duplicates were not looked for: they may stand in different splits")
    return tuple(notes)


def _near_note(bands: Banding, similarity: float) -> str:
    related = similarity * RELATED
    return (
        f"MinHash finds {bands.found(similarity):.1%} of pairs at similarity {similarity:g} and"
        f" {bands.found(related):.0%} at {related:.2f}, down to which pairs stay in one split"
    )
