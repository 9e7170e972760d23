"""What can be seen of a pair without a model."""

from __future__ import annotations

import re
from typing import Final

from lft.corpus.document import Pair
from lft.corpus.schema import Screen

_WORD: Final = re.compile(r"\w+")
GRAM: Final = 4


def leak(instruction: str, answer: str) -> float:
    """Share of an instruction's word 4-grams that stand in the answer: 1 where it is copied out of it.

    Of fewer than four words, whether they stand there in a row. A title that is named in passing is not a leak.
    """
    asked, there = _words(instruction), _words(answer)
    size = min(GRAM, len(asked))
    if size == 0:
        return 0.0
    known = {tuple(there[at : at + size]) for at in range(len(there) - size + 1)}
    grams = [tuple(asked[at : at + size]) for at in range(len(asked) - size + 1)]
    return sum(gram in known for gram in grams) / len(grams)


def broken_rule(pair: Pair, wanted: Screen) -> str | None:
    """Why a pair is cut, or None. The clause on length is not part of what may be too long or copied.

    Nor is what a person asked or gave: a template holds an essay that is to be corrected, or a subject that the answer
    repeats.
    """
    instruction = bare(pair)
    count = len(instruction.split())
    if count == 0:
        return "the instruction is empty"
    if pair.style in ("human", "template"):
        return None
    if count > wanted.max_instruction_words:
        return f"the instruction has more than {wanted.max_instruction_words} words"
    if count >= GRAM and leak(instruction, pair.output) > wanted.max_leak:
        return "the instruction is copied from the answer"
    return None


def bare(pair: Pair) -> str:
    """The instruction without its clause on length."""
    return pair.input.replace(pair.length_clause, " ").strip() if pair.length_clause else pair.input


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
