"""One run of the instruct step against an endpoint, in a process that may be killed: URL FOLDER COUNT [CONCURRENCY]."""

from __future__ import annotations

import sys
from pathlib import Path

from lft.ask.endpoint import Endpoint
from lft.corpus.document import Document
from lft.corpus.instruct.run import instruct
from lft.corpus.schema import Build

LANGS = ("en", "de", "es", "fr", "ru", "pl")


def documents(count: int) -> list[Document]:
    """Documents with all that the step tells apart: languages, lengths, a question of their own."""
    return [
        Document(
            id=f"{n * 7919 % 100_003:016x}",
            text=f"Document number {n}. " + "It says more. " * (n % 14) + ("\n\nAnd an end." if n % 3 else ""),
            source="made",
            lang=LANGS[n % len(LANGS)],
            licence="CC0-1.0",
            where=f"made:{n}",
            question="Who asks?" if n % 11 == 5 else "",
        )
        for n in range(count)
    ]


def build(**instruct: object) -> Build:
    usual = {"backend": {"kind": "openai", "model": "stub", "url": "http://x/v1"}}
    source = {"name": "made", "kind": "text", "path": "x", "licence": "CC0-1.0"}
    return Build.model_validate({"name": "t", "sources": (source,), "instruct": {**usual, **instruct}})


def run(url: str, folder: Path, count: int, concurrency: int) -> None:
    model = Endpoint("stub", url, concurrency=concurrency, timeout=20.0, first_wait=0.01)
    step = folder / "3-instruct"
    step.mkdir(parents=True, exist_ok=True)
    instruct(build(), documents(count), step, model, lambda line: None)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 8)
