"""Constraints in the instruction beyond length: what the text does that an author could have been told to (Suri,
arXiv 2406.19371)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from lft.ask.asking import Notify, ask
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Message, Model, Request
from lft.corpus.document import Pair
from lft.corpus.instruct import draw
from lft.corpus.instruct.excerpt import excerpt
from lft.corpus.instruct.prompts import language_name
from lft.corpus.schema import Build, Constraints
from lft.corpus.screen.rules import leak
from lft.corpus.step import step_digest

_ITEM: Final = re.compile(r"(?:[-*•–]|\d{1,2}[.)])\s+(\S.*)")
_WORDS: Final = 30  # of one constraint
_COPIED: Final = 0.5  # share of its word 4-grams in the text
_TOKENS: Final = 1500  # of the text that is shown


@dataclass(frozen=True, slots=True)
class Constrained:
    """The pairs, and how many have constraints; ``unread`` answers held none that can be used."""

    pairs: tuple[Pair, ...]
    constrained: int
    unread: int


def constrain(
    build: Build, wanted: Constraints, pairs: Iterable[Pair], model: Model, ledger: Ledger, notify: Notify
) -> Constrained:
    """A share of the pairs, drawn by hash, with constraints that their texts meet.

    Raises LftError when asking must stop; what was answered is in the ledger.
    """
    known = list(pairs)
    drawn = [pair for pair in known if draw.share(build.seed, "constraints", pair.id) < wanted.share]
    asked = {pair.id: _request(build, wanted, pair, model) for pair in drawn}
    ask(model, asked.values(), ledger, notify)
    made, count = [], 0
    for pair in known:
        request = asked.get(pair.id)
        entry = ledger.get(request.key(model.name)) if request else None
        found = constraints_in(entry.text if entry and not entry.reason else "", pair.output, wanted.number)
        count += bool(found)
        made.append(replace(pair, input="\n".join([pair.input, "", *(f"- {one}" for one in found)])) if found else pair)
    return Constrained(tuple(made), count, len(drawn) - count)


def _request(build: Build, wanted: Constraints, pair: Pair, model: Model) -> Request:
    name = "English" if build.instruct.language == "en" else language_name(pair.lang)
    shown = excerpt(pair.output, _TOKENS, model.count)
    text = (
        f"<text>\n{shown}\n</text>\n\nIt was written for this request:\n{pair.input}\n\n"
        f"Name up to {wanted.number} further requirements that the text clearly meets, of its content, order, tone or"
        " form: each could have been part of the request, and none quotes the text or speaks of its length. Write them"
        f" in {name}, one a line, each as an imperative sentence after '- ', and nothing else."
    )
    asked: tuple[Message, ...] | str = (Message("user", text),) if model.form == "chat" else f"{text}\n\n- "
    seed = draw.number(wanted.backend.seed, "constraints", pair.id)
    return Request(
        pair.id, step_digest({"constraints": pair.input}, pair.output), asked, sampling_of(wanted.backend), seed
    )


def constraints_in(reply: str, text: str, number: int) -> tuple[str, ...]:
    """The list items of a reply that can be used: short, not twice, not copied from the text."""
    found: dict[str, str] = {}
    for line in reply.splitlines():
        item = _ITEM.fullmatch(line.strip())
        one = item[1].strip() if item else ""
        if one and len(one.split()) <= _WORDS and leak(one, text) <= _COPIED:
            found.setdefault(one.casefold(), one)
    return tuple(found.values())[:number]
