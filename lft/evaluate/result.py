"""A result on the disk: one suite, one subject, every text and every number that its scores are made of.

<place>/<suite>/   result.json   what was asked, of whom, how it was counted, what was left out, the scores
                   rows.jsonl    each item, its answer, and what each metric saw in it
                   manifest.json sha256 of both, written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lft.errors import InputError
from lft.evaluate.item import Item, Output, Row, Wanted
from lft.evaluate.metric import Floats
from lft.files import MANIFEST, json_lines, new_folder, require_whole, write_text

RESULT: Final = "result.json"
ROWS: Final = "rows.jsonl"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Subject:
    """Who answered: ``label`` for people, ``identity`` by content (model, stack, prompt format), the rest in words."""

    label: str
    identity: str
    kind: Literal["model", "adapters", "endpoint", "file"]
    base: str = ""
    adapters: tuple[str, ...] = ()
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class SuiteRef:
    """The suite as it was run: ``digest`` covers its file and its items, ``offline`` says that it was the small set.

    ``places`` are what its items were read from, with commit or sha256; ``left_out`` counts rows that became no item,
    by reason. The same items from another place are the same suite.
    """

    name: str
    version: int
    digest: str
    offline: bool
    places: tuple[str, ...] = field(default=(), compare=False)
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One metric over all rows, in their order.

    ``sums`` is [rows x k] (NaN: no value), ``floor`` the same against references of other items, where the metric
    compares with a reference. ``variants`` says for each language how it was counted.
    """

    metric: str
    sums: Floats
    variants: Mapping[str, str]
    floor: Floats | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that a metric (or with ``metric`` None every one) has no value for, and why."""

    item: str
    sample: int
    metric: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """One suite answered by one subject. ``decoding`` is how tokens were chosen, in words of the library."""

    suite: SuiteRef
    subject: Subject
    decoding: Mapping[str, float | int | bool]
    rows: tuple[Row, ...]
    columns: Mapping[str, Column]
    left_out: tuple[LeftOut, ...]
    made: str
    versions: Mapping[str, str]


def save_result(result: Result, folder: Path, scores: Mapping[str, Any]) -> None:
    """Write a result whole; ``scores`` is the summary that other tools may read, and is not read back.

    Raises:
        MachineError: the disk is full; nothing is left half-written.
    """
    with new_folder(folder) as draft:
        head = {
            "format": FORMAT,
            "suite": asdict(result.suite),
            "subject": asdict(result.subject),
            "decoding": dict(result.decoding),
            "variants": {name: dict(one.variants) for name, one in result.columns.items()},
            "left_out": [asdict(one) for one in result.left_out],
            "made": result.made,
            "versions": dict(result.versions),
            "scores": scores,
        }
        write_text(draft / RESULT, json.dumps(head, ensure_ascii=False, indent=1) + "\n")
        lines = (_line(result, number) for number in range(len(result.rows)))
        write_text(draft / ROWS, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines))


def _line(result: Result, number: int) -> dict[str, Any]:
    row = result.rows[number]
    sums = {name: _numbers(one.sums[number]) for name, one in result.columns.items()}
    floors = {name: _numbers(one.floor[number]) for name, one in result.columns.items() if one.floor is not None}
    return {"item": asdict(row.item), "output": asdict(row.output), "sums": sums, "floor": floors}


def _numbers(values: Floats) -> list[float] | None:
    """A row's numbers; None for one without a value (JSON has no NaN)."""
    return None if np.isnan(values).any() else values.tolist()


def load_result(folder: Path) -> Result:
    """A result as it was saved.

    Raises:
        InputError: there is none, it is not whole, or it is of a newer lft.
    """
    if not (folder / RESULT).is_file() or not (folder / MANIFEST).is_file():
        raise InputError(
            "there is no result of an evaluation here", where=str(folder), fix="make one: lft evaluate run"
        )
    require_whole(folder, "the result")
    head = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if head.get("format") != FORMAT:
        raise InputError(f"a result of format {head.get('format')}; this lft reads {FORMAT}", where=str(folder))
    lines, _ = json_lines(folder / ROWS)
    subject = head["subject"] | {"adapters": tuple(head["subject"]["adapters"])}
    return Result(
        SuiteRef(**head["suite"] | {"places": tuple(head["suite"].get("places", ()))}),
        Subject(**subject),
        head["decoding"],
        tuple(_row(line) for line in lines),
        {name: _column(name, variants, lines) for name, variants in head["variants"].items()},
        tuple(LeftOut(**one) for one in head["left_out"]),
        head["made"],
        head["versions"],
    )


def _row(line: dict[str, Any]) -> Row:
    item = line["item"] | {"wanted": tuple(Wanted(**one) for one in line["item"]["wanted"])}
    return Row(Item(**item), Output(**line["output"]))


def _column(name: str, variants: Mapping[str, str], lines: Sequence[dict[str, Any]]) -> Column:
    floors = [line["floor"].get(name) for line in lines]
    held = any(name in line["floor"] for line in lines)
    return Column(name, _matrix([line["sums"][name] for line in lines]), variants, _matrix(floors) if held else None)


def _matrix(rows: Sequence[list[float] | None]) -> Floats:
    width = next((len(row) for row in rows if row is not None), 2)
    return np.array([row if row is not None else [np.nan] * width for row in rows], dtype=np.float64).reshape(-1, width)


def results_below(place: Path) -> list[Path]:
    """Folders of results in a place, or that place itself; sorted.

    Raises:
        InputError: there is none.
    """
    found = sorted(path.parent for path in place.rglob(RESULT)) if place.is_dir() else []
    if not found:
        raise InputError("there is no result of an evaluation here", where=str(place), fix="make one: lft evaluate")
    return found
