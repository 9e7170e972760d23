"""Reading a few files without an executor around it."""

from collections import Counter as Counts
from dataclasses import dataclass
from pathlib import Path

from lft.corpus.document import Document
from lft.corpus.read.found import SourceFile
from lft.corpus.read.kinds import items_of
from lft.corpus.read.places import listed
from lft.corpus.read.steps import documents
from lft.corpus.schema import Source
from lft.corpus.step import Counter


@dataclass(frozen=True)
class Reading:
    documents: list[Document]
    cut: dict[str, int]  # by reason, without the source's name

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.documents]

    @property
    def only(self) -> Document:
        (one,) = self.documents
        assert not self.cut
        return one


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def source_of(kind: str, path: Path | str, **keys) -> Source:
    return Source(**{"name": "x", "kind": kind, "path": str(path), "licence": "CC0", **keys})


def read(kind: str, path: Path | str, **keys) -> Reading:
    """What a source at a path holds."""
    from datatrove.io import get_datafolder

    source, counter = source_of(kind, path, **keys), Counter()
    found, cut = [], Counts()
    for one in listed(source):
        cut.update(dropped.reason for dropped in one.dropped)
        for name in one.files:
            items = items_of(SourceFile(get_datafolder(one.root), name, one.lang), source)
            for flowing in documents(items, name, one.lang, source, counter):
                found.append(Document.of({"id": flowing.id, "text": flowing.text, **flowing.metadata}))
    report = counter.report("read")
    assert report.kept == len(found)
    cut.update({reason.removeprefix("x: "): one.count for reason, one in report.cut.items()})
    return Reading(found, dict(cut))
