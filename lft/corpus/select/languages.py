"""Is a text in the language that its source says? Untranslated pages are the commonest fault of translated sources."""

from __future__ import annotations

from lft.corpus.document import Document
from lft.corpus.language import checkable, detected, same_language
from lft.corpus.schema import Languages


def mismatch(document: Document, wanted: Languages) -> str | None:
    """Why a document is not in the language that its source says, else None.

    ``document.detected`` that agrees is believed. One that differs is looked at again here, since it says nothing
    about how sure it is.
    """
    if same_language(document.detected, document.lang) or not checkable(document.lang):
        return None
    found, confidence = detected(document.text)
    if not found or confidence < wanted.min_confidence or same_language(found, document.lang):
        return None
    return f"text is {found}, but its source says {document.lang}"
