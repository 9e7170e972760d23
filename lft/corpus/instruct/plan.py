"""What is asked for a document, and what becomes of the reply: pure functions of the build and the document."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lft.ask.opened import sampling_of
from lft.ask.request import Model, Request
from lft.corpus.document import Document, Pair
from lft.corpus.instruct import draw
from lft.corpus.instruct.clean import cleaned, ended
from lft.corpus.instruct.excerpt import excerpt
from lft.corpus.instruct.length import drawn_clause, with_clause
from lft.corpus.instruct.prompts import Asked, asked, frame
from lft.corpus.schema import Build, Styles


@dataclass(frozen=True, slots=True)
class Question:
    """The request for a document's instruction, its style, and the prompt without the document."""

    request: Request
    style: Asked
    frame: str


def has_question(document: Document) -> bool:
    """Whether a person wrote the instruction: then no model is asked."""
    return bool(document.question.strip())


def style_of(styles: Styles, seed: int, id: str) -> Asked:
    """A document's style, by hash."""
    shares: dict[Asked, float] = {
        "instruction": styles.instruction,
        "chatbot": styles.chatbot,
        "search-engine": styles.search_engine,
    }
    return draw.by_share(shares, seed, "style", id)


def question(build: Build, document: Document, model: Model) -> Question:
    """What the model is asked for a document."""
    wanted, backend = build.instruct, build.instruct.backend
    style = style_of(wanted.styles, build.seed, document.id)
    framed = frame(model.form, style, document.lang, english=wanted.language == "en")
    shown = excerpt(document.text, wanted.document_tokens, model.count)
    digest = hashlib.sha256(f"{document.id}\x1f{document.text}".encode("utf-8", "surrogatepass")).hexdigest()
    seed = draw.number(backend.seed, "request", document.id)
    request = Request(document.id, digest, asked(model.form, framed, shown), sampling_of(backend), seed)
    return Question(request, style, framed)


def answered(build: Build, document: Document, put: Question, text: str, finish: str) -> Pair | str:
    """The pair that a reply gives, or the reason why it gives none."""
    found = cleaned(text, finish, put.frame, document.text, put.style)
    if found.reason:
        return found.reason
    instruction, clause = lengthened(build, document, found.text)
    return _pair(document, instruction, put.style, clause)


def asked_by_a_person(document: Document) -> Pair:
    """The pair of a document that has its question."""
    return _pair(document, document.question.strip(), document.style or "human", "")


def wording_of(build: Build, document: Document) -> str:
    """The language of a document's instruction."""
    return "en" if build.instruct.language == "en" else document.lang


def lengthened(build: Build, document: Document, instruction: str) -> tuple[str, str]:
    """The instruction with its clause about length, where it gets one, and the clause."""
    part, wording = build.instruct.length_clauses, wording_of(build, document)
    clause = drawn_clause(document.text, document.lang, wording, part, build.seed, document.id)
    if not clause:
        return instruction, ""
    first = draw.share(build.seed, "length place", document.id) < 0.5
    return with_clause(ended(instruction), clause, first), clause


def _pair(document: Document, instruction: str, style: Asked | str, clause: str) -> Pair:
    return Pair(
        input=instruction,
        output=document.text,
        source=document.source,
        subset=document.subset or style,
        id=document.id,
        lang=document.lang,
        licence=document.licence,
        style=style,  # type: ignore[arg-type]
        length_clause=clause,
        where=document.where,
    )
