"""A build from its documents to its data set, step by step; what was done with the same settings is not done again.

<output>/<name>/1-read/<source>/NNNNN.jsonl   documents
                2-select/NNNNN.jsonl          those that are taken, and groups of near-duplicates
                ledger.jsonl  scores.jsonl    what models said: these two only grow
                3-instruct/pairs.jsonl        an instruction for each
                4-beyond/pairs.jsonl          with what goes past the paper
                5-screen/pairs.jsonl          those that are kept, with scores
                6-write/                      the data set
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from lft.ask.ledger import open_ledger
from lft.ask.request import Model
from lft.corpus.beyond.run import go_beyond
from lft.corpus.beyond.translate import takes_it
from lft.corpus.dataset import write_dataset
from lft.corpus.document import Document
from lft.corpus.instruct.run import LEDGER, PAIRS, Estimate, estimate, instruct
from lft.corpus.load import Asked
from lft.corpus.reckon import Cost, further_costs
from lft.corpus.schema import Build
from lft.corpus.screen.run import Models, screen
from lft.corpus.select.contamination import Suites
from lft.corpus.step import OPEN, Report, done, finish, read_records, step_digest
from lft.errors import InputError, LftError
from lft.files import MANIFEST, new_folder, sha256

Notify = Callable[[str], None]
Step = Literal["read", "select", "instruct", "beyond", "screen", "write"]
STEPS: Final[tuple[Step, ...]] = ("read", "select", "instruct", "beyond", "screen", "write")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a build needs of the machine: how models are had, where converted bases and embeddings are kept.

    ``suites`` are the evaluation suites whose texts must not come into a data set.
    """

    model: Callable[[Asked], Model]
    screening: Models
    notify: Notify
    suites: Suites = field(default_factory=Suites)


class Documents:
    """The documents that were taken, read from their files as often as they are gone through."""

    def __init__(self, folder: Path, wanted: Callable[[Document], bool] = lambda _: True) -> None:
        self._folder, self._wanted = folder, wanted

    def __iter__(self) -> Iterator[Document]:
        for path in sorted(self._folder.glob("*.jsonl")):
            yield from filter(self._wanted, map(Document.of, read_records(path)))


def root_of(build: Build) -> Path:
    """The folder of a build."""
    return Path(build.output) / build.name


def folder_of(root: Path, step: Step) -> Path:
    """The folder of a step."""
    return root / f"{STEPS.index(step) + 1}-{step}"


def run_build(build: Build, tools: Tools, until: Step = "write") -> list[Report]:
    """Do what is not done yet, up to a step, and give the reports of all.

    Raises:
        LftError: whatever a step raises; the steps before it stay, and so do all answers of models.
    """
    root = root_of(build)
    reports: list[Report] = []
    digest = ""
    for step in STEPS[: STEPS.index(until) + 1]:
        digest = step_digest({**asked_of(build, step), **_suites_of(build, step, tools.suites)}, digest)
        folder = folder_of(root, step)
        report = _had(build, step, root, digest, tools, reports)
        reports.append(report)
        digest = sha256(folder / MANIFEST)  # where a step left something else, what follows is done anew
        if report.came and not report.kept:  # nothing comes to be instructed where all goes by translation
            raise InputError(
                f"nothing is left after the step {step}", where=str(folder), fix=f"see why: lft corpus show {root}"
            )
    return reports


def _had(build: Build, step: Step, root: Path, digest: str, tools: Tools, before: Sequence[Report]) -> Report:
    """The report of a step: done before, done now, or done again for the requests that had failed."""
    known = done(folder_of(root, step), digest)
    if known is not None and not known.figures.get(OPEN):
        tools.notify(f"{step}: done before ({known.kept:,} of {known.came:,})")
        return known
    try:
        report = _do(build, step, root, digest, tools, before)
    except LftError as error:
        if known is None:
            raise
        tools.notify(f"{step}: done before; {known.figures[OPEN]:,} requests cannot be asked again now: {error}")
        return known
    tools.notify(f"{step}: {report.kept:,} of {report.came:,}")
    return report


def _do(build: Build, step: Step, root: Path, digest: str, tools: Tools, before: Sequence[Report]) -> Report:
    """One step into a folder that becomes its own when it is whole."""
    work: Mapping[Step, Callable[[Path], Report]] = {
        "read": lambda out: _read(build, out, tools),
        "select": lambda out: _select(build, root, out, tools),
        "instruct": lambda out: _instruct(build, root, out, tools),
        "beyond": lambda out: _beyond(build, root, out, tools),
        "screen": lambda out: _screen(build, root, out, tools),
        "write": lambda out: _write(build, root, out, before),
    }
    with new_folder(folder_of(root, step)) as draft:
        report = work[step](draft)
        finish(draft, digest, report)
    return report


