"""A language model's opinion of a pair on a scale of five, read strictly (after Humpback, arXiv 2308.06259).

An open reproduction could not read half of the opinions: here a pair without one is cut, with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Entry, Ledger
from lft.ask.request import Message, Model, Request, Sampling
from lft.corpus.document import Pair
from lft.corpus.step import kind_of, step_digest

_RUBRIC: Final = """\
You will see an instruction and a text that is offered as the answer to it. Judge how good an example the two make for
teaching an assistant to answer well. Use this scale:

1  The text does not answer the instruction, or is incomplete, garbled or advertising.
2  The text is about the matter but leaves most of the instruction unanswered.
3  The text answers the instruction, but is not written for who asks: a forum post, a diary, a page with navigation.
4  The text answers the instruction clearly and completely; small things could be better.
5  The text is an excellent answer: complete, well ordered, to the point, with nothing that does not belong.

Give your reasons in one or two sentences. Then end with a line of this form and nothing after it:
Score: N"""
_SHOWN: Final = 6000  # characters of the text that the judge sees
_SCORE: Final = re.compile(r"(?:^|\n)\W{0,4}score\W{1,4}([1-5])(?:\s*/\s*5)?\W{0,4}$", re.IGNORECASE)
UNREADABLE: Final = "the judge's answer could not be read"


@dataclass(frozen=True, slots=True)
class Opinion:
    """Points of a pair, or why there are none."""

    points: int | None
    reason: str = ""


def request_of(pair: Pair, sampling: Sampling, form: str, seed: int) -> Request:
    """What the judge is asked about a pair."""
    text = pair.output if len(pair.output) <= _SHOWN else f"{pair.output[:_SHOWN]}\n[…]"
    shown = f"<instruction>\n{pair.input}\n</instruction>\n\n<text>\n{text}\n</text>"
    asked: tuple[Message, ...] | str
    if form == "chat":
        asked = (Message("user", f"{_RUBRIC}\n\n{shown}"),)
    else:
        asked = f"{_RUBRIC}\n\n{shown}\n\nReasons:"
    return Request(pair.id, step_digest({"in": pair.input}, pair.output), asked, sampling, seed)


def points(reply: str) -> int | None:
    """The score at the end of a reply; None where it does not end in one, or names two."""
    found = _SCORE.search(reply.strip())
    scores = set(re.findall(r"score\W{1,4}([1-5])(?![\d.])", reply, re.IGNORECASE))
    return int(found[1]) if found and len(scores) == 1 else None


def judged(
    pairs: Collection[Pair], model: Model, sampling: Sampling, seed: int, ledger: Ledger, notify: Notify
) -> tuple[list[Opinion], int]:
    """An opinion of each pair, and how many requests failed that may not another time.

    Raises LftError when asking must stop; what was answered is in the ledger.
    """
    done = ask(model, (request_of(pair, sampling, model.form, seed) for pair in pairs), ledger, notify)
    keys = (request_of(pair, sampling, model.form, seed).key(model.name) for pair in pairs)
    return [_opinion(ledger.get(key), done.failed.get(key, "")) for key in keys], done.open


def _opinion(entry: Entry | None, failure: str) -> Opinion:
    if entry is None:
        return Opinion(None, f"no opinion of the judge: {kind_of(failure)}")
    found = points(entry.text)
    return Opinion(found, UNREADABLE if found is None else "")
