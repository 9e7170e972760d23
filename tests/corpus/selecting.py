"""Documents and builds for tests of selection."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lft.corpus.document import Document
from lft.corpus.schema import Build
from lft.corpus.select import select
from lft.corpus.select.words import words
from lft.corpus.step import Report, read_records

OFF = {
    "language": {"check": False},
    "quality": {
        "min_words": 1,
        "gopher": False,
        "repetition": False,
        "boilerplate": False,
    },
    "duplicates": {"exact": False, "near": False},
    "contamination": {"suites": ()},
}
"""Every step switched off."""

_WORDS = words(
    "the be to of and that have with a in is it for on you are this as or was not river mountain bread garden window "
    "letter winter music teacher village colour harbour engine market forest island bridge summer kitchen valley"
)


def prose(lot: random.Random, count: int = 120) -> str:
    """Sentences that Gopher's rules take for text; two of them have nothing in common but short turns of phrase."""
    said = [lot.choice(_WORDS) if lot.random() < 0.6 else made_up(lot) for _ in range(count)]
    return ". ".join(" ".join(said[i : i + 12]).capitalize() for i in range(0, count, 12)) + "."


def made_up(lot: random.Random) -> str:
    return "".join(lot.choice("bdfgklmnprst") + lot.choice("aeiou") for _ in range(lot.randint(2, 4)))


def document(number: int, text: str, source: str = "one", lang: str = "en", detected: str = "") -> Document:
    return Document(f"{number:016x}", text, source, lang, "CC0-1.0", f"page-{number}", detected=detected or lang)


def written(folder: Path, documents: Sequence[Document], files: int = 3) -> Path:
    """As the read step leaves them: by source, in numbered files."""
    for source in {one.source for one in documents}:
        mine = [one for one in documents if one.source == source]
        for index in range(files):
            path = folder / source / f"{index:05d}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(one.record(), ensure_ascii=False) for one in mine[index::files]]
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def build(sources: Sequence[str] = ("one", "two"), tasks: int = 1, workers: int = 1, **wanted: Any) -> Build:
    """A build whose steps are all off but those in ``wanted``."""
    return Build.model_validate(
        {
            "name": "tried",
            "sources": [{"name": name, "kind": "text", "path": "x", "licence": "x"} for name in sources],
            "instruct": {"backend": {"kind": "transformers", "model": "x"}},
            "select": {**OFF, **wanted},
            "run": {"tasks": tasks, "workers": workers},
        }
    )


def selected(
    folder: Path, documents: Sequence[Document], wanted: Build, name: str = "out"
) -> tuple[Report, list[Document]]:
    """The report and the documents that are left, in the order of their ids."""
    place = folder / "documents"
    if not place.exists():
        written(place, documents)
    report = select(wanted, place, folder / name, lambda line: None)
    return report, left_in(folder / name)


def left_in(folder: Path) -> list[Document]:
    found = [Document.of(record) for path in sorted(folder.glob("[0-9]*.jsonl")) for record in read_records(path)]
    return sorted(found, key=lambda one: one.id)


def renamed(one: Document, number: int, **changes: Any) -> Document:
    return replace(one, id=f"{number:016x}", where=f"page-{number}", **changes)
