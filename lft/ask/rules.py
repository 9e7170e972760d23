"""What must hold of a backend beyond its keys; each function says what is broken, or None."""

from __future__ import annotations

import re
from typing import Final

from lft.ask.schema import Backend
from lft.recipe.problems import shown

_URL: Final = re.compile(r"https?://[^\s/]+(/\S*)?")


def has_address(backend: Backend) -> str | None:
    """An endpoint needs an address, a model in this process has none."""
    if backend.kind == "openai" and not _URL.fullmatch(backend.url or ""):
        return f"kind openai needs url: http(s)://host/v1, got {shown(str(backend.url))}"
    if backend.kind != "openai" and (backend.url or backend.key_env):
        return "url and key_env are for kind openai only"
    return None


def has_price(backend: Backend) -> str | None:
    """A budget without prices would never be reached."""
    if backend.budget is not None and not (backend.price_in or backend.price_out):
        return "a budget needs price_in and price_out"
    return None
