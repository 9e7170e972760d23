"""The data set as it is used: a file for each split, a card, and the build file that made it.

train.jsonl  validation.jsonl  test.jsonl  [*.parquet]  README.md  build.yaml  report.md  report.html
"""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from lft.corpus.beyond.rewrite import SCORE as FAITHFULNESS
from lft.corpus.card import card
from lft.corpus.document import Pair
from lft.corpus.funnel import funnel
from lft.corpus.page import PAGE, render
from lft.corpus.schema import Build
from lft.corpus.splits import SPLITS, SplitName, components, splits
from lft.corpus.step import Report, read_records
from lft.errors import InputError
from lft.files import write_text
from lft.hub.commit import CARD
from lft.recipe.write import to_yaml

BUILD_FILE: Final = "build.yaml"
REPORT: Final = "report.md"
_BATCH: Final = 1000  # rows of Parquet at once


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there are of what; ``by`` holds tallies of split, source, lang, licence and style."""

    rows: int = 0
    words: int = 0
    rewritten: int = 0
    by: dict[str, Tally[str]] = field(default_factory=dict)


def write_dataset(build: Build, pairs: Path, near: Mapping[str, str], out: Path, before: Sequence[Report]) -> Report:
    """Write a data set's folder.

    Args:
        build: what it was made by.
        pairs: file of ``Pair.record()`` lines; it is read twice and never held.
        near: of a document's id, the name of its group of near-duplicates.
        out: an existing folder.
        before: reports of the steps so far.

    Raises:
        InputError: no pair is left, or none to train on.
    """
    groups = components(_pairs(pairs), near)
    where = splits(groups, build.write, build.seed)
    if "train" not in where.values():
        raise InputError(
            f"{len(where)} pairs are left, and none to train on",
            where=str(pairs),
            fix="look at what was cut: lft corpus show",
        )
    counts = _write_rows(build, pairs, where, out)
    figures = {
        "rows": counts.rows,
        "words": counts.words,
        "rewritten": counts.rewritten,
        "groups": len(set(groups.values())),
        **{name: dict(sorted(tally.items())) for name, tally in sorted(counts.by.items())},
    }
    report = Report("write", counts.rows, counts.rows, {}, figures)
    write_text(out / BUILD_FILE, to_yaml(build))
    write_text(out / REPORT, funnel([*before, report]))
    write_text(out / PAGE, render(build.name, [*before, report]))
    write_text(out / CARD, card(build, [*before, report]))
    return report


def _pairs(path: Path) -> Iterator[Pair]:
    return (Pair.of(record) for record in read_records(path))


def _write_rows(build: Build, pairs: Path, where: Mapping[str, SplitName], out: Path) -> Counts:
    """All rows to the files of their splits."""
    names = sorted({name for pair in _pairs(pairs) for name in pair.scores})
    rows = words = rewritten = 0
    by: dict[str, Tally[str]] = {key: Tally() for key in ("split", "source", "lang", "licence", "style")}
    with ExitStack() as stack:
        files = {split: _Files(stack, out, split, build.write.formats, names) for split in SPLITS}
        for pair in _pairs(pairs):
            split = where[pair.id]
            files[split].add(pair)
            rows, words = rows + 1, words + len(pair.output.split())
            rewritten += FAITHFULNESS in pair.scores
            said = {"split": split, "source": pair.source, "lang": pair.lang, "licence": pair.licence}
            for key, value in {**said, "style": pair.style}.items():
                by[key][value] += 1
    return Counts(rows, words, rewritten, by)


class _Files:
    """The files of one split, opened at its first row: a split without rows has none."""

    def __init__(self, stack: ExitStack, out: Path, split: str, formats: Sequence[str], scores: Sequence[str]) -> None:
        self._stack, self._out, self._split = stack, out, split
        self._formats, self._scores = formats, scores
        self._lines: TextIO | None = None
        self._columns: _Parquet | None = None

    def add(self, pair: Pair) -> None:
        """One row; every row has the same keys, or readers of tables would stumble."""
        row = {**pair.record(), "scores": {name: pair.scores.get(name) for name in self._scores}}
        if "jsonl" in self._formats:
            if self._lines is None:
                path = self._out / f"{self._split}.jsonl"
                self._lines = self._stack.enter_context(path.open("w", encoding="utf-8"))
            self._lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        if "parquet" in self._formats:
            if self._columns is None:
                self._columns = _Parquet(self._out / f"{self._split}.parquet", self._scores)
                self._stack.callback(self._columns.close)
            self._columns.add(row)


class _Parquet:
    """Rows to one Parquet file, a batch at a time."""

    def __init__(self, path: Path, scores: Sequence[str]) -> None:
        import pyarrow
        import pyarrow.parquet

        texts = [one for one in Pair.__dataclass_fields__ if one != "scores"]
        fields = [pyarrow.field(one, pyarrow.string()) for one in texts]
        if scores:
            kind = pyarrow.struct([(name, pyarrow.float64()) for name in scores])
            fields.append(pyarrow.field("scores", kind))
        self._schema = pyarrow.schema(fields)
        self._table = pyarrow.Table.from_pylist
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append({name: row[name] for name in self._schema.names})
        if len(self._rows) >= _BATCH:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table(self._rows, schema=self._schema))
            self._rows = []
