"""What tells who or where a person is: e-mail addresses, telephone and card numbers, bank accounts.

Patterns find what is written as usual; a name or a street they do not find.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["e-mail address", "bank account", "card number", "telephone number"]

_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_ACCOUNT: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_DIGITS: Final = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
# With a plus or a leading zero and in groups, or in brackets: what is neither is more often a year, a size, a version.
_PHONE: Final = re.compile(
    r"(?<![\w.,/-])(?<!\d )(?:\+\d{1,3}[ ./-]?(?:\(\d{1,5}\)[ ./-]?)?|\(0?\d{2,5}\)[ ./-]?|0\d{2,5}[ /-])"
    r"\d(?:[ ./-]?\d){5,11}(?![\w-])"
)
# Addresses that nobody has (RFC 2606), and what programs write where an address would stand.
_NOBODYS: Final = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|net|org)|example|invalid|localhost|test)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Found:
    """A place in a text: ``text[start:end]``."""

    kind: Kind
    start: int
    end: int


def personal(text: str) -> list[Found]:
    """Where a text tells who or where a person is, in its order, without overlaps."""
    found = [Found("e-mail address", *one.span()) for one in _EMAIL.finditer(text) if not _NOBODYS.search(one[0])]
    found += [Found("bank account", *one.span()) for one in _ACCOUNT.finditer(text) if _is_account(one[0])]
    found += [Found("card number", *one.span()) for one in _DIGITS.finditer(text) if _is_card(one[0])]
    found += [Found("telephone number", *one.span()) for one in _PHONE.finditer(text) if len(set(one[0])) > 3]
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def masked(text: str) -> str:
    """The text with its kind in place of each: [e-mail address]."""
    while found := personal(text):  # what stood beside a place may be one by itself: a number cut off from a longer one
        parts, at = [], 0
        for one in found:
            parts += [text[at : one.start], f"[{one.kind}]"]
            at = one.end
        text = "".join([*parts, text[at:]])
    return text


def _is_card(text: str) -> bool:
    """Luhn's sum: one in ten numbers of that length has it by chance."""
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_account(text: str) -> bool:
    """ISO 13616: the rest of 97 is 1."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1
