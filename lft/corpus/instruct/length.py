"""Clauses about length that are true of a text: "Respond in 3 sentences." (longform-paper §2, with right plurals)."""

from __future__ import annotations

from typing import Final, Literal

from lft.corpus.instruct import draw
from lft.data.clauses import WORDINGS, Wording
from lft.data.sentences import paragraphs, sentences

Kind = Literal["sentences", "words", "paragraphs", "manner"]
_BRIEF: Final = 3  # fewer sentences than this are brief
_DETAILED: Final = 10  # more than this are detailed
_MOST: Final = 40  # of sentences or paragraphs: nobody asks for 173


def true_clauses(text: str, lang: str, wording: str | None = None) -> dict[Kind, str]:
    """What may truly be said of a text's length, in its language or in that of ``wording``.

    Words are what white space divides. Sentences are counted only where the count is certain, paragraphs where a text
    has several. Nothing for a language that has no wording here.
    """
    said = WORDINGS.get(wording or lang)
    if said is None or not text.strip():
        return {}
    found, parts, words = sentences(text, lang), len(paragraphs(text)), len(text.split())
    clauses: dict[Kind, str] = {"words": _filled(said, said.words, words)}
    if found.certain and found.count <= _MOST:
        clauses["sentences"] = _filled(said, said.sentences, found.count)
    if 1 < parts <= _MOST:
        clauses["paragraphs"] = _filled(said, said.paragraphs, parts)
    if found.certain and found.count < _BRIEF:
        clauses["manner"] = said.briefly
    elif found.certain and found.count > _DETAILED:
        clauses["manner"] = said.detailed
    return clauses


def _filled(said: Wording, forms: tuple[str, ...], n: int) -> str:
    return forms[said.plural(n)].replace("{n}", str(n))


def drawn_clause(text: str, lang: str, wording: str, part: float, seed: int, id: str) -> str:
    """The clause that a document's instruction gets, or nothing: ``part`` is the share of those that get one."""
    if draw.share(seed, "length", id) >= part:
        return ""
    clauses = true_clauses(text, lang, wording)
    return clauses[draw.one_of(sorted(clauses), seed, "length kind", id)] if clauses else ""


def with_clause(instruction: str, clause: str, first: bool) -> str:
    """Instruction (which ends in a mark) and clause, one before the other."""
    if not clause:
        return instruction
    return f"{clause} {instruction}" if first else f"{instruction} {clause}"
