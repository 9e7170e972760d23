"""Clauses about the length of an answer, in five languages: written into instructions, and read out of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["words", "sentences", "paragraphs", "steps"]


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


def asked_lengths(instruction: str) -> Iterator[tuple[int, Unit]]:
    """The lengths that an instruction asks for: in a clause of ``WORDINGS``, or "in 5 steps" as WikiHow's do."""
    for unit, pattern in _PATTERNS:
        for found in pattern.finditer(instruction):
            yield int(found[1]), unit


def _patterns() -> Iterator[tuple[Unit, re.Pattern[str]]]:
    forms: list[tuple[Unit, str]] = [("steps", "in {n} step"), ("steps", "in {n} steps")]
    for said in WORDINGS.values():
        forms += [("words", form) for form in said.words]
        forms += [("sentences", form) for form in said.sentences]
        forms += [("paragraphs", form) for form in said.paragraphs]
    for unit, form in forms:
        before, _, after = form.rstrip(".").partition("{n}")
        yield unit, re.compile(rf"\b{re.escape(before)}(\d{{1,5}}){re.escape(after)}\b", re.IGNORECASE)


_PATTERNS: Final = tuple(_patterns())
