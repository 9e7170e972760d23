"""Clauses about length that are true of a text: "Respond in 3 sentences." (longform-paper §2, with right plurals)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lft.corpus.instruct import draw
from lft.data.sentences import paragraphs, sentences

Kind = Literal["sentences", "words", "paragraphs", "manner"]
_BRIEF: Final = 3  # fewer sentences than this are brief
_DETAILED: Final = 10  # more than this are detailed
_MOST: Final = 40  # of sentences or paragraphs: nobody asks for 173


@dataclass(frozen=True, slots=True)
class Wording:
    """A language's clauses; each number has as many forms as ``plural`` tells apart."""

    plural: Callable[[int], int]
    sentences: tuple[str, ...]
    words: tuple[str, ...]
    paragraphs: tuple[str, ...]
    briefly: str
    detailed: str


def _two(n: int) -> int:
    return 0 if n == 1 else 1


def _french(n: int) -> int:
    return 0 if n < 2 else 1


def _russian(n: int) -> int:
    if n % 10 == 1 and n % 100 != 11:
        return 0
    return 1 if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else 2


WORDINGS: Final[Mapping[str, Wording]] = {
    "en": Wording(
        _two,
        ("Respond in {n} sentence.", "Respond in {n} sentences."),
        ("Respond in {n} word.", "Respond in {n} words."),
        ("Respond in {n} paragraph.", "Respond in {n} paragraphs."),
        "Respond briefly.",
        "Respond in detail.",
    ),
    "de": Wording(
        _two,
        ("Antworte in {n} Satz.", "Antworte in {n} Sätzen."),
        ("Antworte mit {n} Wort.", "Antworte mit {n} Wörtern."),
        ("Antworte in {n} Absatz.", "Antworte in {n} Absätzen."),
        "Antworte kurz.",
        "Antworte ausführlich.",
    ),
    "es": Wording(
        _two,
        ("Responde en {n} frase.", "Responde en {n} frases."),
        ("Responde con {n} palabra.", "Responde con {n} palabras."),
        ("Responde en {n} párrafo.", "Responde en {n} párrafos."),
        "Responde brevemente.",
        "Responde detalladamente.",
    ),
    "fr": Wording(
        _french,
        ("Réponds en {n} phrase.", "Réponds en {n} phrases."),
        ("Réponds en {n} mot.", "Réponds en {n} mots."),
        ("Réponds en {n} paragraphe.", "Réponds en {n} paragraphes."),
        "Réponds brièvement.",
        "Réponds en détail.",
    ),
    "ru": Wording(
        _russian,
        ("Объём ответа: {n} предложение.", "Объём ответа: {n} предложения.", "Объём ответа: {n} предложений."),
        ("Объём ответа: {n} слово.", "Объём ответа: {n} слова.", "Объём ответа: {n} слов."),
        ("Объём ответа: {n} абзац.", "Объём ответа: {n} абзаца.", "Объём ответа: {n} абзацев."),
        "Ответь кратко.",
        "Ответь подробно.",
    ),
}


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
