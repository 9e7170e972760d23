"""Words and tokens of a text, per language, and the stems of words.

Three ways of counting live here, each where its metric was published with it: NLTK's word tokens (METEOR), letters and
digits only (ROUGE), and what LongBench-Write counts as a word (lengths).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final

from lft.evaluate.metrics.packages import package

UNSPACED: Final = frozenset({"ja", "zh"})  # languages that set no spaces: each character is taken as a word
STEMMERS: Final = {"en": "Porter", "de": "German", "es": "Spanish", "fr": "French", "ru": "Russian"}

_HAN: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])[^\W_])+")
_ASCII_WORD: Final = re.compile(r"[a-z0-9]+")
_WRITTEN: Final = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])[^\W\d_])+")
_WRITTEN_EN_ZH: Final = re.compile("[a-zA-Z]+|[\u4e00-\u9fff]")
_SPACES: Final = frozenset(letter for letter in map(chr, range(0x3001)) if letter.isspace())
_LINE_SPACES: Final = frozenset("\n\t\r")
_CLOSERS: Final = frozenset("])}>\"'»”’")
_CLOSING: Final = re.compile(r"[\])}>\"'»”’]+")
_UNSPACED: Final = re.compile(f"([{_HAN}])")


def words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits of any script; each Chinese character and each kana for itself."""
    return _WORD.findall(text.lower())


def ascii_words(text: str) -> list[str]:
    """Lower-cased runs of a-z and 0-9, as rouge-score takes them: letters with accents are gaps."""
    return _ASCII_WORD.findall(text.lower())


def written(text: str, lang: str) -> int:
    """How many words are written, for checks of a wanted length.

    In English and Chinese what LongBench-Write counts: runs of a-z and Chinese characters. In others runs of letters.
    """
    pattern = _WRITTEN_EN_ZH if lang in ("en", "zh") else _WRITTEN
    return sum(1 for _ in pattern.finditer(text))


def written_variant(lang: str) -> str:
    """What ``written`` counts in a language."""
    if lang in ("en", "zh"):
        return "words: [a-zA-Z]+ and Chinese characters, as LongBench-Write counts"
    return "words: runs of letters of any script; each Chinese character and each kana for itself"


def nltk_tokens(text: str, lang: str) -> list[str]:
    """Lower-cased tokens of NLTK's word tokenizer, sentence by sentence.

    Raises:
        MachineError: NLTK is not installed.
    """
    text = _UNSPACED.sub(r" \1 ", text) if lang in UNSPACED else text
    of_sentence = _sentence_tokenizer()
    found: list[str] = []
    for sentence in _splitter().tokenize(text):
        found.extend(of_sentence(sentence))
    return found


def nltk_variant(lang: str) -> str:
    """How ``nltk_tokens`` makes tokens in a language."""
    split = "; each Chinese character and each kana for itself" if lang in UNSPACED else ""
    return f"NLTKWordTokenizer over sentences by Punkt without a trained model, lower case{split}"


@cache
def _splitter() -> Any:
    return package("nltk.tokenize.punkt").PunktSentenceTokenizer()


@cache
def _sentence_tokenizer() -> Callable[[str], Iterable[str]]:
    """NLTK's word tokenizer, lower-cased, which takes each stretch without blanks apart only once.

    It looks beyond a stretch only to see the begin of a sentence, and a closing stop with the quotes and brackets
    behind it. So the first stretch is taken with the begin, the last with the end (and with those before it that are
    only closing marks), and what lies between depends on nothing but itself.
    """
    tokenize = _word_tokenizer()

    def whole(text: str) -> list[str]:
        return [token.lower() for token in tokenize(text)]

    @lru_cache(maxsize=1 << 16)
    def first(text: str) -> tuple[str, ...]:
        return tuple(whole(f"{text} a")[:-1])

    @lru_cache(maxsize=1 << 18)
    def between(text: str) -> tuple[str, ...]:
        return tuple(whole(f"a {text} a")[1:-1])

    @lru_cache(maxsize=1 << 16)
    def last(text: str) -> tuple[str, ...]:
        return tuple(whole(f"a {text}")[1:])

    def of_sentence(sentence: str) -> Iterable[str]:
        stretches = _stretches(sentence)
        if len(stretches) < 2:
            return whole(sentence)
        end = len(stretches) - 1
        while end and _CLOSING.fullmatch(stretches[end]):
            end -= 1
        if not end:
            return whole(sentence)
        inner = chain.from_iterable(map(between, stretches[1:end]))
        begin = between if sentence.startswith(" ") else first  # behind a blank '' opens, at the begin it closes
        return chain(begin(stretches[0]), inner, last(" ".join(stretches[end:])))

    return of_sentence


