"""Instructions by way of English, for languages in which a model reads better than it writes (MURI, arXiv 2409.12958).

document ──translate──▶ English ──instruct──▶ English instruction ──translate──▶ instruction
    └─────────────────────────── stays as it is: the answer ───────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Message, Model, Request
from lft.corpus.beyond.told import Told
from lft.corpus.document import Document, Pair
from lft.corpus.instruct import draw
from lft.corpus.instruct.excerpt import excerpt
from lft.corpus.instruct.plan import answered, has_question, lengthened, question
from lft.corpus.instruct.prompts import language_name
from lft.corpus.schema import Build, Instruct, Translate
from lft.corpus.step import Counter, step_digest

NO_TRANSLATION = "no whole translation"


@dataclass(frozen=True, slots=True)
class Models:
    """Who translates, and who writes instructions."""

    translator: Model
    writer: Model


def takes_it(wanted: Translate | None, document: Document) -> bool:
    """Whether a document's instruction comes by translation."""
    return wanted is not None and document.lang in wanted.langs and not has_question(document)


def by_translation(
    build: Build, wanted: Translate, documents: Iterable[Document], models: Models, ledger: Ledger, notify: Notify,
    counter: Counter, told: Told,
) -> Iterator[Pair]:  # fmt: skip
    """Pairs of the documents that ``takes_it``; those that give none are counted.

    Args:
        build: how instructions are asked for.
        wanted: its options.
        documents: gone through four times; others are passed over.
        models: who translates, who writes.
        ledger: of their answers; what is not in it yet is not held either.
        notify: told how far it is.
        counter: takes those that give no pair.
        told: takes the figures.

    Raises:
        LftError: asking must stop; what was answered is in the ledger.
    """
    way = _Way(build, wanted, models, ledger)
    those = partial(filter, partial(takes_it, wanted))
    for model, requests in (
        (models.translator, map(way.to_english, those(documents))),
        (models.writer, way.to_be_written(those(documents))),
        (models.translator, way.to_native(those(documents))),
    ):
        told.open += ask(model, requests, ledger, notify).open
    count = 0
    for one in those(documents):
        pair = way.pair(one)
        if isinstance(pair, str):
            counter.cut(pair, one.id, one.text)
            continue
        count += 1
        yield pair
    told.figures["by translation"] = count


@dataclass(frozen=True, slots=True)
class _Way:
    """The three requests of a document; each but the first is made of the answer to the one before."""

    build: Build
    wanted: Translate
    models: Models
    ledger: Ledger

    @property
    def _plain(self) -> Build:
        return self.build.model_copy(update={"instruct": _without_clauses(self.build.instruct)})

    def to_english(self, one: Document) -> Request:
        """The first."""
        return translation_request(self.wanted, one.id, one.text, "English", self.models.translator)

    def to_be_written(self, documents: Iterable[Document]) -> Iterator[Request]:
        """The second, of those that were translated."""
        plain = self._plain
        for one in documents:
            if english := self._english(one):
                yield question(plain, english, self.models.writer).request

    def to_native(self, documents: Iterable[Document]) -> Iterator[Request]:
        """The third, of those that got an instruction."""
        for one in documents:
            written = self._written(one)
            if isinstance(written, Pair):
                yield self._back(one, written)

    def pair(self, one: Document) -> Pair | str:
        """What became of a document, or why it gives no pair."""
        written = self._written(one)
        if isinstance(written, str):
            return written
        native = self._whole(self._back(one, written))
        if not native:
            return NO_TRANSLATION
        instruction, clause = lengthened(self.build, one, native)
        return replace(written, input=instruction, output=one.text, lang=one.lang, length_clause=clause)

    def _english(self, one: Document) -> Document | None:
        text = self._whole(self.to_english(one))
        return replace(one, text=text, lang="en") if text else None

    def _written(self, one: Document) -> Pair | str:
        english = self._english(one)
        if english is None:
            return NO_TRANSLATION
        put = question(self._plain, english, self.models.writer)
        entry = self.ledger.get(put.request.key(self.models.writer.name))
        return answered(self._plain, english, put, entry.text, entry.finish) if entry else "no answer"

    def _back(self, one: Document, written: Pair) -> Request:
        name = language_name(one.lang)
        return translation_request(self.wanted, one.id, written.input, name, self.models.translator)

    def _whole(self, request: Request) -> str:
        """The answer; a translation that was cut off is none."""
        entry = self.ledger.get(request.key(self.models.translator.name))
        return entry.text.strip() if entry and entry.finish == "stop" else ""


def _without_clauses(instruct: Instruct) -> Instruct:
    return instruct.model_copy(update={"length_clauses": 0.0, "language": "en"})


def translation_request(wanted: Translate, id: str, text: str, language: str, model: Model) -> Request:
    """What is asked for a text."""
    shown = excerpt(text, wanted.backend.max_tokens, model.count)
    whole = f"Translate this text into {language}. Write the translation and nothing else.\n\n{shown}"
    asked: tuple[Message, ...] | str = (
        (Message("user", whole),) if model.form == "chat" else f"{whole}\n\nTranslation:\n"
    )
    seed = draw.number(wanted.backend.seed, f"translate {language}", id)
    return Request(id, step_digest({"translate": language}, text), asked, sampling_of(wanted.backend), seed)
