"""Instructions by way of English, for languages in which a model reads better than it writes (MURI, arXiv 2409.12958).

document ──translate──▶ English ──instruct──▶ English instruction ──translate──▶ instruction
    └─────────────────────────── stays as it is: the answer ───────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Message, Model, Request
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
    counter: Counter,
) -> list[Pair]:  # fmt: skip
    """Pairs of the documents that ``takes_it``; those that give none are counted.

    Raises LftError when asking must stop; what was answered is in the ledger.
    """
    known = list(documents)
    counter.came += len(known)
    there = {one.id: _asked(wanted, one.id, one.text, "English", models.translator) for one in known}
    english = _answers(there, models.translator, ledger, notify)
    plain = build.model_copy(update={"instruct": _without_clauses(build.instruct)})
    translated = [replace(one, text=english[one.id], lang="en") for one in known if english.get(one.id)]
    put = {one.id: question(plain, one, models.writer) for one in translated}
    ask(models.writer, (one.request for one in put.values()), ledger, notify)
    written: dict[str, Pair] = {}
    reasons: dict[str, str] = {}
    for one in translated:
        entry = ledger.get(put[one.id].request.key(models.writer.name))
        usable = entry is not None and not entry.reason
        pair = answered(plain, one, put[one.id], entry.text, entry.finish) if entry and usable else "no answer"
        if isinstance(pair, Pair):
            written[one.id] = pair
        else:
            reasons[one.id] = pair
    lang = {one.id: language_name(one.lang) for one in known}
    back = {id: _asked(wanted, id, pair.input, lang[id], models.translator) for id, pair in written.items()}
    native = _answers(back, models.translator, ledger, notify)
    return _pairs(build, known, written, native, reasons, counter)


def _pairs(
    build: Build, known: Iterable[Document], written: dict[str, Pair], native: dict[str, str], reasons: dict[str, str],
    counter: Counter,
) -> list[Pair]:  # fmt: skip
    made = []
    for one in known:
        if not native.get(one.id):
            counter.cut(reasons.get(one.id, NO_TRANSLATION), one.id, one.text)
            continue
        instruction, clause = lengthened(build, one, native[one.id])
        pair = written[one.id]
        made.append(replace(pair, input=instruction, output=one.text, lang=one.lang, length_clause=clause))
    return made


def _without_clauses(instruct: Instruct) -> Instruct:
    return instruct.model_copy(update={"length_clauses": 0.0, "language": "en"})


def _asked(wanted: Translate, id: str, text: str, language: str, model: Model) -> Request:
    shown = excerpt(text, wanted.backend.max_tokens, model.count)
    whole = f"Translate this text into {language}. Write the translation and nothing else.\n\n{shown}"
    asked: tuple[Message, ...] | str = (
        (Message("user", whole),) if model.form == "chat" else f"{whole}\n\nTranslation:\n"
    )
    seed = draw.number(wanted.backend.seed, f"translate {language}", id)
    return Request(id, step_digest({"translate": language}, text), asked, sampling_of(wanted.backend), seed)


def _answers(asked: dict[str, Request], model: Model, ledger: Ledger, notify: Notify) -> dict[str, str]:
    """Whole answers by document; a translation that was cut off is none."""
    ask(model, asked.values(), ledger, notify)
    found = {}
    for id, request in asked.items():
        entry = ledger.get(request.key(model.name))
        if entry is not None and not entry.reason and entry.finish == "stop":
            found[id] = entry.text.strip()
    return found
