"""What every step of a build says when it is done, and when it need not be done again.

    build/<name>/1-read  2-select  3-instruct  4-screen  5-write
                   └ step.json: digest of what the step was asked and was given, and its report

A step's folder is whole or not there (``lft.files.new_folder``). Beside the instruct step lies a ledger that only
grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lft.errors import InputError
from lft.files import write_text

STEP_FILE: Final = "step.json"
OPEN: Final = "requests to be asked again"  # a figure of a report: those that failed, and may not another time
SHOWN: Final = 3  # samples of each reason
SHOWN_LETTERS: Final = 300  # of each of them


@dataclass(frozen=True, slots=True)
class Sample:
    """A text that was cut, as far as it is shown."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """What one reason removed."""

    count: int
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What came in, what went on, and what was removed for which reason; ``figures`` are the step's own."""

    step: str
    came: int
    kept: int
    cut: Mapping[str, Cut] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        removed = sum(one.count for one in self.cut.values())
        if self.came - removed != self.kept:
            raise ValueError(f"{self.step}: {self.came} came, {removed} were removed, and {self.kept} were kept")

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Report:
        """From ``to_json()``."""
        cut = {
            reason: Cut(one["count"], tuple(Sample(**sample) for sample in one["samples"]))
            for reason, one in saved["cut"].items()
        }
        return cls(**{**saved, "cut": cut, "notes": tuple(saved["notes"])})


class Counter:
    """Counts what a step removes, and keeps the first few of each reason to be shown."""

    def __init__(self) -> None:
        self.came = 0
        self._counts: dict[str, int] = {}
        self._samples: dict[str, list[Sample]] = {}

    def cut(self, reason: str, id: str, text: str, times: int = 1) -> None:
        """One was removed."""
        self.add(reason, Cut(times, (Sample(id, text[:SHOWN_LETTERS]),)))

    def add(self, reason: str, cut: Cut) -> None:
        """So many were removed, and these are among them; the first samples of a reason stay."""
        self._counts[reason] = self._counts.get(reason, 0) + cut.count
        samples = self._samples.setdefault(reason, [])
        samples += cut.samples[: SHOWN - len(samples)]

    @property
    def removed(self) -> int:
        """All that was cut."""
        return sum(self._counts.values())

    def report(self, step: str, figures: Mapping[str, Any] | None = None, notes: tuple[str, ...] = ()) -> Report:
        """The sum."""
        cut = {reason: Cut(count, tuple(self._samples[reason])) for reason, count in sorted(self._counts.items())}
        return Report(step, self.came, self.came - self.removed, cut, figures or {}, notes)


def kind_of(failure: str) -> str:
    """What failures of requests have in common, so that they are counted together."""
    return failure.partition(" (")[0]


def open_notes(count: int) -> tuple[str, ...]:
    """What is said of requests that failed, and may not another time."""
    one = "1 request" if count == 1 else f"{count:,} requests"
    said = f"{one} failed after every try; the next run of the same command asks again, before it goes on"
    return (said,) if count else ()


def merged(step: str, reports: Iterable[Report]) -> Report:
    """One report of several tasks' or sources' reports."""
    counter, figures, notes = Counter(), dict[str, Any](), list[str]()
    for report in reports:
        counter.came += report.came
        figures |= report.figures
        notes += report.notes
        for reason, cut in report.cut.items():
            counter.add(reason, cut)
    return counter.report(step, figures, tuple(notes))


def step_digest(asked: Mapping[str, Any], given: str) -> str:
    """Hex sha256 of a step's settings and of the digest of what it works on."""
    return hashlib.sha256(json.dumps([asked, given], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def done(folder: Path, digest: str) -> Report | None:
    """The report of a step that was finished with these settings on this input, else None."""
    if not (folder / STEP_FILE).is_file():
        return None
    was, report = _saved(folder)
    return report if was == digest else None


def saved_report(folder: Path) -> Report:
    """The report of a finished step, whatever its settings were."""
    return _saved(folder)[1]


def _saved(folder: Path) -> tuple[str, Report]:
    try:
        saved = json.loads((folder / STEP_FILE).read_text(encoding="utf-8"))
        return saved["digest"], Report.of(saved["report"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{STEP_FILE} cannot be read ({error})", where=str(folder), fix="remove the folder") from None


def finish(folder: Path, digest: str, report: Report) -> None:
    """Note in a step's (draft) folder what it was and what it did."""
    write_text(folder / STEP_FILE, json.dumps({"digest": digest, "report": report.to_json()}, ensure_ascii=False))


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines, as ``read_lines``."""
    return (record for _, record in read_lines(path))


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a file and their JSON objects, one at a time; .gz is unpacked.

    Raises:
        InputError: a line is none; these files are lft's own, so it is damaged.
    """
    import gzip

    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"line {number} is no JSON ({error})", where=str(path)) from None
            if not isinstance(record, dict):
                raise InputError(f"line {number} is no object", where=str(path))
            yield line, record
