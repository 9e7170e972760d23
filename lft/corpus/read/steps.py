"""The pipeline of a source as datatrove runs it: readers, language, shards of records. One task writes one shard."""

from __future__ import annotations

import json
from collections import Counter as Counts
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from datatrove.data import Document as Flowing
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.readers.huggingface import HuggingFaceDatasetReader

from lft.corpus.document import Document, document_id
from lft.corpus.language import detected
from lft.corpus.read.clean import clean, clean_line, printable
from lft.corpus.read.draw import Candidates, Draw
from lft.corpus.read.found import Dropped, Found, Item, SourceFile
from lft.corpus.read.kinds import items_of, row_items
from lft.corpus.read.places import Listed
from lft.corpus.schema import Source
from lft.corpus.step import Counter
from lft.data.hub import hub_errors
from lft.files import new_file, write_text

_SHOWN: Final = 1000  # characters of a sample
COUNTS: Final = "counts"  # folder beside datatrove's logs: one file a task


@dataclass(slots=True)
class Figures:
    """What is said about the documents of a source besides how many there are."""

    words: int = 0
    langs: Counts[str] = field(default_factory=Counts)
    otherwise: int = 0  # documents that look like another language than their source says

    def add(self, document: Document) -> None:
        """Count one."""
        self.words += document.words
        self.langs[document.lang] += 1
        self.otherwise += document.detected not in ("", document.lang)

    def merge(self, other: Figures) -> None:
        """Count those of another task."""
        self.words += other.words
        self.langs.update(other.langs)
        self.otherwise += other.otherwise

    @classmethod
    def of(cls, saved: dict[str, Any]) -> Figures:
        """From ``to_json()``."""
        return cls(saved["words"], Counts(saved["langs"]), saved["otherwise"])

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {"words": self.words, "langs": dict(sorted(self.langs.items())), "otherwise": self.otherwise}


class FilesReader(BaseDiskReader):  # type: ignore[misc]
    """The documents of one source under one language; a task reads every n-th file."""

    name = "documents of files"

    def __init__(self, source: Source, listed: Listed, paths_file: Path, counter: Counter) -> None:
        super().__init__(listed.root, paths_file=str(paths_file))
        self.source, self.lang, self.counter = source, listed.lang, counter

    def read_file(self, filepath: str) -> Iterator[Flowing]:
        """What one file holds."""
        file = SourceFile(self.data_folder, filepath, self.lang)
        return documents(items_of(file, self.source), filepath, self.lang, self.source, self.counter)


class HubReader(PipelineStep):  # type: ignore[misc]
    """The documents of a hub data set, streamed by datatrove's reader of `datasets`.

    Its rows have no number that is the same for any number of tasks; one without url or id is told by its text.
    """

    type, name = "📖 - READER", "documents of the hub"

    def __init__(self, source: Source, lang: str, repo: str, options: dict[str, Any], counter: Counter) -> None:
        super().__init__()
        self.source, self.lang, self.repo, self.counter = source, lang, repo, counter
        self.options = options

    def run(self, data: Iterator[Flowing] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Flowing]:
        """The documents of this task's part."""
        yield from data or ()
        reader = HuggingFaceDatasetReader(self.repo, self.options, streaming=True, adapter=_whole_row)
        with hub_errors(self.repo, self.source.revision):
            rows = (("", one.metadata["row"]) for one in reader.run(None, rank, world_size))
            items = row_items(rows, self.source, self.repo, self.lang)
            yield from documents(items, self.repo, self.lang, self.source, self.counter)


class LanguageStep(PipelineStep):  # type: ignore[misc]
    """Notes the language that a text looks like; whether it may differ is decided when documents are selected."""

    type, name = "🌍 - LANGUAGE", "detected"

    def run(self, data: Iterator[Flowing], _rank: int = 0, _world_size: int = 1) -> Iterator[Flowing]:
        """The same documents."""
        for one in data:
            one.metadata["detected"] = detected(one.text)[0]
            yield one


class ShardWriter(PipelineStep):  # type: ignore[misc]
    """Writes what could be drawn as JSON lines into this task's shard, and then what the task has counted."""

    type, name = "💽 - WRITER", "records"

    def __init__(self, shards: Path, logs: Path, draw: Draw, counter: Counter) -> None:
        super().__init__()
        self.shards, self.logs, self.draw, self.counter = shards, logs, draw, counter

    def run(self, data: Iterator[Flowing], rank: int = 0, _world_size: int = 1) -> Iterator[Flowing]:
        """The same documents."""
        candidates, figures = Candidates(self.draw), Figures()
        with new_file(self.shards / f"{rank:05d}.jsonl") as draft, draft.open("w", encoding="utf-8") as stream:
            for one in data:
                document = Document.of({"id": one.id, "text": one.text, **one.metadata})
                figures.add(document)
                if candidates.takes(document.id, document.subset):
                    stream.write(json.dumps(document.record(), ensure_ascii=False) + "\n")
                yield one
        counted = {"report": self.counter.report("read").to_json(), "figures": figures.to_json()}
        write_text(self.logs / COUNTS / f"{rank:05d}.json", json.dumps(counted, ensure_ascii=False))


def documents(items: Iterator[Item], where: str, lang: str, source: Source, counter: Counter) -> Iterator[Flowing]:
    """Cleaned documents of what a reader found; everything else is counted with its reason."""
    for item in items:
        made = _document(item, where, lang, source) if isinstance(item, Found) else item
        if isinstance(made, Dropped):
            counter.came += made.times
            shown = printable(f"{where}{made.place}"), printable(made.text[:_SHOWN])
            counter.cut(f"{source.name}: {made.reason}", *shown, made.times)
            continue
        counter.came += 1
        record = made.record()
        yield Flowing(text=record.pop("text"), id=record.pop("id"), metadata=record)


def _document(found: Found, path: str, lang: str, source: Source) -> Document | Dropped:
    text = clean(found.text)
    if not text:
        return Dropped("no text", found.place, found.title)
    where = clean_line(found.url or f"{path}{found.place}")
    return Document(
        id=document_id(source.name, where, text),
        text=text,
        source=source.name,
        lang=found.lang or lang,
        licence=clean_line(found.licence) or source.licence or "",
        where=where,
        subset=source.subset or clean_line(found.subset),
        title=clean_line(found.title),
        question=clean(found.question),
        style=found.style,
        score=found.score,
    )


def _whole_row(_reader: Any, row: dict[str, Any], _path: str, place: str) -> dict[str, Any]:
    """What datatrove makes of a row: it would drop one without text without counting it, so all have some."""
    return {"text": "row", "id": str(place), "metadata": {"row": row}}