def asked_of(build: Build, step: Step) -> dict[str, Any]:
    """What a step's result depends on beside the step before: its settings, and of the first the files it reads."""
    whole = build.model_dump(mode="json")
    seed = {"seed": build.seed, "step": step}
    match step:
        case "read":
            return {**seed, "sources": whole["sources"], "files": _files(build)}
        case "select":
            return {**seed, "select": whole["select"], "evaluation": _contents(build.select.contamination.files)}
        case "instruct":
            translated = build.beyond.translate.langs if build.beyond.translate else ()
            return {**seed, "instruct": _of_answers(whole["instruct"]), "without": translated}
        case "beyond":
            return {**seed, "beyond": _of_answers(whole["beyond"])}
        case "screen":
            return {**seed, "screen": _of_answers(whole["screen"]), "language": build.instruct.language}
        case "write":
            return {**seed, "write": whole["write"], "name": build.name}


def _suites_of(build: Build, step: Step, suites: Suites) -> dict[str, str]:
    """Of selecting: which texts of evaluation it looked for."""
    asked = step == "select" and build.select.contamination.suites and suites.digest
    return {"suites": suites.digest} if asked else {}


# How fast and for how much a model answers does not change what it answers.
_NOT_OF_ANSWERS: Final = (
    "url", "key_env", "concurrency", "timeout_seconds", "retries", "requests_per_minute", "tokens_per_minute",
    "price_in", "price_out", "budget", "token_budget", "gpus",
)  # fmt: skip


def _of_answers(section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    return {key: _of_answers(value) for key, value in section.items() if key not in _NOT_OF_ANSWERS}


def _files(build: Build) -> list[tuple[str, int | str, int]]:
    """Names, sizes and times of the files that are read, of others' file systems what these tell changes by.

    A hub source is told apart by its revision alone.
    """
    from datatrove.io import get_datafolder

    from lft.corpus.read.places import is_hub, listed

    found: list[tuple[str, int | str, int]] = []
    for source in build.sources:
        for place in () if is_hub(source) else listed(source):
            if "://" in place.root:
                folder = get_datafolder(place.root)
                found += ((f"{place.root}/{name}", str(folder.ukey(name)), 0) for name in place.files)
                continue
            for name in place.files:
                path = os.path.join(place.root, name)
                stat = os.stat(path) if os.path.exists(path) else None
                found.append((path, stat.st_size if stat else 0, stat.st_mtime_ns if stat else 0))
    return found


def _contents(names: Sequence[str]) -> dict[str, str]:
    """Digests of files; what is not there is told by who reads it."""
    paths = {name: Path(name).expanduser() for name in names}
    return {name: sha256(path) for name, path in paths.items() if path.is_file()}


def _read(build: Build, out: Path, tools: Tools) -> Report:
    from lft.corpus.read import read_sources

    return read_sources(build, out, tools.notify)


def _select(build: Build, root: Path, out: Path, tools: Tools) -> Report:
    from lft.corpus.select import select

    return select(build, folder_of(root, "read"), out, tools.notify, root / "embeddings", tools.suites)


def _instruct(build: Build, root: Path, out: Path, tools: Tools) -> Report:
    model = tools.model(Asked("instruct.backend", build.instruct.backend))
    return instruct(build, _direct(build, root), out, model, tools.notify)


def _direct(build: Build, root: Path) -> Documents:
    """The documents that the model is shown as they are; the others go by translation, past the paper."""
    return Documents(folder_of(root, "select"), lambda one: not takes_it(build.beyond.translate, one))


def _beyond(build: Build, root: Path, out: Path, tools: Tools) -> Report:
    documents, pairs = Documents(folder_of(root, "select")), folder_of(root, "instruct") / PAIRS
    with open_ledger(root / LEDGER, tools.notify) as ledger:
        return go_beyond(build, documents, pairs, out, tools.model, ledger, tools.notify)


def _screen(build: Build, root: Path, out: Path, tools: Tools) -> Report:
    pairs = folder_of(root, "beyond") / PAIRS
    with open_ledger(root / LEDGER, tools.notify) as ledger:
        return screen(build, pairs, out, tools.screening, ledger, root / "scores.jsonl", tools.notify)


def _write(build: Build, root: Path, out: Path, before: Sequence[Report]) -> Report:
    from lft.corpus.select import read_groups

    groups = read_groups(folder_of(root, "select"))
    near = {member: group[0] for group in groups for member in group}
    return write_dataset(build, folder_of(root, "screen") / PAIRS, near, out, before)


def reckon(build: Build, tools: Tools) -> tuple[Estimate, tuple[Cost, ...]]:
    """What instructing would ask for, and what the other backends would; documents are selected, nothing is asked.

    Raises:
        LftError: whatever reading and selecting raise.
    """
    run_build(build, tools, "select")
    root = root_of(build)
    model = tools.model(Asked("instruct.backend", build.instruct.backend))
    instructing = estimate(build, _direct(build, root), folder_of(root, "instruct"), model)
    documents = Documents(folder_of(root, "select"))
    return instructing, further_costs(build, documents, tools.model, tools.screening.judge)


def reports_in(root: Path) -> list[Report]:
    """The reports of the steps that are done, whatever their settings were. Raises InputError where none is."""
    from lft.corpus.step import STEP_FILE, saved_report

    found = [saved_report(folder_of(root, step)) for step in STEPS if (folder_of(root, step) / STEP_FILE).is_file()]
    if not found:
        raise InputError("no build lies here", where=str(root), fix="lft corpus build FILE makes one")
    return found
