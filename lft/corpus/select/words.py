"""Words, sentences and hashed n-grams of any language: what filters, duplicates and contamination all look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from unicodedata import normalize

import numpy as np
import xxhash
from datatrove.utils.word_tokenizers import WordTokenizer
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# Vowel signs that are part of a word, and that Python's \w leaves out: Latin, Hebrew, Arabic, Indic scripts.
_MARKS: Final = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
# Thai, Lao, Burmese, Khmer, kana, Han: no space divides words, so each character counts as one.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[\w{_MARKS}]+")
_HAS_UNSPACED: Final = re.compile(rf"[{_UNSPACED}]")
_WORD_OR_CHARACTER: Final = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w{_MARKS}])+")
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'»”’)\]]*(?=\s)|[。！？]+[」』）]*")
_KNOWN_WORDS: Final = 1 << 17  # hashes of words that are kept at hand: about 15 MB
SHINGLE: Final = 5  # words
_TIMES: Final = np.uint64(0x9E3779B97F4A7C15)

UNSPACED_LANGUAGES: Final = frozenset({"bo", "ja", "km", "lo", "my", "th", "wuu", "yue", "zh"})


@lru_cache(maxsize=4)  # one document is asked for its words by every filter in turn
def words(text: str) -> list[str]:
    """The words of a text without case, punctuation and compatibility forms; one character each in unspaced scripts."""
    plain = normalize("NFKC", text).casefold()
    pattern = _WORD_OR_CHARACTER if _HAS_UNSPACED.search(plain) else _WORD
    return pattern.findall(plain)


class _Known(dict[str, bytes]):
    """Words' hashes, forgotten when there are too many: texts repeat their words, and hashing one costs 1 µs."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        found = self[word] = xxhash.xxh3_64_digest(word.encode("utf-8", "surrogatepass"))
        return found


_KNOWN: Final = _Known()


@lru_cache(maxsize=4)
def word_hashes(text: str) -> Hashes:
    """One 64-bit hash a word of ``words``, the same on every machine."""
    return np.frombuffer(b"".join(map(_KNOWN.__getitem__, words(text))), dtype="<u8")


def rows_of_words(hashes: Hashes, size: int) -> Hashes:
    """A number for each ``size`` words in a row, shape ``[words - size + 1]``; of fewer words one, of all of them.

    Equal numbers mean equal words. They are no hashes: their bits are not spread evenly.
    """
    size = min(size, hashes.size)
    found = hashes[: hashes.size - size + 1].copy() if size else hashes[:0]
    for offset in range(1, size):
        found *= _TIMES
        found += hashes[offset : offset + found.size]
    return found


def grams(hashes: Hashes, size: int) -> Hashes:
    """Hashes of each ``size`` words in a row; see ``rows_of_words``."""
    return mixed(rows_of_words(hashes, size))


@lru_cache(maxsize=4)
def shingles(text: str) -> Hashes:
    """Hashes of a text's word 5-grams, in the order of the text."""
    hashes = grams(word_hashes(text), SHINGLE)
    hashes.flags.writeable = False
    return hashes


def mixed(x: Hashes) -> Hashes:
    """The finaliser of splitmix64: each input bit moves about half of the output bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


class UnicodeWords(WordTokenizer):  # type: ignore[misc]
    """datatrove's way to be given a tokenizer: words as ``words`` has them, sentences by their final punctuation."""

    def word_tokenize(self, text: str) -> list[str]:
        """As ``words``."""
        return words(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Sentences without the white space around them."""
        return [text[a:b].strip() for a, b in self.span_tokenize(text)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each sentence."""
        return list(_sentences(text))


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for end in (found.end() for found in _SENTENCE_END.finditer(text)):
        yield begin, end
        begin = end
    if text[begin:].strip():
        yield begin, len(text)


UNICODE_WORDS: Final = UnicodeWords()  # one object: datatrove remembers tokenizers by identity
