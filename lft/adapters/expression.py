"""What to merge, as a line or as YAML, into one frozen plan; every mistake has its place.

0.7*de + 0.3*recipes - 0.1*x            numbers, adapters, + - * and parentheses
de + 0.5*(recipes - "my run/adapter")   a minus before an adapter has a space before it: de-recipes is one name

merge:
  method: ties                          cat (the weighted sum) when it is not said
  inputs: [de, recipes]
  weights: {de: 0.7, recipes: {"*.mlp.*": 0.5, "*": 0.2}}
  density: 0.3                          what the method takes: lft adapters merge --methods
  rank: 16                              cut the result to a rank (or: tolerance: 0.01)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from lft.adapters.weights import Weight, plus
from lft.errors import RecipeError
from lft.recipe.problems import shown

MAX_TEXT = 10_000
MAX_DEPTH = 32
Replaced = Literal["exact", "mean"]


@dataclass(frozen=True, slots=True)
class Term:
    """One adapter of a merge, as it was named, and its weight (None: the method's own share)."""

    ref: str
    weight: Weight | None


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A merge before any adapter is looked at.

    ``parameters`` are those of the method (its own frozen dataclass). ``rank`` and ``tolerance`` ask for compression.
    ``replaced`` says what becomes of tensors and token rows that replace the base's: ``exact`` merges them where that
    is defined and refuses where it is not, ``mean`` takes the mean of those that have them, by weight.
    """

    method: str
    inputs: tuple[Term, ...]
    parameters: Any
    rank: int | None = None
    tolerance: float | None = None
    replaced: Replaced = "exact"


def expression_error(text: str, at: int, what: str, fix: str | None = None) -> RecipeError:
    """One message with the text and a caret under the place."""
    start = max(at - 60, 0)
    line = "".join(c if c.isprintable() else "?" for c in text[start : start + 100])
    place = f"\n  {line}\n  {' ' * (at - start)}^"
    return RecipeError(f"column {at + 1}: {what}{place}", where="expression", fix=fix)


def parse_expression(text: str) -> tuple[Term, ...]:
    """The adapters and weights of a line; the same adapter named twice is one with the sum of its weights.

    Raises:
        RecipeError: it cannot be read; with the column and a caret.
    """
    if len(text) > MAX_TEXT:
        raise RecipeError(f"longer than {MAX_TEXT:,} characters", where="expression", fix="write it as YAML")
    reader = _Reader(text, tuple(_tokens(text)))
    terms = reader.sum(0)
    if reader.here.kind != "end":
        raise expression_error(text, reader.here.at, f"{_named(reader.here)} where + or - should be", _SIGNS)
    found: dict[str, float] = {}
    for ref, weight in terms:
        found[ref] = plus(found[ref], weight) if ref in found else weight
    if not all(map(math.isfinite, found.values())):
        raise expression_error(text, 0, "a weight that is too large")
    return tuple(Term(ref, weight) for ref, weight in found.items())


_SIGNS = "an adapter's weight stands before it with *: 0.7*de + 0.3*recipes"
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<name>(?:[A-Za-z_~./\d][\w./@:~-]*[\w/~]|[A-Za-z_~.])(?:\[[\d,-]+\])?)
      | (?P<digit>\d)
      | (?P<quoted>"[^"]+"|'[^']+')
      | (?P<op>[-+*()])""",
    re.VERBOSE | re.ASCII,
)
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w./@:~])", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, an operator, or end
    text: str
    at: int


def _named(token: _Token) -> str:
    return "the end" if token.kind == "end" else shown(token.text)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _NUMBER.match(text, at) or _TOKEN.match(text, at)
        if found is None:
            what = "a quote that is not closed" if text[at] in "\"'" else f"unknown character {shown(text[at])}"
            raise expression_error(text, at, what, "write numbers, adapters, + - * and parentheses; quote odd names")
        kind = "number" if found.re is _NUMBER else str(found.lastgroup)
        word = found[0]
        if kind == "op":
            yield _Token(word, word, at)
        elif kind == "quoted":
            yield _Token("name", word[1:-1], at)
        elif kind != "space":
            yield _Token(kind, word, at)
        at = found.end()
    yield _Token("end", "", len(text))


_Terms = list[tuple[str, float]]


@dataclass(slots=True)
class _Reader:
    """sum = [sign] product {sign product}, product = factor {* factor}, factor = number | name | ( sum )."""

    text: str
    tokens: tuple[_Token, ...]
    place: int = 0

    @property
    def here(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.here
        self.place += token.kind != "end"
        return token

    def fail(self, token: _Token, what: str, fix: str | None = _SIGNS) -> RecipeError:
        return expression_error(self.text, token.at, what, fix)

    def sum(self, depth: int) -> _Terms:
        if depth > MAX_DEPTH:
            raise self.fail(self.here, f"nested deeper than {MAX_DEPTH} levels", None)
        negative = self.here.kind in ("+", "-") and self.take().kind == "-"
        terms = self.product(depth, negative)
        while self.here.kind in ("+", "-"):
            terms += self.product(depth, self.take().kind == "-")
        return terms

    def product(self, depth: int, negative: bool) -> _Terms:
        """Numbers times exactly one adapter, or one sum of adapters."""
        start, number, terms = self.here, Decimal(-1 if negative else 1), None
        while True:
            factor = self.factor(depth)
            if isinstance(factor, Decimal):
                number *= factor
            elif terms is None:
                terms = factor
            else:
                raise self.fail(start, "an adapter times an adapter; a weight is a number")
            if self.here.kind != "*":
                break
            self.take()
        if terms is None and self.here.kind in ("name", "("):
            raise self.fail(self.here, f"a * is missing before {_named(self.here)}")
        if terms is None:
            raise self.fail(start, f"a number without an adapter: {shown(start.text)}")
        scaled = [(ref, float(Decimal(repr(weight)) * number)) for ref, weight in terms]
        if not all(math.isfinite(weight) for _, weight in scaled):
            raise self.fail(start, "a weight that is too large", None)
        return scaled

    def factor(self, depth: int) -> Decimal | _Terms:
        token = self.take()
        if token.kind in ("number", "digit"):
            return self.number(token)
        if token.kind == "name":
            return [(token.text, 1.0)]
        if token.kind == "(":
            terms = self.sum(depth + 1)
            if self.here.kind != ")":
                raise self.fail(self.here, f"{_named(self.here)} where a parenthesis should close", None)
            self.take()
            return terms
        raise self.fail(token, f"{_named(token)} where an adapter or a number should be")

    def number(self, token: _Token) -> Decimal:
        try:
            value = Decimal(token.text)
        except InvalidOperation:
            raise self.fail(token, f"{shown(token.text)} is no number") from None
        if not math.isfinite(float(value)):
            raise self.fail(token, f"{shown(token.text)} is too large for a weight", None)
        return value
