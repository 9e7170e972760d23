"""`lft adapters stack`: adapters that are active together, under one name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_common import LockedOption, LockFileOption, few, folder_of, lock_of, opened, printable
from lft.cli.common import cache_folder

if TYPE_CHECKING:
    from lft.adapters.stacking import How, Kind, Part, Piece


def stack(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPRESSION", help='"0.7*de + 0.3*recipes[0-11]" (first -- if it begins with -); with --chain names'
        ),
    ],
    name: Annotated[str, typer.Option(help="namespace/name in the registry")],
    chain: Annotated[
        bool, typer.Option("--chain", help="one on the other: language first, then the task; the order counts")
    ] = False,
    version: Annotated[str | None, typer.Option(help="three numbers; else the next one")] = None,
    rows: Annotated[
        str, typer.Option(metavar="HOW", help="exact or mean: how rows of tokens of several become one")
    ] = "exact",
    files_of: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="whose tokenizer and prompt format, where they differ")
    ] = None,
    base_of: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="on whose base, where QLoRAs and others are together")
    ] = None,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
) -> None:
    """Name adapters that are active together, each with its weight; nothing is merged.

    generate, chat, method.on_top_of and export take the name for an adapter.
    """
    from lft.adapters.stacking import parts_of
    from lft.adapters.store.stacks import add_stack, place_in
    from lft.errors import RecipeError

    if rows not in ("exact", "mean"):
        raise RecipeError(f"there is no {rows!r}", where="--rows", fix="exact or mean")
    how: How = "mean" if rows == "mean" else "exact"
    pieces = _pieces(what, chain=chain)
    store, lock = opened(), lock_of(locked, lock_file)

    def folder(written: str) -> Path:
        return folder_of(written, store, lock)

    kind: Kind = "chain" if chain else "stack"
    parts = parts_of(pieces, kind, how, place_in(store, folder, cache_folder()))
    files = _whose("--files-of", files_of, pieces, parts, folder)
    like = _whose("--base-of", base_of, pieces, parts, folder)
    stored, new = add_stack(store, parts, kind, name, version, files, like)
    print(f"{stored}: {'added' if new else 'was there already'} ({kind}, sha256:{stored.digest[:12]})")
    for part in parts:
        print(printable(f"  {part.share.share} x {part.ref}"))
    print(f'  lft adapters show {stored}\n  lft generate --adapter {stored} "your instruction"')


def _pieces(what: list[str], *, chain: bool) -> tuple[Piece, ...]:
    from lft.adapters.stacking import piece_of, pieces_of
    from lft.errors import RecipeError

    if chain:
        return tuple(map(piece_of, what))
    if len(what) > 1:
        raise RecipeError(
            f"{len(what)} words, and a weighted sum is one: {few(what)}",
            fix='write "0.7*de + 0.3*recipes" in quotes, or --chain for adapters one on the other',
        )
    return pieces_of(what[0])


def _whose(
    option: str, written: str | None, pieces: tuple[Piece, ...], parts: tuple[Part, ...],
    folder_of: Callable[[str], Path],
) -> str | None:  # fmt: skip
    """The part that somebody means, also by the name that they gave it in the expression."""
    from lft.adapters.stacking import piece_of
    from lft.errors import RecipeError

    if written is None or written in {part.ref for part in parts}:
        return written
    if written in {piece.ref for piece in pieces}:
        folder = folder_of(piece_of(written).ref).resolve()
        if found := next((part.ref for part in parts if part.adapter.folder.resolve() == folder), None):
            return found
    raise RecipeError(f"{written} is not among them", where=option, fix=f"one of {few([p.ref for p in parts])}")
