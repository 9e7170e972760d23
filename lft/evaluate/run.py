"""One suite, one candidate: ask, score, keep. The joint of suites, answers, metrics and results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Final

from lft.ask.local import Local
from lft.errors import InputError
from lft.evaluate.candidate import Candidate
from lft.evaluate.generation import Answers, from_file, generated
from lft.evaluate.harness import METRICS as HARNESSED
from lft.evaluate.harness import harnessed
from lft.evaluate.item import Item, Row
from lft.evaluate.judge import POINTS, Court
from lft.evaluate.likelihood import Likelihood, likelihoods, others
from lft.evaluate.metric import Measured, Metric, Tools
from lft.evaluate.metrics.losses import from_losses, from_rankings
from lft.evaluate.metrics.scoring import score_rows
from lft.evaluate.metrics.table import METRICS as MEASURED
from lft.evaluate.metrics.table import metric_named
from lft.evaluate.result import RESULT, Column, LeftOut, Result, Subject, SuiteRef, load_result, save_result
from lft.evaluate.suite import Loaded
from lft.evaluate.suite_schema import Suite
from lft.evaluate.summary import as_json, summarised

METRICS: Final[Mapping[str, Metric]] = {**MEASURED, **HARNESSED, POINTS.name: POINTS}
LOSSES: Final = ("bits-per-byte", "nll-per-token", "perplexity")
RANKING: Final = "ranking"
JUDGE: Final = POINTS.name
_FROM_MODELS: Final = (*LOSSES, RANKING, JUDGE)
_PACKAGES: Final = ("lft", "torch", "transformers", "peft", "nltk", "rouge-score", "sacrebleu", "lm-eval")


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie: ``answers`` the ledgers, ``results`` what comes out."""

    answers: Path
    results: Path


def evaluated(candidate: Candidate, loaded: Loaded, names: Sequence[str], court: Court | None, place: Place,
              tools: Tools) -> Result:  # fmt: skip
    """A candidate's result on a suite's items; what it answered before is not asked again.

    Args:
        candidate: who answers.
        loaded: a suite's items.
        names: of metrics; those that need a model's probabilities are left out, and said, where there are none.
        court: the judge, where one is asked.
        place: where answers are kept.
        tools: of this machine.

    Raises:
        RecipeError, InputError, MachineError: as suites, models and metrics say; what was answered stays.
    """
    answers = generated(candidate, loaded.items, loaded.suite.decoding, place.answers, tools.notify)
    return _scored(candidate.subject, answers, loaded, names, candidate, court, tools)


def evaluated_file(path: Path, label: str, loaded: Loaded, names: Sequence[str], court: Court | None,
                   tools: Tools) -> Result:  # fmt: skip
    """The result of answers that somebody else made; see ``generation.from_file``."""
    answers = from_file(path, loaded.items, tools.notify)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _scored(Subject(label or path.stem, digest, "file"), answers, loaded, names, None, court, tools)


def evaluated_by_harness(
    candidate: Candidate, suite: Suite, limit: int | None, include: Path | None, tools: Tools
) -> Result:
    """The result of a suite that lm-evaluation-harness runs; raises as ``harness.harnessed``."""
    assert suite.harness is not None, "the suite's rules let no kind harness through without its section"
    found = harnessed(candidate, suite.harness.tasks, suite.harness.shots, limit, include, tools.notify)
    digest = hashlib.sha256("\n".join([suite.model_dump_json(), *(row.item.id for row in found.rows)]).encode())
    ref = SuiteRef(suite.name, suite.version, digest.hexdigest(), False)
    return Result(ref, candidate.subject, {}, found.rows, found.columns, (), _now(), _versions())


def kept(result: Result, place: Place, notify: Callable[[str], None]) -> Path:
    """Save a result in its own folder; its folder.

    It takes the place of an older one of the same suite, subject and settings, with the metrics that only the older one
    has. Beside a result of other settings (items, decoding) it gets a numbered folder.
    """
    subject = result.subject
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', subject.label).strip('-.') or 'model'}-{subject.identity[:8]}"
    suite = f"{result.suite.name}{'-offline' if result.suite.offline else ''}"
    for number in count(1):
        folder = place.results / (name if number == 1 else f"{name}.{number}") / suite
        if not (folder / RESULT).is_file():
            break
        older = load_result(folder)
        if (older.suite, older.decoding, subject.identity) == (result.suite, result.decoding, older.subject.identity):
            result = _completed(result, older)
            break
        notify(f"{folder} is a result of other items or another decoding, and stays")
    save_result(result, folder, as_json(summarised(result, METRICS)))
    return folder


