"""BEA-2019 essays: the essay in, the corrected essay out, with every edit applied where it belongs.

The release of LongForm has doubled spaces and broken words there ("absolutelyery crucial"): edits applied from left to
right move the places of those that follow, and an empty correction leaves two spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text, chance
from lft.corpus.read.rows import Row
from lft.corpus.schema import Source

TEMPLATES: Final = {
    "en": (
        "Correct the mistakes in this text.\n\n{text}",
        "{text}\n\nRewrite the text above without its errors of grammar, spelling and punctuation.",
        "I am learning English. Please fix what is wrong in my text and change nothing else:\n\n{text}",
        "{text}\n\nWhat would this read like in correct English?",
        "Proofread the following and give me the corrected version.\n\n{text}",
    ),
    "de": (
        "Korrigiere die Fehler in diesem Text.\n\n{text}",
        "{text}\n\nSchreibe den Text oben ohne seine Fehler in Grammatik, Rechtschreibung und Zeichensetzung.",
    ),
    "es": (
        "Corrige los errores de este texto.\n\n{text}",
        "{text}\n\nReescribe el texto anterior sin sus errores de gramática, ortografía y puntuación.",
    ),
    "fr": (
        "Corrige les fautes de ce texte.\n\n{text}",
        "{text}\n\nRéécris le texte ci-dessus sans ses fautes de grammaire, d'orthographe et de ponctuation.",
    ),
    "ru": (
        "Исправь ошибки в этом тексте.\n\n{text}",
        "{text}\n\nПерепиши текст выше без грамматических, орфографических и пунктуационных ошибок.",
    ),
}
_BEFORE_MARK: Final = re.compile(r" +(?=[.,;:!?%)\]]|n't\b|'(?:s|re|ve|ll|d|m)\b)")
_AFTER_BRACKET: Final = re.compile(r"(?<=[(\[]) +")


@dataclass(frozen=True, slots=True)
class Edit:
    """``text`` in the place of what is from ``start`` to ``end``: characters of an essay, tokens of a sentence."""

    start: int
    end: int
    text: str


def gec_row(row: Row, place: str, _source: Source, lang: str) -> Iterator[Item]:
    """An essay of W&I or LOCNESS: text, and edits [[annotator, [[start, end, correction], …]], …]; the first counts."""
    essay = as_text(row.get("text"))
    edits = _edits(row.get("edits"))
    if not essay.strip() or edits is None:
        yield Dropped("no essay with edits", place, str(row))
        return
    corrected = apply_edits(essay, edits)
    if corrected is None:
        yield Dropped("its edits overlap or are outside the text", place, essay)
        return
    place = f"#{as_text(row.get('id'))}" if row.get("id") else place
    yield _item(essay, corrected, place, as_text(row.get("cefr")), lang)


def read_m2(file: SourceFile, _source: Source) -> Iterator[Item]:
    """Sentences of an M2 file (it does not say where an essay ends); the first annotator's edits of tokens count."""
    block: list[str] = []
    number = 0
    with file.lines() as stream:
        for line in stream:
            if line.strip():
                block.append(line.rstrip("\r\n"))
            elif block:
                number += 1
                yield _sentence(block, f"#{number}", file.lang)
                block = []
    if block:
        yield _sentence(block, f"#{number + 1}", file.lang)


def apply_edits(text: str, edits: Sequence[Edit]) -> str | None:
    """A text with all edits made, from the last to the first so that none moves another; None where they clash.

    Spaces that an edit would leave doubled, or before a full stop, are taken out; others are the author's.
    """
    last = len(text)
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        if not 0 <= edit.start <= edit.end <= last:
            return None
        last = edit.start
        before, after = text[: edit.start], text[edit.end :]
        text = _joined(before, edit.text, after)
    return text


def _joined(before: str, new: str, after: str) -> str:
    if new.startswith(" ") and (before.endswith(" ") or not before):
        # the space belongs on the other side, if a word would begin there
        new = new.lstrip(" ") + (" " if new.strip() and after[:1].isalnum() and not new.endswith(" ") else "")
    if not new:
        if before.endswith((" ", "\n")) or not before:
            after = after.lstrip(" ")
        if before.endswith(" ") and after[:1] in (".", ",", ";", ":", "!", "?", "\n", ""):
            before = before[:-1]
    elif new.endswith(" ") and after.startswith(" "):
        new = new.rstrip(" ")
    return before + new + after


def _edits(value: object) -> list[Edit] | None:
    """The first annotator's edits. A correction that is null marks an error that nobody corrected: it stays."""
    try:
        annotations: Any = value
        return [Edit(start, end, new) for start, end, new, *_ in annotations[0][1] if new is not None]
    except (TypeError, ValueError, IndexError, KeyError):
        return None


def _sentence(block: Sequence[str], place: str, lang: str) -> Item:
    if not block[0].startswith("S "):
        return Dropped("a block does not begin with a sentence", place, block[0])
    tokens = block[0][2:].split()
    try:
        edits = [edit for line in block[1:] if (edit := _m2_edit(line))]
    except (ValueError, IndexError):
        return Dropped("an edit cannot be read", place, "\n".join(block))
    last = len(tokens)
    corrected = list(tokens)
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        if not 0 <= edit.start <= edit.end <= last:
            return Dropped("its edits overlap or are outside the text", place, block[0])
        last = edit.start
        corrected[edit.start : edit.end] = edit.text.split()
    return _item(_detokenised(tokens), _detokenised(corrected), place, "", lang)


def _m2_edit(line: str) -> Edit | None:
    """`A start end|||type|||correction|||REQUIRED|||-NONE-|||annotator`; None for no error, or another annotator."""
    span, kind, new, _, _, annotator = line.removeprefix("A ").split("|||")
    start, end = (int(number) for number in span.split())
    if kind in ("noop", "UNK") or int(annotator) != 0:
        return None
    return Edit(start, end, "" if new == "-NONE-" else new)


def _detokenised(tokens: Sequence[str]) -> str:
    return _AFTER_BRACKET.sub("", _BEFORE_MARK.sub("", " ".join(tokens)))


def _item(essay: str, corrected: str, place: str, level: str, lang: str) -> Item:
    if essay.split() == corrected.split():
        return Dropped("nothing to correct", place, essay)
    templates = TEMPLATES.get(lang)
    if templates is None:
        return Dropped(f"there is no wording in {lang} that asks for corrections", place, essay)
    template = templates[int(chance(essay, "gec") * len(templates))]
    question = template.replace("{text}", essay.strip())
    return Found(corrected, place, question=question, subset=level, style="template")
