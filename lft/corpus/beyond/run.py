"""The options past the paper in their order: translated documents join, texts are rewritten, constraints are added."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from lft.ask.asking import Notify
from lft.ask.ledger import Ledger
from lft.ask.request import Model
from lft.corpus.beyond.constraints import constrain
from lft.corpus.beyond.rewrite import rewrite
from lft.corpus.beyond.told import Told
from lft.corpus.beyond.translate import Models, by_translation
from lft.corpus.document import Document, Pair
from lft.corpus.load import Asked
from lft.corpus.pairs import Pairs, write_pairs, write_sorted
from lft.corpus.schema import Build
from lft.corpus.step import OPEN, Counter, Report, open_notes

PAIRS: Final = "pairs.jsonl"


def go_beyond(
    build: Build,
    documents: Iterable[Document],
    pairs: Path,
    out: Path,
    model: Callable[[Asked], Model],
    ledger: Ledger,
    notify: Notify,
) -> Report:
    """Write ``out/pairs.jsonl``, sorted by id; without options, the pairs as they came.

    Args:
        build: ``beyond`` says what is asked.
        documents: all that were selected, gone through several times; those of ``beyond.translate`` have no pair yet.
        pairs: file of the others' pairs.
        out: an existing folder.
        model: opens a backend.
        ledger: of all answers.
        notify: told what takes long.

    Raises:
        LftError: a model cannot be had or refuses.
    """
    wanted, counter, told = build.beyond, Counter(), Told()
    with tempfile.TemporaryDirectory(dir=out) as drafts:
        there: Iterable[Pair] = Pairs(pairs)
        if wanted.translate is not None:
            both = Models(
                model(Asked("beyond.translate.backend", wanted.translate.backend)),
                model(Asked("instruct.backend", build.instruct.backend)),
            )
            found = by_translation(build, wanted.translate, documents, both, ledger, notify, counter, told)
            write_sorted(Path(drafts, "translated"), chain(there, found))
            there = Pairs(Path(drafts, "translated"))
        if wanted.rewrite is not None:
            opened = model(Asked("beyond.rewrite.backend", wanted.rewrite.backend))
            write_pairs(Path(drafts, "rewritten"), rewrite(build, wanted.rewrite, there, opened, ledger, notify, told))
            there = Pairs(Path(drafts, "rewritten"))
        if wanted.constraints is not None:
            opened = model(Asked("beyond.constraints.backend", wanted.constraints.backend))
            there = constrain(build, wanted.constraints, there, opened, ledger, notify, told)
        written = write_pairs(out / PAIRS, there)
    counter.came = written + counter.removed
    return counter.report("beyond", {**told.figures, OPEN: told.open}, open_notes(told.open))
