"""E-mail (mbox, or a message a file as in maildirs): what its author wrote, without headers, quotations, signature.

Addresses in the text stay: screening masks them.
"""

from __future__ import annotations

import email
import email.errors
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Final

from lft.corpus.read.clean import clean_line
from lft.corpus.read.found import Dropped, Found, Item, SourceFile, chance
from lft.corpus.read.markup import html_text
from lft.corpus.schema import Source

TEMPLATES: Final = {
    "en": (
        "Write an e-mail with the subject “{subject}”.",
        "Draft a message about: {subject}",
        "I have to send somebody an e-mail. The subject is “{subject}”. Please write it for me.",
        "Compose the e-mail that belongs under this subject line: {subject}",
        "Help me write to a colleague. Subject: {subject}",
    ),
    "de": (
        "Schreibe eine E-Mail mit dem Betreff „{subject}“.",
        "Ich muss jemandem schreiben. Verfasse bitte die Nachricht zu diesem Betreff: {subject}",
    ),
    "es": (
        "Escribe un correo electrónico con el asunto «{subject}».",
        "Tengo que escribir a alguien. Redacta, por favor, el mensaje para este asunto: {subject}",
    ),
    "fr": (
        "Écris un courriel dont l'objet est « {subject} ».",
        "Je dois écrire à quelqu'un. Rédige, s'il te plaît, le message qui correspond à cet objet : {subject}",
    ),
    "ru": (
        "Напиши электронное письмо с темой «{subject}».",
        "Мне нужно кому-то написать. Составь, пожалуйста, письмо с такой темой: {subject}",
    ),
}  # in any other language a model writes the instruction
_REPLY: Final = re.compile(r"^\s*(?:(?:re|aw|fw|fwd|wg|rv|tr|ha|на)\s*(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)
# what mail programs put above the message that is answered, in five languages
_QUOTED_FROM_HERE: Final = re.compile(
    r"^\s*(?:-{2,}\s*(?:original message|forwarded(?: message)? by\b.*|forwarded message|ursprüngliche nachricht"
    r"|weitergeleitete nachricht|mensaje original|message d'origine|исходное сообщение|пересылаемое сообщение).*"
    r"|_{10,}|from:\s.*|von:\s.*@.*|begin forwarded message:.*)$",
    re.IGNORECASE,
)
_ATTRIBUTION: Final = re.compile(
    r"^\s*(?:on\b.*\bwrote|.*\bwrites|am\b.*\bschrieb\b.*|le\b.*\ba écrit|el\b.*\bescribió|.*\bпишет"
    r"|.*\bписал\(?а?\)?)\s*:\s*$",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(r"^-- ?$")
_MBOX_FROM: Final = re.compile(rb"^From \S+.*\d{4}")
_SURROUNDED: Final = 2  # lines over which an attribution may be broken


def read_email(file: SourceFile, _source: Source) -> Iterator[Item]:
    """The messages of a file, each with a request for it in its language, around its subject."""
    with file.binary() as stream:
        lines = iter(stream)
        first = next(lines, b"")
        if not _MBOX_FROM.match(first):
            yield _message(first + b"".join(lines), "", file.lang)
            return
        number = 1
        message: list[bytes] = []
        for line in lines:
            if _MBOX_FROM.match(line) and (not message or not message[-1].strip()):
                yield _message(b"".join(message), f"#{number}", file.lang)
                number, message = number + 1, []
            else:
                message.append(line)
        yield _message(b"".join(message), f"#{number}", file.lang)


def own_words(body: str) -> str:
    """What is new in a message: nothing quoted, no signature, nothing that follows a forwarded header."""
    kept: list[str] = []
    for line in body.replace("\r\n", "\n").split("\n"):
        if _SIGNATURE.match(line) or _QUOTED_FROM_HERE.match(line):
            break
        if line.lstrip().startswith((">", "|>")):
            _drop_attribution(kept)
            continue
        kept.append(line)
    _drop_attribution(kept)
    return "\n".join(kept).strip()


def _drop_attribution(kept: list[str]) -> None:
    """Take "On Monday Ann wrote:" off the end of what is kept; mail programs break it over two lines."""
    end = len(kept)
    while end and not kept[end - 1].strip():
        end -= 1
    for lines in range(1, _SURROUNDED + 1):
        if end >= lines and _ATTRIBUTION.match(" ".join(kept[end - lines : end])):
            del kept[end - lines :]
            return


def _message(raw: bytes, place: str, lang: str) -> Item:
    try:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        body, subject = _body(message), clean_line(str(message["subject"] or ""))
    except (LookupError, ValueError, TypeError, AttributeError, IndexError, email.errors.MessageError) as error:
        return Dropped("the message cannot be decoded", place, f"{error}: {raw[:200].decode('utf-8', 'replace')}")
    if not message.keys():
        return Dropped("the file is no message", place, raw[:300].decode("utf-8", "replace"))
    text = own_words(body)
    if not text:
        return Dropped("nothing in the message is its author's own", place, body)
    title, templates = _REPLY.sub("", subject), TEMPLATES.get(lang)
    if not title or templates is None:
        return Found(text, place, title=title)
    template = templates[int(chance(subject + text, "email") * len(templates))]
    return Found(text, place, title=title, question=template.replace("{subject}", title), style="template")


def _body(message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    content = part.get_content()
    return html_text(content) if part.get_content_type() == "text/html" else str(content)
