"""comparison.json: every number of a comparison, for other tools; null stands for no value."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from lft.evaluate.compare import Comparison, Effect, Tested
from lft.evaluate.compare_pairs import Entry, Pairing
from lft.evaluate.statistics import Difference
from lft.evaluate.summary import without_nan
from lft.files import write_text

COMPARISON: Final = "comparison.json"
FORMAT: Final = 1


def save_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write comparison.json into a folder, and return its path.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    path = folder / COMPARISON
    write_text(path, json.dumps(as_json(comparison), ensure_ascii=False, indent=1) + "\n")
    return path


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON holds it; the texts of wins and losses stay in the results."""
    return {
        "format": FORMAT,
        "subjects": [_entry(entry) for entry in comparison.entries],
        "baseline": comparison.labels[0],
        "effort": asdict(comparison.effort),
        "suites": [_pairing(one, comparison) for one in comparison.pairings],
        "tests": [_test(one, comparison) for one in comparison.tests],
        "cases": [
            {
                "suite": one.suite,
                "subject": comparison.labels[one.other],
                "metric": one.metric.name,
                "item": one.item.id,
                "sample": one.sample,
                "before": one.before,
                "after": one.after,
            }
            for one in comparison.cases
        ],
        "warnings": list(comparison.warnings),
        "notes": list(comparison.notes),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry.subject), "label": entry.label}


def _pairing(one: Pairing, comparison: Comparison) -> dict[str, Any]:
    return {
        **asdict(one.suite),
        "subject": comparison.labels[one.other],
        "items": one.items,
        "rows": one.rows,
        "only_baseline": one.only_before,
        "only_subject": one.only_after,
        "notes": list(one.notes),
    }


def _test(one: Tested, comparison: Comparison) -> dict[str, Any]:
    floor = one.floor and {
        "before": without_nan(one.floor.before),
        "after": without_nan(one.floor.after),
        "gain_beyond": _difference(one.floor.net),
    }
    return {
        "suite": one.suite.name,
        "subject": comparison.labels[one.other],
        "metric": one.metric.name,
        "better": one.metric.better,
        **_effect(one.whole),
        "p_holm": without_nan(one.holm),
        "floor": floor,
        "won": one.won,
        "lost": one.lost,
        "parts": [{"kind": part.part.kind, "value": part.part.value, **_effect(part)} for part in one.parts],
    }


def _effect(one: Effect) -> dict[str, Any]:
    return {"before": without_nan(one.before), "after": without_nan(one.after), **_difference(one.difference)}


def _difference(one: Difference) -> dict[str, Any]:
    said = {key: without_nan(value) for key, value in asdict(one).items()}
    said["difference"] = said.pop("value")
    return said | ({"note": one.note} if one.note else {})
