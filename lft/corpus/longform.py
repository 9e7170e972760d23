"""The mixture of the paper (arXiv 2304.08460, table 1), from whatever of its sources somebody has.

Its documents are not released with their origin, and text-davinci-003 is retired: this makes a data set of the same
kind and the same numbers, not the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.ask.schema import Backend
from lft.corpus.read.places import readable
from lft.corpus.schema import (
    Build,
    Diversity,
    Instruct,
    Quotas,
    ReaderKind,
    Select,
    Source,
    Write,
)
from lft.errors import InputError


@dataclass(frozen=True, slots=True)
class Part:
    """A source of the paper: its rows there, the folder where it is looked for, and where it comes from.

    ``first`` is a pattern of the files that are taken alone where there are some.
    """

    source: str
    rows: int
    kind: ReaderKind
    folder: str
    licence: str
    get: str
    first: str = ""


PARTS: Final = (
    Part("C4", 10_000, "c4", "c4", "ODC-BY-1.0", "hub: allenai/c4 (en), some of its .json.gz files"),
    Part("Wikipedia", 5_000, "wikipedia", "wikipedia", "CC-BY-SA-4.0",
         "hub: wikimedia/wikipedia (20231101.en), or a dump through wikiextractor"),
    Part("StackExchange", 4_380, "stackexchange", "stackexchange", "CC-BY-SA-4.0",
         "the Stack Exchange data dump: SITE/Posts.xml of each of 88 sites"),
    Part("WikiHow", 2_500, "wikihow", "wikihow", "CC-BY-NC-SA-3.0", "the WikiHow summarization set (CSV)"),
    Part("Natural Instructions", 3_684, "natural-instructions", "natural-instructions", "Apache-2.0",
         "github: allenai/natural-instructions, tasks/*.json with long outputs"),
    Part("BigBench", 600, "bigbench", "bigbench", "Apache-2.0",
         "github: google/BIG-bench, a task over short stories"),
    # the essays stand in the .json files whole, in the .m2 files sentence by sentence
    Part("BEA-GEC", 1_203, "bea-gec", "bea-gec", "BEA-2019", "BEA-2019 shared task: the essays (json/ or m2/)",
         first="**/*.json*"),
    Part("Enron", 372, "email", "enron", "public record", "the Enron e-mail set (maildir)"),
)  # fmt: skip
# The paper's splits: 23,652 / 2,042 / 2,045 rows.
_WRITE: Final = Write(validation=0.0736, test=0.0737)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: the paper's rows, those of this build (None before it was made), and what to do."""

    part: Part
    there: bool
    rows: int | None = None

    @property
    def missing(self) -> int:
        """Rows that the paper has and this build has not."""
        return self.part.rows if self.rows is None and not self.there else max(0, self.part.rows - (self.rows or 0))


def parts_in(folder: Path) -> tuple[Row, ...]:
    """Which sources lie below a folder, each in the folder that ``PARTS`` names.

    Raises:
        InputError: none does.
    """
    found = tuple(Row(part, _is_there(folder / part.folder, part.kind)) for part in PARTS)
    if not any(row.there for row in found):
        raise InputError(
            "none of the paper's sources lies here",
            where=str(folder),
            fix=f"put what you have into folders of these names: {', '.join(part.folder for part in PARTS)}",
        )
    return found


def _is_there(folder: Path, kind: ReaderKind) -> bool:
    """Whether a folder holds a file that its kind reads."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return any(readable(kind, [name]) for name in names)


def longform_build(folder: Path, backend: Backend, name: str = "longform") -> Build:
    """The build file of what is there: the paper's numbers by source, one C4 page near each of as many centres.

    The paper took half of C4 by its upvotes on Reddit, which the pages do not say; here all of it is taken for
    diversity.
    """
    there = [row.part for row in parts_in(folder) if row.there]
    quotas = {part.source: part.rows for part in there}
    web = next((part for part in there if part.source == "C4"), None)
    diversity = Diversity(clusters=web.rows, sources=(web.source,)) if web else None
    return Build(
        name=name,
        sources=tuple(_source(part, folder) for part in there),
        select=Select(quotas=Quotas(by_source=quotas), diversity=diversity),
        instruct=Instruct(backend=backend),
        write=_WRITE,
    )


def _source(part: Part, folder: Path) -> Source:
    place = folder / part.folder
    return Source(
        name=part.source,
        kind=part.kind,
        path=str(place / part.first if part.first and any(place.glob(part.first)) else place),
        licence=part.licence,
        per_subset=50 if part.kind == "stackexchange" else None,
    )


def compared(rows: tuple[Row, ...], made: Mapping[str, int]) -> tuple[Row, ...]:
    """The table with what a build made of each source."""
    return tuple(Row(row.part, row.there, made.get(row.part.source, 0)) for row in rows)


def table(rows: tuple[Row, ...]) -> str:
    """The table as text: paper, here, missing, and where the missing comes from."""
    lines = [f"{'source':22} {'paper':>7} {'here':>7} {'missing':>8}"]
    for row in rows:
        here = "-" if not row.there else "there" if row.rows is None else f"{row.rows:,}"
        lines.append(f"{row.part.source:22} {row.part.rows:7,} {here:>7} {row.missing:8,}")
    total, made = sum(row.part.rows for row in rows), sum(row.rows or 0 for row in rows)
    missing = sum(row.missing for row in rows)
    lines.append(f"{'total':22} {total:7,} {made or '-':>7} {missing:8,}")
    absent = [row.part for row in rows if not row.there]
    lines += ["", "not there:"] if absent else []
    lines += [f"  {part.folder + '/':22} {part.get}" for part in absent]
    return "\n".join(lines)
