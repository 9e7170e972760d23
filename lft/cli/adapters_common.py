"""What the commands of `lft adapters` share: the registry's place, and words for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lft.cli.common import registry_folder

if TYPE_CHECKING:
    from lft.adapters.store.layout import Store

WIDTH: Final = 80
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


def opened() -> Store:
    """The registry of this user."""
    from lft.adapters.store.layout import open_store

    return open_store(registry_folder())


def folder_of(written: str, store: Store) -> Path:
    """The folder of whatever is written where an adapter is asked for: a folder, a name, or the hub's user/name.

    Raises:
        InputError: there is none of these, or the adapter is refused.
    """
    from lft.adapters.hub import adapter_folder_from

    return adapter_folder_from(written, store, lambda text: typer.echo(text, err=True))


def printable(text: str) -> str:
    """Somebody's text without the characters that would steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def few(words: Sequence[str]) -> str:
    """Words with commas; of many the first five and how many more there are."""
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return ", ".join(map(printable, words[:5])) + more


def amount(size: int) -> str:
    """Bytes as 1.4 MB or 3.2 kB."""
    return f"{size / 1e6:,.1f} MB" if size >= 10**6 else f"{size / 1e3:.1f} kB"


def counted(number: int, one: str, many: str = "") -> str:
    """1 blob, 2 blobs."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def tags_given(written: Sequence[str] | None, **named: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Tags from ``key=value,value`` words and from options of their own.

    Raises:
        RecipeError: a word is no tag.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in written or ():
        key, values = _pair(word)
        found[key] = (*found.get(key, ()), *values)
    for key, options in named.items():
        if options:
            found[key] = (*found.get(key, ()), *(part for option in options for part in option.split(",") if part))
    return found


def _pair(word: str) -> tuple[str, tuple[str, ...]]:
    from lft.adapters.store.names import is_tag
    from lft.errors import RecipeError

    key, equals, values = word.partition("=")
    if not equals or not is_tag(key):
        raise RecipeError(f"{word!r} is no tag", fix="write key=value, such as lang=de or license=apache-2.0")
    return key, tuple(part for part in values.split(",") if part)
