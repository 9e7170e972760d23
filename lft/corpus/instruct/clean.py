"""From a model's reply to an instruction: quotes, labels, politeness and numbering go; what is none has a reason.

The defects of LongForm's release are what this prevents: quotes left around an instruction, no mark between it and the
clause about length (research note §1.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lft.corpus.document import Style
from lft.corpus.instruct.prompts import HERE

_PAIRS: Final = (
    ('"', '"'), ("'", "'"), ("“", "”"), ("”", "”"), ("„", "“"), ("„", "”"), ("‘", "’"), ("‚", "‘"), ("«", "»"),
    ("»", "«"), ("‹", "›"), ("›", "‹"), ("「", "」"), ("『", "』"), ("```", "```"), ("`", "`"), ("**", "**"),
    ("__", "__"), ("*", "*"),
)  # fmt: skip
_LABELS: Final = (
    "[xqa]|instructions?|prompt|message|query|question|user|request|task|input|"
    "anweisung|anfrage|nachricht|suchanfrage|frage|nutzer|aufgabe|instrucci[oó]n|mensaje|consulta|pregunta|usuario|"
    "requête|consigne|utilisateur|инструкция|сообщение|запрос|вопрос|пользователь|задание"
)
_ARTICLES: Final = (
    "the|a|an|possible|reverse|detailed|informal|search|user's|die|la|el|le|formlose|informelle|подробный"
)
_LABEL: Final = re.compile(
    rf"[#>*_\s]*(?:(?:{_ARTICLES})\s+)*(?:{_LABELS})(?:\s+(?:x|is|are|ist|sind|lautet|es|son|est|sont))*\s*[*_]*\s*[:：]\s*[*_]*\s*",
    re.IGNORECASE,
)
_SURE: Final = (
    "sure|certainly|of course|absolutely|gerne?|natürlich|selbstverständlich|claro|por supuesto|bien sûr|конечно"
)
_HERE_IS: Final = "here(?:'s|’s| is| are)|hier ist|aquí (?:está|tienes)|voici|вот"
_POLITE: Final = re.compile(
    rf"(?:{_SURE})\b(?: thing)?(?:[^:\n]{{0,160}}:\s+(?=\S)|\s*[!.,]+\s+)"
    rf"|(?:{_HERE_IS})\b[^:\n]{{0,80}}\b(?:{_LABELS})\b[^:\n]{{0,80}}(?::\s*|\.\s*\n\s*)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\(?\d{1,2}[.)]\s+|[-*•–]\s+")
_NEXT_PART: Final = re.compile(
    r"\n\s*[*_#]*(?:output|reply|response|answer|document|ausgabe|antwort|dokument|salida|respuesta|documento|réponse|"
    rf"ответ|документ|{_LABELS})\s*[*_]*\s*[:：].*",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHT: Final = re.compile(r"\s*<think>.*?(?:</think>|$)", re.DOTALL)
_REFUSAL: Final = re.compile(
    r"(?:i['’]m sorry|i apologi[sz]e|sorry,|as an ai\b|i (?:can(?:no|['’])t|am unable to) "
    r"(?:help|assist|write|provide)|(?:es )?tut mir leid|als ki\b|lo siento|como (?:modelo|una ia)\b|"
    r"je suis désolée?|désolée?,|en tant qu['’]ia|извините|к сожалению, я|как (?:языковая модель|ии)\b)",
    re.IGNORECASE,
)
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_ENDS: Final = re.compile(r"[.!?…。！？؟।]$")
_LOOSE: Final = " \t\n,;:–—-"
_CLOSERS: Final = "\"'”’»›)]*_`"
_ASKS: Final = re.compile(
    r"(?:how|what|why|who|which|where|(?:can|could|would) you|do you|is there|"
    r"wie|was|warum|wer|welche[rsmn]?|wo|wofür|(?:kannst|könntest) du|gibt es|"
    r"¿.*|cómo|qué|por qué|quién|cuáles?|dónde|puedes|podrías|"
    r"comment|quel(?:le)?s?|pourquoi|qui|où|(?:peux|pourrais)-tu|est-ce que|"
    r"как|что|почему|кто|как(?:ой|ая|ие)|где|зачем|можешь ли ты)\b",
    re.IGNORECASE,
)
_COPIED: Final = 8  # words in a row that are a copy and no chance


@dataclass(frozen=True, slots=True)
class Cleaned:
    """An instruction, or the reason why a reply is none."""

    text: str = ""
    reason: str = ""


def cleaned(reply: str, finish: str, frame: str, document: str, style: Style) -> Cleaned:
    """The instruction in a reply.

    Args:
        reply: what the model said.
        finish: why it ended; "length" where it was cut off.
        frame: the prompt with ``HERE`` where the document stands.
        document: the text that the instruction is for.
        style: a query keeps its own end, other instructions end in a mark.
    """
    said = _THOUGHT.sub("", reply).strip()
    if not said:
        return Cleaned(reason="only thoughts" if reply.strip() else "empty")
    head = words(frame.partition(HERE)[0])
    if words(said)[: len(head)] == head:
        return Cleaned(reason="the prompt itself")
    text, whole = _first_part(said)
    if not re.search(r"[^\W_]", text) or words(text) == ["x"]:
        return Cleaned(reason="empty")
    if _is_prompt(text, frame):
        return Cleaned(reason="the prompt itself")
    if _repeats(text, document):
        return Cleaned(reason="repeats the document's beginning")
    if _REFUSAL.match(text):
        return Cleaned(reason="the model refused")
    if finish == "length" and whole and not _ends(text):
        return Cleaned(reason="cut off at max_tokens")
    return Cleaned(_marked(text, style))


def words(text: str) -> list[str]:
    """Words without case and punctuation, to compare by."""
    return re.findall(r"[^\W_]+", text.casefold())


def ended(text: str) -> str:
    """A text with a mark at its end: its own, else a question mark or a full stop."""
    if _ends(text):
        return text
    asks = _ASKS.match(text) and "," not in text
    return f"{text}?" if asks else f"{text}."


def _ends(text: str) -> bool:
    return bool(_ENDS.search(text.rstrip(_CLOSERS) or text))


def _marked(text: str, style: Style) -> str:
    return text if style == "search-engine" else ended(text)


def _first_part(said: str) -> tuple[str, bool]:
    """The first paragraph without what stands around it, and whether it is all that was said."""
    text = _bare(said)
    first = _PARAGRAPH.split(_NEXT_PART.sub("", "\n" + text).strip(), maxsplit=1)[0]
    if _NUMBER.match(first):
        first = _NUMBER.sub("", first, count=1).split("\n", 1)[0]
    whole = text.endswith(first)
    return " ".join(_bare(first).rstrip(_LOOSE).split()), whole


def _bare(text: str) -> str:
    """Without labels, politeness and the quotes around all of it, in whatever order they stand."""
    for _ in range(8):
        before = text = text.strip()
        text = _POLITE.sub("", text, count=1) if _POLITE.match(text) else text
        text = text[found.end() :] if (found := _LABEL.match(text)) and text[found.end() :].strip() else text
        text = _unquoted(text)
        if text == before:
            break
    return text.strip()


def _unquoted(text: str) -> str:
    for opening, closing in _PAIRS:
        if not text.startswith(opening) or len(text) <= len(opening) + len(closing):
            continue
        inner, mark = text[len(opening) :], ""
        if text[-1] in ".!?" and inner[:-1].endswith(closing):  # "Describe it".
            inner, mark = inner[:-1], text[-1]
        if inner.endswith(closing) and _wraps(inner.removesuffix(closing), opening, closing):
            inner = inner.removesuffix(closing).strip()
            return inner if _ENDS.search(inner) else inner + mark
        if closing not in inner and opening not in "'*`_":  # never closed
            return inner
    return text


def _wraps(inner: str, opening: str, closing: str) -> bool:
    """Whether quotes belong together: not those of `"A" and "B"`."""
    if opening != closing:
        depth = 0
        for letter in inner:
            depth += (letter == opening) - (letter == closing)
            if depth < 0:
                return False
        return depth == 0
    place = inner.find(opening)
    return place <= 0 or opening == "'" or inner[place - 1].isspace()


def _is_prompt(text: str, frame: str) -> bool:
    own = words(text)
    return len(own) >= 3 and f" {' '.join(own)} " in f" {' '.join(words(frame))} "


def _repeats(text: str, document: str) -> bool:
    """Whether an instruction begins as the document does, or as what stands below its title."""
    own, begin = words(text), document.lstrip()[: 4 * len(text) + 400]
    return any(_shared(own, words(part)) for part in (begin, begin.partition("\n")[2]))


def _shared(own: list[str], there: list[str]) -> bool:
    pairs = zip(own, there, strict=False)
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(own), len(there)))
    return same >= _COPIED or same == len(own) > 0
