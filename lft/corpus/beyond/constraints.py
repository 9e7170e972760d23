"""Constraints in the instruction beyond length: what the text does that an author could have been told to (Suri,
arXiv 2406.19371)."""

from __future__ import annotations

import re
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
from lft.corpus.instruct.prompts import language_name
from lft.corpus.schema import Build, Constraints
from lft.corpus.screen.rules import leak
from lft.corpus.step import step_digest

_ITEM: Final = re.compile(r"(?:[-*•–]|\d{1,2}[.)])\s+(\S.*)")
_WORDS: Final = 30  # of one constraint
_COPIED: Final = 0.5  # share of its word 4-grams in the text
_TOKENS: Final = 1500  # of the text that is shown


def constrain(
    build: Build, wanted: Constraints, pairs: Iterable[Pair], model: Model, ledger: Ledger, notify: Notify, told: Told
) -> Iterator[Pair]:
    """Every pair, a share of them, drawn by hash, with constraints that their texts meet.

    Args:
        build: its seed and its language.
        wanted: its options.
        pairs: gone through twice.
        model: who finds constraints.
        ledger: of its answers.
        notify: told how far it is.
        told: takes the figures.

    Raises:
        LftError: asking must stop; what was answered is in the ledger.
    """
    requests = (constraints_request(build, wanted, one, model) for one in pairs if gets_some(build, wanted, one))
    told.open += ask(model, requests, ledger, notify).open
    drawn = count = 0
    for pair in pairs:
        found: tuple[str, ...] = ()
        if gets_some(build, wanted, pair):
            entry = ledger.get(constraints_request(build, wanted, pair, model).key(model.name))
            found = constraints_in(entry.text if entry else "", pair.output, wanted.number)
            drawn += 1
            count += bool(found)
        yield replace(pair, input="\n".join([pair.input, "", *(f"- {one}" for one in found)])) if found else pair
    told.figures |= {"with constraints": count, "answers without a usable constraint": drawn - count}


def gets_some(build: Build, wanted: Constraints, pair: Pair) -> bool:
    """Whether a pair is among those that were drawn."""
    return draw.share(build.seed, "constraints", pair.id) < wanted.share


def constraints_request(build: Build, wanted: Constraints, pair: Pair, model: Model) -> Request:
    """What is asked for a pair."""
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
