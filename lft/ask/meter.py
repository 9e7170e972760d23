"""Tokens and money: what has been spent, what is promised to requests under way, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lft.errors import RecipeError


class BudgetSpent(RecipeError):
    """The next request could cost more than the budget leaves."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Answers and their tokens, read and written."""

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.answers + other.answers, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)


@dataclass(frozen=True, slots=True)
class Limits:
    """Prices for a million tokens, and what all answers of the ledger may cost together; ``where`` names the key."""

    price_in: float = 0.0
    price_out: float = 0.0
    budget: float | None = None
    token_budget: int | None = None
    where: str = "backend"

    @property
    def bounded(self) -> bool:
        """Whether there is a budget."""
        return self.budget is not None or self.token_budget is not None

    def money(self, spent: Spent) -> float:
        """What tokens cost."""
        return (spent.tokens_in * self.price_in + spent.tokens_out * self.price_out) / 1e6

    def allow(self, spent: Spent) -> bool:
        """Whether so much may be spent."""
        enough = self.token_budget is None or spent.tokens <= self.token_budget
        return enough and (self.budget is None or self.money(spent) <= self.budget)

    def told(self, spent: Spent) -> str:
        """In words."""
        money = f", {self.money(spent):.4g} of money" if self.price_in or self.price_out else ""
        return f"{spent.answers:,} answers, {spent.tokens_in:,} tokens read and {spent.tokens_out:,} written{money}"


FREE: Final = Limits()


class Meter:
    """What was spent and what requests under way may cost at most: the budget holds for both together."""

    def __init__(self, limits: Limits, before: Spent) -> None:
        self.limits = limits
        self.spent = before
        self.promised = Spent()

    def promise(self, most: Spent) -> bool:
        """Set aside what a request may cost at most; false while that is more than is left.

        Raises:
            BudgetSpent: nothing is under way whose end could leave more.
        """
        if self.limits.allow(self.spent + self.promised + most):
            self.promised += most
            return True
        if self.promised.answers == 0:
            raise self._over(most)
        return False

    def settle(self, most: Spent, cost: Spent) -> None:
        """A request ended: what it was promised is free again, what it cost is spent."""
        self.promised = Spent(
            self.promised.answers - most.answers,
            self.promised.tokens_in - most.tokens_in,
            self.promised.tokens_out - most.tokens_out,
        )
        self.spent += cost

    def _over(self, most: Spent) -> BudgetSpent:
        limits = self.limits
        money = limits.budget is not None and limits.money(self.spent + most) > limits.budget
        key, limit = ("budget", limits.budget) if money else ("token_budget", limits.token_budget)
        return BudgetSpent(
            f"the next request could pass {key} {limit:g}; spent so far: {limits.told(self.spent)}",
            where=limits.where,
            fix=f"every answer is in the ledger; raise {limits.where}.{key} and run the same command again",
        )
