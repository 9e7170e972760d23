"""Rules of thumb that tell text from noise: datatrove's Gopher and C4 filters with words of any language."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import numpy as np
from datatrove.data import Document as Page
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from numpy.typing import NDArray

from lft.corpus.document import Document
from lft.corpus.schema import Quality
from lft.corpus.select.boilerplate import is_boilerplate
from lft.corpus.select.function_words import function_words
from lft.corpus.select.words import (
    SHINGLE,
    UNICODE_WORDS,
    UNSPACED_LANGUAGES,
    Hashes,
    rows_of_words,
    shingles,
    word_hashes,
    words,
)

_REASONS: Final = {
    "gopher_below_avg_threshold": "words too short on average, under 3 letters (Gopher)",
    "gopher_above_avg_threshold": "words too long on average, over 10 letters (Gopher)",
    "gopher_too_many_hashes": "too many # signs (Gopher)",
    "gopher_too_many_ellipsis": "too many ellipses (Gopher)",
    "gopher_too_many_bullets": "over 90 % of lines are bullet points (Gopher)",
    "gopher_too_many_end_ellipsis": "over 30 % of lines end in an ellipsis (Gopher)",
    "gopher_below_alpha_threshold": "over 20 % of words have no letter (Gopher)",
    "gopher_enough_stop_words": "fewer than two function words: no running text (Gopher)",
    "dup_para_frac": "over 30 % of paragraphs are repeated (Gopher)",
    "dup_para_char_frac": "over 20 % of characters are in repeated paragraphs (Gopher)",
    "dup_line_frac": "over 30 % of lines are repeated (Gopher)",
    "dup_line_char_frac": "over 20 % of characters are in repeated lines (Gopher)",
    "lorem_ipsum": "has placeholder text, lorem ipsum (C4)",
    "curly_bracket": "has curly brackets, looks like code (C4)",
    "too_few_sentences": "fewer than 5 sentences in lines that end in punctuation (C4)",
}
_BULLET_LINE: Final = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]\s*[-•]")
_TOP_GRAMS: Final = ((2, 0.2), (3, 0.18), (4, 0.16))  # datatrove's (and the paper's) shares, for the bound below
_LEAST_REPEATED: Final = 0.10  # of the shares of repeated 5- to 10-grams the smallest


def in_c4_lines(document: Document) -> tuple[str | None, str]:
    """What C4's rules say: why the document is cut (or None), and its text without the lines that they remove."""
    page = Page(text=document.text, id=document.id)
    return _reason(_c4().filter(page)), page.text


def too_short_or_long(document: Document, wanted: Quality) -> str | None:
    """Why a document has too few or too many words, else None."""
    count = len(words(document.text)) if document.lang in UNSPACED_LANGUAGES else document.words
    if count < max(wanted.min_words, 1) or not words(document.text):
        return f"fewer than {max(wanted.min_words, 1)} words"
    return f"more than {wanted.max_words} words" if count > wanted.max_words else None


def boilerplate(document: Document) -> str | None:
    """Why a document is frame and not content, else None."""
    return "mostly navigation, cookie banner or licence notice" if is_boilerplate(document.text) else None


def gopher_quality(document: Document) -> str | None:
    """Why Gopher's rules on words, symbols and bullets cut a document, else None; it must have words."""
    rules = _gopher(document.lang)
    if plainly_text(document.text, rules):
        return None
    return _reason(rules.filter(Page(text=document.text, id=document.id)))


def plainly_text(text: str, rules: GopherQualityFilter) -> bool:
    """True only where none of Gopher's rules on words, symbols and bullets can apply (False says nothing).

    Said in a sixth of the time, of nearly all running text.
    """
    found = words(text)
    lines = max(text.count("\n"), 1)  # at least; the bounds below only need that
    ellipses = text.count("...") + text.count("…")
    if max(text.count("#"), ellipses) > 0.1 * len(found) or ellipses > 0.3 * lines or "_" in text:
        return False
    if not _usual_length(found, rules) or len(_BULLET_LINE.findall("\n" + text)) > 0.9 * lines:
        return False
    if sum(map(str.isalpha, found)) < 0.8 * len(found):  # all letters: stricter than one letter
        return False
    return rules.min_stop_words is None or len(rules.stop_words.intersection(found)) >= rules.min_stop_words


def _usual_length(found: list[str], rules: GopherQualityFilter) -> bool:
    if rules.min_avg_word_length is None:
        return True
    return bool(rules.min_avg_word_length <= sum(map(len, found)) / len(found) <= rules.max_avg_word_length)


