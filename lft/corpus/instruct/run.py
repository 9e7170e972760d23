"""The instruct step: ask for what the ledger lacks, then make every pair from the ledger.

build/<name>/ledger.jsonl             every answer that a model gave; only grows
             3-instruct/pairs.jsonl   one pair a document, sorted by id: the same however often a run was killed
"""

from __future__ import annotations

from collections import Counter as Numbers
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.ask.asking import Asked, ask
from lft.ask.ledger import Ledger, open_ledger
from lft.ask.meter import Spent
from lft.ask.request import Model
from lft.corpus.document import Document, Pair
from lft.corpus.instruct.plan import answered, asked_by_a_person, has_question, question, wording_of
from lft.corpus.pairs import write_sorted
from lft.corpus.schema import Build
from lft.corpus.step import OPEN, Counter, Report, kind_of, open_notes
from lft.data.clauses import WORDINGS

LEDGER: Final = "ledger.jsonl"
PAIRS: Final = "pairs.jsonl"
Notify = Callable[[str], None]


def instruct(build: Build, documents: Iterable[Document], folder: Path, answer: Model, notify: Notify) -> Report:
    """Write ``folder/pairs.jsonl`` with an instruction for each document; the ledger lies beside the folder.

    Args:
        build: the build file.
        documents: read twice, so no iterator; their ids differ.
        folder: of the step; it is there.
        answer: the model that writes instructions.
        notify: told what is odd, and now and then how far it is.

    Raises:
        LftError: the model refuses, its budget is spent, the disk is full; what was answered is in the ledger.
    """
    if iter(documents) is documents:
        raise TypeError("documents are read twice: give a collection, not an iterator")
    with open_ledger(folder.parent / LEDGER, notify) as ledger:
        requests = (question(build, one, answer).request for one in documents if not has_question(one))
        done = ask(answer, requests, ledger, notify)
        return _Pairs(build, answer, ledger, done).written(documents, folder / PAIRS)


class _Pairs:
    """Makes pairs from the ledger, and counts."""

    def __init__(self, build: Build, model: Model, ledger: Ledger, done: Asked) -> None:
        self.build, self.model, self.ledger, self.done = build, model, ledger, done
        self.counter = Counter()
        self.styles: Numbers[str] = Numbers()
        self.langs: Numbers[str] = Numbers()
        self.clauses = 0
        self.unworded: Numbers[str] = Numbers()
        self.spent = Spent()

    def written(self, documents: Iterable[Document], path: Path) -> Report:
        """All pairs in a file, sorted by id."""
        write_sorted(path, self._all(documents))
        return self._report()

    def _all(self, documents: Iterable[Document]) -> Iterator[Pair]:
        for document in documents:
            self.counter.came += 1
            pair = self._pair(document)
            if pair is not None:
                yield pair

    def _pair(self, document: Document) -> Pair | None:
        pair = asked_by_a_person(document) if has_question(document) else self._from_ledger(document)
        if pair is not None:
            self.styles[pair.style] += 1
            self.langs[pair.lang] += 1
            self.clauses += bool(pair.length_clause)
        return pair

    def _from_ledger(self, document: Document) -> Pair | None:
        put = question(self.build, document, self.model)
        key = put.request.key(self.model.name)
        entry = self.ledger.get(key)
        if entry is None:
            self.counter.cut(kind_of(self.done.failed.get(key, "no answer")), document.id, document.text)
            return None
        self.spent += entry.spent
        pair = answered(self.build, document, put, entry.text, entry.finish)
        if isinstance(pair, str):
            self.counter.cut(pair, document.id, entry.text or document.text)
            return None
        if (wording := wording_of(self.build, document)) not in WORDINGS:
            self.unworded[wording] += 1
        return pair

    def _report(self) -> Report:
        figures = {
            "styles": dict(sorted(self.styles.items())),
            "languages": dict(sorted(self.langs.items())),
            "length clauses": self.clauses,
            "answers": self.spent.answers,
            "answered in this run": self.done.answered,
            "tokens read": self.spent.tokens_in,
            "tokens written": self.spent.tokens_out,
            "money": round(self.model.limits.money(self.spent), 6),
            OPEN: self.done.open,
        }
        return self.counter.report("instruct", figures, tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        yield "styles and length clauses are drawn by hash, so their shares are met up to chance"
        if self.unworded and self.build.instruct.length_clauses:
            found = ", ".join(f"{lang} ({count:,})" for lang, count in sorted(self.unworded.items()))
            yield f"there are no length clauses in {found}"
        yield from open_notes(self.done.open)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build would ask: ``requests`` new ones, tokens and money at most. ``counted_by`` says how well."""

    documents: int
    with_question: int
    known: int
    requests: int
    tokens_in: int
    tokens_out: int
    money: float
    counted_by: str


def estimate(build: Build, documents: Iterable[Document], folder: Path, model: Model) -> Estimate:
    """What ``instruct`` would ask; nothing is asked, and no ledger is made where there is none."""
    path = folder.parent / LEDGER
    if not path.exists():
        return _estimate(build, documents, model, None)
    with open_ledger(path) as ledger:
        return _estimate(build, documents, model, ledger)


def _estimate(build: Build, documents: Iterable[Document], model: Model, ledger: Ledger | None) -> Estimate:
    counts: Numbers[str] = Numbers()
    for document in documents:
        counts["documents"] += 1
        if has_question(document):
            counts["with_question"] += 1
            continue
        request = question(build, document, model).request
        if ledger is not None and request.key(model.name) in ledger:
            counts["known"] += 1
            continue
        counts["requests"] += 1
        counts["tokens_in"] += model.count(request.prompt)
        counts["tokens_out"] += request.sampling.max_tokens
    money = model.limits.money(Spent(0, counts["tokens_in"], counts["tokens_out"]))
    return Estimate(
        counts["documents"], counts["with_question"], counts["known"], counts["requests"], counts["tokens_in"],
        counts["tokens_out"], money, model.counted_by,
    )  # fmt: skip
