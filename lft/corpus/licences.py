"""Licences as rows name them: what the hub calls them, and which do not let a text be passed on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

# The words that the hub knows for licences; another one is "other", with its name in the card's table.
_HUB: Final = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "odc-by", "unlicense", "gpl-2.0", "gpl-3.0", "gfdl", "bsd-3-clause",
)  # fmt: skip
_NONE: Final = ("", "none", "null", "unknown", "n/a", "?", "unlicensed", "no licence", "no license")
# What is made of a text (a pair of it and an instruction) may not be passed on where derivatives may not.
_FORBIDS: Final = re.compile(
    r"\b(nd|no ?derivs?|no ?derivatives?|all rights reserved|proprietary|confidential|internal|research only|"
    r"personal use|(no|not) redistribut\w+)\b"
)


def hub_licence(name: str) -> str:
    """The hub's word for a licence, ``other`` where it has none."""
    plain = name.lower().replace(" ", "-")
    return plain if plain in _HUB else "other"


def doubts(rows: Mapping[str, int]) -> Iterator[str]:
    """Why not all rows may be passed on, a sentence a licence; ``rows`` counts them by licence.

    Only what a name gives away: a licence that nobody knows is not doubted.
    """
    for name, count in rows.items():
        plain = re.sub(r"[-_\s]+", " ", name.lower()).strip()
        said = f"{count:,} {'row' if count == 1 else 'rows'}"
        if plain in _NONE:
            yield f"{said} without a licence ({name or 'none'}): nobody else may use their texts"
        elif _FORBIDS.search(plain):
            yield f"{said} under {name!r}, which does not let others have what is made of a text"