def gopher_repetition(document: Document) -> str | None:
    """Why Gopher's rules on repeated lines and n-grams cut a document, else None; it must have words.

    The rules on n-grams walk over a text nine times. Bounds that take a tenth of the time show for most texts that they
    cannot cut them. (datatrove also takes an n-gram that stands there once for the commonest one, and so cuts short
    texts of long words; here a phrase must be repeated.)
    """
    rules = _repetition(*possible_rules(document.text))
    return _reason(rules.filter(Page(text=document.text, id=document.id)))


def possible_rules(text: str) -> tuple[tuple[tuple[int, float], ...], bool]:
    """Which of Gopher's rules on the commonest n-gram can apply, and whether any on repeated n-grams can."""
    return _top_rules(text), not _few_repeated(text)


def _few_repeated(text: str) -> bool:
    """Every word of a repeated 5- to 10-gram lies in a repeated 5-gram; so count the letters of those."""
    found = shingles(text)
    ordered = np.sort(found)
    if not (ordered[1:] == ordered[:-1]).any():
        return True
    repeated = np.ones(found.size, dtype=bool)
    repeated[np.unique(found, return_index=True)[1]] = False
    lengths = _lengths(text)
    covered = np.zeros(lengths.size, dtype=bool)
    for offset in range(SHINGLE):
        covered[offset : offset + found.size] |= repeated
    return bool(lengths[covered].sum() <= _LEAST_REPEATED * len(text))


def _top_rules(text: str) -> tuple[tuple[int, float], ...]:
    """The commonest n-gram takes at most its number times the longest n-gram's letters and spaces."""
    hashes, widest = word_hashes(text), max(map(len, words(text)))
    often, possible = hashes.size, []
    for count, share in _TOP_GRAMS:
        if hashes.size < count or often < 2:  # no longer n-gram is commoner than the shorter ones in it
            break
        if often * (count * (widest + 1) - 1) <= share * len(text):
            continue
        often = _most(rows_of_words(hashes, count))
        if often > 1 and often * _longest(text, count) > share * len(text):
            possible.append((count, share))
    return tuple(possible)


def _longest(text: str, count: int) -> int:
    """Letters and spaces of the longest ``count`` words in a row."""
    ends = np.concatenate(([0], np.cumsum(_lengths(text))))
    return int((ends[count:] - ends[:-count]).max()) + count - 1


def _lengths(text: str) -> NDArray[np.int64]:
    return np.fromiter(map(len, words(text)), dtype=np.int64)


def _most(found: Hashes) -> int:
    """How often the commonest value is there."""
    ordered = np.sort(found)
    last = np.flatnonzero(ordered[1:] != ordered[:-1])
    if last.size == 0:
        return int(ordered.size)
    return int(max(last[0] + 1, ordered.size - 1 - last[-1], np.diff(last).max(initial=0)))


def _reason(verdict: bool | tuple[bool, str]) -> str | None:
    if verdict is True:
        return None
    said = verdict[1] if isinstance(verdict, tuple) else "no reason given"
    if said.startswith("top_"):
        return "one short phrase makes up a sixth of the text or more (Gopher)"
    if said.startswith("duplicated_"):
        return "a tenth of the text or more is in repeated phrases (Gopher)"
    return _REASONS.get(said, said)


@lru_cache(maxsize=256)
def _gopher(lang: str) -> GopherQualityFilter:
    known = function_words(lang)
    unspaced = lang in UNSPACED_LANGUAGES  # a character counts as a word there
    return GopherQualityFilter(
        min_doc_words=None,  # how many words is asked for above, in words that people count
        max_doc_words=None,
        min_avg_word_length=None if unspaced else 3,
        max_avg_word_length=None if unspaced else 10,
        min_stop_words=2 if known else None,
        stop_words=sorted(known or ()),
        language=UNICODE_WORDS,
    )


@lru_cache(maxsize=16)
def _repetition(top: tuple[tuple[int, float], ...], repeated: bool) -> GopherRepetitionFilter:
    if repeated:
        return GopherRepetitionFilter(top_n_grams=top, language=UNICODE_WORDS)
    return GopherRepetitionFilter(top_n_grams=top, dup_n_grams=(), language=UNICODE_WORDS)


@lru_cache(maxsize=1)
def _c4() -> C4QualityFilter:
    return C4QualityFilter(language=UNICODE_WORDS)
