"""ROUGE-1, -2 and -L as rouge-score scores them (F of each row), the longest common subsequence by bit vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.packages import release
from lft.evaluate.metrics.parallel import spread
from lft.evaluate.metrics.reasons import NO_REFERENCE, split
from lft.evaluate.metrics.words import ascii_words, stem_of, words

Common = Callable[[Sequence[str], Sequence[str]], tuple[int, int, int]]
"""Of reference and answer: what they share, and how much of it either could have."""


def tokens(text: str, lang: str) -> list[str]:
    """English as rouge-score takes it with its stemmer; other languages by letters and digits of any script, unstemmed.

    Raises:
        MachineError: NLTK, whose stemmer that is, is not installed.
    """
    stem = stem_of("en") if lang == "en" else None
    if stem is None:
        return words(text)
    return [stem(word) if len(word) > 3 else word for word in ascii_words(text)]


def common_ngrams(reference: Sequence[str], answer: Sequence[str], n: int) -> tuple[int, int, int]:
    """Shared n-grams (each as often as both have it), and how many the two sides have."""
    theirs, mine = (Counter(zip(*(side[skip:] for skip in range(n)), strict=False)) for side in (reference, answer))
    return (theirs & mine).total(), theirs.total(), mine.total()


def common_subsequence(reference: Sequence[str], answer: Sequence[str]) -> tuple[int, int, int]:
    """Length of the longest common subsequence, and the two lengths.

    Hyyrö's bit-vector algorithm: one addition of a number with a bit for each reference word, for each word of the
    answer, so that 50,000 words against 50,000 take a second or two instead of half an hour.
    """
    places: dict[str, int] = {}
    for word, bits in _bits_of(reference).items():
        places[word] = int.from_bytes(bits, "little")
    full = (1 << len(reference)) - 1
    row = full
    for word in answer:
        hits = row & places.get(word, 0)
        if hits:
            row = ((row + hits) | (row - hits)) & full
    return len(reference) - row.bit_count(), len(reference), len(answer)


def _bits_of(reference: Sequence[str]) -> dict[str, bytearray]:
    """A bit for each place, by word: made as bytes, since to set one bit of a long number is to copy it."""
    found: dict[str, bytearray] = {}
    for place, word in enumerate(reference):
        bits = found.setdefault(word, bytearray())
        bits.extend(bytes(place // 8 + 1 - len(bits)))
        bits[place // 8] |= 1 << place % 8
    return found


def f_measure(common: int, reference: int, answer: int) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is shared."""
    if not common:
        return 0.0
    precision, recall = common / answer, common / reference
    return 2 * precision * recall / (precision + recall)


def _of_row(lang: str, common: Common, texts: tuple[str, str]) -> float | str:
    reference, answer = (tokens(text, lang) for text in texts)
    return f_measure(*common(reference, answer)) if reference else NO_REFERENCE


def _measure(common: Common, rows: Sequence[Row], lang: str, tools: Tools) -> Measured:
    texts = [(row.item.reference, row.output.text) for row in rows]
    numbers, reasons = split(spread(partial(_of_row, lang, common), texts, tools.workers))
    return Measured(means(numbers), _variant(lang), reasons)


def _variant(lang: str) -> str:
    if lang == "en":
        how = f"rouge-score 0.1.2's tokens (a-z, 0-9) with Porter stems ({release('nltk')}) of words over 3 letters"
    else:
        how = "lower-cased letters and digits of any script, Chinese characters and kana one by one; no stems"
    return f"F1, mean of rows; {how}"


def _metric(name: str, title: str, common: Common) -> Metric:
    return Metric(name, title, partial(_measure, common), ratio, "higher", overlap=True, scale=100)


ROUGE_1: Final = _metric("rouge-1", "ROUGE-1", partial(common_ngrams, n=1))
ROUGE_2: Final = _metric("rouge-2", "ROUGE-2", partial(common_ngrams, n=2))
ROUGE_L: Final = _metric("rouge-l", "ROUGE-L", common_subsequence)
