"""Web voice into an answer's voice, with a check that nothing was made up (back-and-forth, arXiv 2408.04614).

A rewritten text stays only where it is faithful; else the person's own text does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Message, Model, Request
from lft.corpus.beyond.told import Told
from lft.corpus.document import Pair
from lft.corpus.instruct import draw
from lft.corpus.instruct.excerpt import excerpt
from lft.corpus.instruct.length import true_clauses, with_clause
from lft.corpus.instruct.prompts import language_name
from lft.corpus.schema import Build, Rewrite
from lft.corpus.screen.rules import bare
from lft.corpus.step import kind_of, step_digest

_WORD: Final = re.compile(r"[^\W\d_]{4,}")  # shorter words are mostly grammar, in every language with letters
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_LEAST: Final = 0.3  # of the document's words; what is shorter is a summary
SCORE: Final = "faithfulness"


def rewrite(
    build: Build, wanted: Rewrite, pairs: Iterable[Pair], model: Model, ledger: Ledger, notify: Notify, told: Told
) -> Iterator[Pair]:
    """Every pair, and of the wanted sources with its text rewritten where that is faithful.

    Args:
        build: for what it says of length.
        wanted: its options.
        pairs: gone through twice.
        model: who rewrites.
        ledger: of its answers.
        notify: told how far it is.
        told: takes the figures.

    Raises:
        LftError: asking must stop; what was answered is in the ledger.
    """
    done = ask(
        model, (rewrite_request(wanted, pair, model) for pair in pairs if is_asked(wanted, pair)), ledger, notify
    )
    kept: Counter[str] = Counter()
    rewritten = 0
    for pair in pairs:
        text, reason = "", "not asked"
        if is_asked(wanted, pair):
            key = rewrite_request(wanted, pair, model).key(model.name)
            entry = ledger.get(key)
            text = entry.text.strip() if entry and entry.finish == "stop" else ""
            reason = kind_of(done.failed.get(key, "")) or unfaithful(text, pair.output, wanted.keep_similarity)
        kept[reason] += bool(reason)
        rewritten += not reason
        yield pair if reason else _with_text(build, pair, text)
    told.open += done.open
    told.figures |= {"rewritten": rewritten, "texts that stayed": dict(sorted((+kept).items()))}


def is_asked(wanted: Rewrite, pair: Pair) -> bool:
    """Whether a pair is of a source that is rewritten."""
    return not wanted.sources or pair.source in wanted.sources


def rewrite_request(wanted: Rewrite, pair: Pair, model: Model) -> Request:
    """What is asked for a pair."""
    room = max(wanted.backend.max_tokens, 256)
    shown = excerpt(pair.output, room, model.count)
    text = (
        f"Somebody asked:\n{bare(pair)}\n\nThis text holds the answer:\n<text>\n{shown}\n</text>\n\n"
        f"Write the answer for them, in {language_name(pair.lang)}. Use only what the text says: keep its facts,"
        " numbers and names, add nothing, leave out greetings, advertising, navigation. Begin with the answer itself."
    )
    asked: tuple[Message, ...] | str = (Message("user", text),) if model.form == "chat" else f"{text}\n\nAnswer:\n"
    seed = draw.number(wanted.backend.seed, "rewrite", pair.id)
    digest = step_digest({"rewrite": bare(pair)}, pair.output)
    return Request(pair.id, digest, asked, sampling_of(wanted.backend), seed)


def unfaithful(text: str, document: str, least: float) -> str:
    """Why a rewritten text is not taken: numbers that the document has not, too few of its words, or too short.

    Empty where it is.
    """
    if not text:
        return "no whole answer"
    if len(text.split()) < _LEAST * len(document.split()):
        return "much shorter than the document"
    if set(_NUMBER.findall(text)) - set(_NUMBER.findall(document)):
        return "numbers that the document has not"
    if faithfulness(text, document) < least:
        return "words that the document has not"
    return ""


def faithfulness(text: str, document: str) -> float:
    """Share of a text's words (of four letters and more) whose first five letters begin a word of the document."""
    there = {word[:5] for word in _WORD.findall(document.casefold())}
    found = [word[:5] in there for word in _WORD.findall(text.casefold())]
    return sum(found) / len(found) if found else 1.0


def _with_text(build: Build, pair: Pair, text: str) -> Pair:
    """The pair with another text; its clause on length is made true again."""
    scores = {**pair.scores, SCORE: round(faithfulness(text, pair.output), 4)}
    if not pair.length_clause:
        return replace(pair, output=text, scores=scores)
    wording = "en" if build.instruct.language == "en" else pair.lang
    clauses = true_clauses(text, pair.lang, wording)
    clause = clauses[draw.one_of(sorted(clauses), build.seed, "length kind", pair.id)] if clauses else ""
    first = pair.input.startswith(pair.length_clause)
    return replace(pair, input=with_clause(bare(pair), clause, first), output=text, length_clause=clause, scores=scores)