def _completed(result: Result, older: Result) -> Result:
    """A result with what the older one measured besides of the very same answers."""
    more = {name: column for name, column in older.columns.items() if name not in result.columns}
    if not more or older.rows != result.rows:
        return result
    left_out = tuple(one for one in older.left_out if one.metric in more)
    return replace(result, columns={**result.columns, **more}, left_out=(*result.left_out, *left_out))


def _scored(
    subject: Subject, answers: Answers, loaded: Loaded, names: Sequence[str], candidate: Candidate | None,
    court: Court | None, tools: Tools,
) -> Result:  # fmt: skip
    if not answers.rows:
        reasons = sorted({one.reason for one in answers.left_out})
        raise InputError(f"no item of {loaded.suite.name} has an answer ({'; '.join(reasons)})", where=subject.label)
    on_texts = [metric_named(name) for name in names if name not in _FROM_MODELS]
    columns, left_out = score_rows(answers.rows, on_texts, tools)
    for name, measured in _by_models(answers.rows, names, candidate, court, tools).items():
        columns[name] = _column(name, answers.rows, measured)
        left_out += [
            LeftOut(answers.rows[place].item.id, answers.rows[place].output.sample, name, reason)
            for place, reason in sorted(measured.reasons.items())
        ]
    suite = SuiteRef(
        loaded.suite.name, loaded.suite.version, loaded.digest, loaded.offline, loaded.places, dict(loaded.left_out)
    )
    decoding = loaded.suite.decoding.model_dump() if candidate else {}
    return Result(suite, subject, decoding, answers.rows, columns, (*answers.left_out, *left_out), _now(), _versions())


def _by_models(
    rows: Sequence[Row], names: Sequence[str], candidate: Candidate | None, court: Court | None, tools: Tools
) -> dict[str, Measured]:
    """Metrics whose numbers a model gives: the candidate's probabilities, the judge's words."""
    found: dict[str, Measured] = {}
    wanted = [name for name in names if name in (*LOSSES, RANKING)]
    if wanted and candidate is not None and isinstance(candidate.model, Local):
        found |= {name: one for name, one in _losses(rows, wanted, candidate, tools).items() if name in wanted}
    elif wanted:
        tools.notify(f"left out: {', '.join(wanted)} (nobody sees this subject's probabilities)")
    if court is not None:
        tools.notify(f"judging {len(rows):,} answers")
        found[JUDGE] = court.rated(rows)
    elif JUDGE in names:
        tools.notify("left out: judge (name one with --judge FILE)")
    return found


def _losses(rows: Sequence[Row], wanted: Sequence[str], candidate: Candidate, tools: Tools) -> dict[str, Measured]:
    """Each item's reference once, however many samples of it there are."""
    items = list({row.item.id: row.item for row in rows}.values())
    tools.notify(f"reading {len(items):,} references")
    own = _known(items, items, candidate)
    per_row = [own[row.item.id] for row in rows]
    how = "the reference after its instruction in the subject's own prompt format, without the end token"
    found = from_losses(
        [one.nats if one else None for one in per_row],
        [one.tokens if one else 0 for one in per_row],
        [one.bytes if one else 0 for one in per_row],
        how,
    )
    base = f", tokens of {candidate.subject.base}"  # of other tokens are other numbers
    for name in LOSSES[1:]:
        found[name] = replace(found[name], variant=found[name].variant + base)
    if RANKING in wanted:
        there = others(items)
        rivals = _known(items, there, candidate)
        true = [-one.nats if one and rivals[row.item.id] else None for one, row in zip(per_row, rows, strict=True)]
        false = [[-rival.nats] if (rival := rivals[row.item.id]) else [] for row in rows]
        found[RANKING] = from_rankings(true, false, "against the instruction of the next item of the language")
    return found


def _known(items: Sequence[Item], asked: Sequence[Item | None], candidate: Candidate) -> dict[str, Likelihood | None]:
    """Of each item's reference after the instruction of another (or the same) item."""
    pairs = [(other, item.reference) for item, other in zip(items, asked, strict=True) if other is not None]
    values = likelihoods(candidate, pairs)
    return {item.id: next(values) if other is not None else None for item, other in zip(items, asked, strict=True)}


def _column(name: str, rows: Sequence[Row], measured: Measured) -> Column:
    return Column(name, measured.sums, dict.fromkeys(sorted({row.item.lang for row in rows}), measured.variant))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
