"""METEOR as NLTK scores it (alpha 0.9, beta 3, gamma 0.5; exact, then stem, then WordNet), in linear time.

NLTK's alignment is greedy: hypothesis words from the last to the first, each to the last reference word that is still
free. What costs its time are stems and synonyms, which are looked up once a word here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics import wordnet
from lft.evaluate.metrics.packages import release
from lft.evaluate.metrics.parallel import spread
from lft.evaluate.metrics.reasons import NO_REFERENCE, split
from lft.evaluate.metrics.words import STEMMERS, nltk_tokens, nltk_variant, stem_of

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

Stem = Callable[[str], str]
Synonyms = Callable[[str], frozenset[str]]


def score(
    hypothesis: Sequence[str], reference: Sequence[str], stem: Stem | None = None, synonyms: Synonyms | None = None
) -> float:
    """METEOR of one hypothesis against one reference, both lower-cased tokens: NLTK's number, from 0 to 1.

    ``stem`` and ``synonyms`` are of one word; without them that stage finds nothing.
    """
    to = [-1] * len(hypothesis)
    left = _exact(to, (range(len(hypothesis)), hypothesis), (range(len(reference)), reference))
    if stem is not None:
        mine, theirs = ((places, [stem(word) for word in words]) for places, words in left)
        left = _exact(to, mine, theirs)
    if synonyms is not None:
        _synonymous(to, *left, synonyms)
    matches = len(to) - to.count(-1)
    if not matches:
        return 0.0
    precision, recall = matches / len(hypothesis), matches / len(reference)
    mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall)
    penalty: float = GAMMA * (float(_chunks(to)) / matches) ** BETA
    return (1 - penalty) * mean


Placed = tuple[Sequence[int], Sequence[str]]
"""Places in a text that are not aligned yet, ascending, and the words there."""


def _exact(to: list[int], hypothesis: Placed, reference: Placed) -> tuple[Placed, Placed]:
    """Align equal words; what is left of both sides."""
    free = _positions(reference)
    places, words = [], []
    for place, word in zip(reversed(hypothesis[0]), reversed(hypothesis[1]), strict=True):
        found = free.get(word)
        if found:
            to[place] = found.pop()
        else:
            places.append(place)
            words.append(word)
    taken = set(to)
    rest = [one for one in zip(*reference, strict=True) if one[0] not in taken]
    return (places[::-1], words[::-1]), ([place for place, _ in rest], [word for _, word in rest])


def _synonymous(to: list[int], hypothesis: Placed, reference: Placed, synonyms: Synonyms) -> None:
    """Align each word with the last free reference word among its synonyms."""
    free = _positions(reference)
    for place, word in zip(reversed(hypothesis[0]), reversed(hypothesis[1]), strict=True):
        shared = free.keys() & synonyms(word)
        if shared:
            best = max(shared, key=lambda one: free[one][-1])
            to[place] = free[best].pop()
            if not free[best]:
                del free[best]


def _positions(reference: Placed) -> dict[str, list[int]]:
    free: dict[str, list[int]] = {}
    for place, word in zip(*reference, strict=True):
        free.setdefault(word, []).append(place)
    return free


def _chunks(to: Sequence[int]) -> int:
    """Stretches that run in both texts without a gap."""
    before, chunks = -2, 0
    for place in to:
        if place >= 0 and (before < 0 or place != before + 1):
            chunks += 1
        before = place
    return chunks


def measure(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:
    """METEOR of each row; an empty answer scores 0."""
    known = wordnet.open_wordnet(tools.cache, wordnet.FOLDER) if lang == "en" else None
    folder = wordnet.FOLDER if known else None
    values = spread(partial(_of_row, lang, tools.cache, folder), [_texts(row) for row in rows], tools.workers)
    numbers, reasons = split(values)
    return Measured(means(numbers), _variant(lang, known), reasons)


def _texts(row: Row) -> tuple[str, str]:
    return row.output.text, row.item.reference


def _of_row(lang: str, cache: Path, folder: Path | None, texts: tuple[str, str]) -> float | str:
    known = wordnet.open_wordnet(cache, folder) if folder else None
    try:
        hypothesis, reference = (nltk_tokens(text, lang) for text in texts)
    except TimeoutError:
        return "NLTK's tokenizer gave up on this text after 5 seconds"
    if not reference:
        return NO_REFERENCE
    return score(hypothesis, reference, stem_of(lang), known.synonyms if known else None)


def _variant(lang: str, known: wordnet.WordNet | None) -> str:
    stem = f"{STEMMERS[lang]} stems" if lang in STEMMERS else "no stems"
    if lang != "en":
        synonyms = "synonyms off: WordNet is English"
    else:
        synonyms = f"WordNet synonyms (files {known.digest[:12]})" if known else wordnet.MISSING
    how = f"alpha {ALPHA} beta {BETA:g} gamma {GAMMA}, mean of rows"
    return f"{release('nltk')} meteor_score, {how}; {nltk_variant(lang)}; {stem}; {synonyms}"


METEOR: Final = Metric("meteor", "METEOR", measure, ratio, "higher", overlap=True, scale=100)
