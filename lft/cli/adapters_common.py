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
    from lft.adapters.store.lockfile import Lock
    from lft.adapters.store.versions import Stored

WIDTH: Final = 80
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
LockedOption = Annotated[
    bool, typer.Option("--locked", help="take names only as adapters/lft.lock pins them (lft adapters lock)")
]
LockFileOption = Annotated[
    Path | None, typer.Option("--lock-file", metavar="FILE", help="as --locked, with another lock file")
]


def opened() -> Store:
    """The registry of this user."""
    from lft.adapters.store.layout import open_store

    return open_store(registry_folder())


def folder_of(written: str, store: Store, lock: Lock | None = None) -> Path:
    """The folder of whatever is written where an adapter is asked for: a folder, a name, or the hub's user/name.

    With a lock it is what that pins, and nothing else.

    Raises:
        InputError: there is none of these, it is not locked, or the adapter is refused.
    """
    from lft.adapters.hub import adapter_folder_from

    return adapter_folder_from(written, store, lambda text: typer.echo(text, err=True), lock)


def version_of(folder: Path, store: Store) -> Stored | None:
    """The version that a checkout is of; None for a folder that is none."""
    from lft.adapters.store.versions import by_digest

    return by_digest(store, folder.name) if folder.resolve().parent == store.checkouts.resolve() else None


def lock_of(locked: bool, file: Path | None) -> Lock | None:
    """What ``--locked`` and ``--lock-file`` ask for: a lock, or none.

    Raises:
        InputError: the file is missing or damaged.
    """
    from lft.adapters.store.lockfile import LOCK_FILE, read_lock

    return read_lock(file or Path(LOCK_FILE)) if locked or file else None


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
