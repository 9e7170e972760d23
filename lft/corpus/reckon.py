"""What a build's models would be asked, before anything is: for each backend of its file, requests, tokens, money.

What instructions, translations and rewritten texts will look like is not known yet. Each instruction is taken to be as
long as it may be, each text as long as its document, and no pair is taken to be cut on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from lft.ask.meter import Spent
from lft.ask.opened import sampling_of
from lft.ask.request import Model, Request
from lft.corpus.beyond.constraints import constraints_request, gets_some
from lft.corpus.beyond.rewrite import is_asked, rewrite_request
from lft.corpus.beyond.translate import takes_it, translation_request
from lft.corpus.document import Document, Pair
from lft.corpus.instruct.plan import asked_by_a_person, has_question, question
from lft.corpus.instruct.prompts import language_name
from lft.corpus.load import Asked
from lft.corpus.schema import Build, Constraints, Judge, Rewrite, Translate
from lft.corpus.screen.judge import request_of


@dataclass(frozen=True, slots=True)
class Cost:
    """What a backend is asked: about so many tokens to read, so many to write at most, and about so much money."""

    key: str
    requests: int
    tokens_in: int
    tokens_out: int
    money: float


Requests = Iterator[tuple[Request, int]]
"""What is asked, and how many tokens that are not known yet are to be added to it."""


def further_costs(
    build: Build, documents: Iterable[Document], model: Callable[[Asked], Model], judge: Callable[[Judge], Model]
) -> tuple[Cost, ...]:
    """The costs of all backends but of reverse instructions, which ``estimate`` counts one by one.

    Args:
        build: whose backends.
        documents: those that were selected, gone through once a backend.
        model: opens a backend.
        judge: opens the judge's.
    """
    beyond, costs = build.beyond, list[Cost]()
    if (translate := beyond.translate) is not None:
        opened = model(Asked("beyond.translate.backend", translate.backend))
        costs.append(_cost("beyond.translate.backend", opened, _translations(build, translate, documents, opened)))
        writer = model(Asked("instruct.backend", build.instruct.backend))
        costs.append(_cost("instruct.backend (of translations)", writer, _written(build, translate, documents, writer)))
    if (rewrite := beyond.rewrite) is not None:
        opened = model(Asked("beyond.rewrite.backend", rewrite.backend))
        costs.append(_cost("beyond.rewrite.backend", opened, _rewritten(build, rewrite, documents, opened)))
    if (constraints := beyond.constraints) is not None:
        opened = model(Asked("beyond.constraints.backend", constraints.backend))
        costs.append(_cost("beyond.constraints.backend", opened, _constrained(build, constraints, documents, opened)))
    if build.screen.judge is not None:
        opened = judge(build.screen.judge)
        costs.append(_cost("screen.judge.backend", opened, _judged(build, build.screen.judge, documents, opened)))
    return tuple(costs)


def _cost(key: str, model: Model, requests: Requests) -> Cost:
    count, spent = 0, Spent()
    for request, more in requests:
        count += 1
        spent += Spent(0, model.count(request.prompt) + more, request.sampling.max_tokens)
    return Cost(key, count, spent.tokens_in, spent.tokens_out, model.limits.money(spent))


def _translations(build: Build, wanted: Translate, documents: Iterable[Document], model: Model) -> Requests:
    for one in documents:
        if takes_it(wanted, one):
            yield translation_request(wanted, one.id, one.text, "English", model), 0
            back = translation_request(wanted, one.id, "", language_name(one.lang), model)
            yield back, build.instruct.backend.max_tokens


def _written(build: Build, wanted: Translate, documents: Iterable[Document], model: Model) -> Requests:
    for one in documents:
        if takes_it(wanted, one):
            yield question(build, replace(one, lang="en"), model).request, 0


def _rewritten(build: Build, wanted: Rewrite, documents: Iterable[Document], model: Model) -> Requests:
    for pair, more in _pairs(build, documents):
        if is_asked(wanted, pair):
            yield rewrite_request(wanted, pair, model), more


def _constrained(build: Build, wanted: Constraints, documents: Iterable[Document], model: Model) -> Requests:
    for pair, more in _pairs(build, documents):
        if gets_some(build, wanted, pair):
            yield constraints_request(build, wanted, pair, model), more


def _judged(build: Build, wanted: Judge, documents: Iterable[Document], model: Model) -> Requests:
    sampling = sampling_of(wanted.backend)
    for pair, more in _pairs(build, documents):
        yield request_of(pair, sampling, model.form, wanted.backend.seed), more


def _pairs(build: Build, documents: Iterable[Document]) -> Iterator[tuple[Pair, int]]:
    """Each document's pair, and the tokens of the instruction that it has not yet."""
    for one in documents:
        yield asked_by_a_person(one), 0 if has_question(one) else build.instruct.backend.max_tokens