def _stretches(sentence: str) -> list[str]:
    """What blanks divide; nothing where other spaces stand and are not to be taken for blanks."""
    others = _SPACES.intersection(sentence) - {" "}
    if not others:
        return [stretch for stretch in sentence.split(" ") if stretch]
    if (
        others <= _LINE_SPACES
        and '"' not in sentence
        and "'" not in sentence
        and sentence.rstrip()[-1:] not in _CLOSERS
    ):
        return sentence.split()
    return []


Pass = tuple[tuple[str, ...], Any, str]
"""What a text must hold for a pass to find anything, its pattern, and what that is replaced with."""


@cache
def _word_tokenizer() -> Callable[[str], list[str]]:
    """NLTK's word tokenizer without the passes of its regular expressions that cannot find anything.

    Most sentences hold no quote, bracket or contraction, and two thirds of its passes look for nothing else.
    """
    own = package("nltk.tokenize.destructive").NLTKWordTokenizer()
    lists = (own.STARTING_QUOTES, own.PUNCTUATION, own.ENDING_QUOTES)
    if tuple(map(len, lists)) != tuple(map(len, (_STARTING, _PUNCTUATION, _ENDING))):  # another NLTK: its own way
        return lambda text: list(own.tokenize(text))
    starting, punctuation, ending = map(_passes, (_STARTING, _PUNCTUATION, _ENDING), lists)
    brackets = _passes((tuple("[](){}<>"), ("--",)), (own.PARENS_BRACKETS, own.DOUBLE_DASHES))
    before = [*starting, *punctuation, *brackets]
    contractions = [*own.CONTRACTIONS2, *own.CONTRACTIONS3]

    def tokenize(text: str) -> list[str]:
        text = _passed(f" {_passed(text, before)} ", ending)
        lower = text.lower()
        if any(part in lower for part in _CONTRACTED):
            for pattern in contractions:
                text = pattern.sub(r" \1 \2 ", text)
        return text.split()

    return tokenize


def _passes(needed: Sequence[tuple[str, ...]], found: Sequence[tuple[Any, str]]) -> list[Pass]:
    return [(parts, pattern, by) for parts, (pattern, by) in zip(needed, found, strict=True)]


def _passed(text: str, passes: Sequence[Pass]) -> str:
    for parts, pattern, by in passes:
        for part in parts:
            if part in text:
                text = pattern.sub(by, text)
                break
    return text


# What each pass of NLTKWordTokenizer needs to find anything, in its order.
_STARTING: Final = (tuple("«“‘„`"), ('"',), ("``",), ('"', "''"), ("'",))
_PUNCTUATION: Final = (
    (".",), (":", ","), (":", ","), ("..",), tuple(";@#$%&"), tuple("\u2012\u2013\u2014\u2015"), (".",), ("?", "!"),
    ("' ",), ("*",),
)  # fmt: skip
_ENDING: Final = (tuple("»”’"), ("''",), ('"',), ("'",), ("'",), ("'",))
# Parts of cannot, gimme, lemme, gonna, wanna, gotta without i, k and s, which other letters equal in a match that
# ignores case; the other contractions hold the apostrophe.
_CONTRACTED: Final = ("'", "cannot", "mme", "nna", "otta")


def stem_of(lang: str) -> Callable[[str], str] | None:
    """The memorised stemmer of a language as NLTK has it; None where METEOR is to go without.

    Raises:
        MachineError: NLTK is not installed.
    """
    return _stemmer(lang) if lang in STEMMERS else None


@cache
def _stemmer(lang: str) -> Callable[[str], str]:
    if lang == "en":
        stemmer = package("nltk.stem.porter").PorterStemmer()
    else:
        stemmer = package("nltk.stem.snowball").SnowballStemmer(STEMMERS[lang].lower())
    return lru_cache(maxsize=1 << 18)(stemmer.stem)
