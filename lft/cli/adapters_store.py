"""`lft adapters lock / gc / fsck / reindex`: what keeps a registry reproducible, small and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lft.cli.adapters_common import JsonOption, amount, counted, opened, printable

if TYPE_CHECKING:
    from lft.adapters.store.fsck import Report
    from lft.adapters.store.layout import Store
    from lft.adapters.store.lockfile import Lock

LOCK: Final = Path("adapters/lft.lock")
_SHOWN: Final = 50  # findings that are printed


def lock(
    adapters: Annotated[
        list[str] | None, typer.Argument(metavar="[ADAPTER]...", help="name, name:1.0.0, name@alias, name@sha256:..")
    ] = None,
    file: Annotated[Path, typer.Option(metavar="FILE", help="the lock file")] = LOCK,
    check: Annotated[bool, typer.Option("--check", help="only check that all of it is there and unchanged")] = False,
    update: Annotated[bool, typer.Option("--update", help="lock every name to what it means now")] = False,
    drop: Annotated[list[str] | None, typer.Option("--drop", metavar="ADAPTER", help="take this one out")] = None,
) -> None:
    """Pin adapters by digest in a file to commit.

    The file names all that they were made from as well, so that another machine gets the very same or says what is
    missing.
    """
    from lft.adapters.store.lockfile import extended, make_lock, read_lock, write_lock
    from lft.errors import RecipeError

    if sum((bool(adapters), check, update, bool(drop))) != 1:
        raise RecipeError("name adapters to lock, or give --check, --update or --drop", fix="lft adapters lock --help")
    store = opened()
    known = read_lock(file) if check or update or drop or file.exists() else None
    if check:
        assert known is not None
        _check(store, known, file)
        return
    if known is not None and update:
        new = make_lock(store, known.asked)
    else:
        new = extended(store, known, adapters or (), drop or ())
    write_lock(new, file)
    print(f"{file}: {counted(len(new.asked), 'name')}, {counted(len(new.adapters), 'version')} with their parents")
    before = {text: pin for pin in known.adapters for text in pin.asked} if known else {}
    for pin in new.adapters:
        for text in pin.asked:
            if text not in before or before[text].digest != pin.digest:
                print(f"  {printable(text)} -> {pin.name}:{pin.version} (sha256:{pin.digest[:12]})")


def _check(store: Store, known: Lock, file: Path) -> None:
    """Fail where something is missing or damaged, or where a name means something else now."""
    from lft.adapters.store.lockfile import moved, verify
    from lft.errors import InputError

    if problems := verify(store, known, whole=True) + moved(store, known):
        lines = [f"{counted(len(problems), 'thing')} not as locked", *dict.fromkeys(problems)]
        raise InputError(
            "\n  ".join(map(printable, lines)),
            where=str(file),
            fix="add or pull what is missing; where a name moved, --locked takes what is pinned, and "
            "lft adapters lock --update pins what it means now",
        )
    print(f"{file}: {counted(len(known.adapters), 'version')}, whole and as locked")


def gc(
    grace: Annotated[float, typer.Option(min=0, metavar="HOURS", help="younger things are let alone")] = 24.0,
    locks: Annotated[
        list[Path] | None,
        typer.Option("--lock", metavar="FILE", help="keep what this lock file names (adapters/lft.lock always)"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
) -> None:
    """Free what nothing needs, by way of the trash.

    The first run moves it to the trash, a later one removes it from there.
    """
    from lft.adapters.store.gc import collect, found
    from lft.adapters.store.lockfile import read_lock

    store, files = opened(), [*(locks or ()), *([LOCK] if LOCK.exists() else [])]
    locked = [digest for file in files for digest in read_lock(file).digests]
    what = (found if dry_run else collect)(store, grace * 3600, locked)
    would = "would be " if dry_run else ""
    moved, gone = sum(size for _, size in what.blobs), sum(size for _, size in what.trashed)
    print(f"{counted(what.needed, 'blob')} needed")
    print(f"{counted(len(what.blobs), 'blob')} {would}moved to the trash ({amount(moved)})")
    print(f"{counted(len(what.trashed), 'blob')} {would}removed from the trash ({amount(gone)} freed)")
    for number, words in ((len(what.back), "blob brought back"), (len(what.checkouts), "checkout removed")):
        if number:
            print(f"{counted(number, words)}")
    if what.writers:
        print(f"{counted(what.writers, 'draft')} of killed writers {would}removed")


def fsck(
    quick: Annotated[bool, typer.Option("--quick", help="sizes and headers, not every byte")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that everything is what it should be.

    Every blob, manifest, alias and tag, and the index; exit code 3 where one is not.
    """
    from dataclasses import asdict

    from lft.adapters.store.fsck import check

    report = check(opened(), quick=quick)
    if as_json:
        print(json.dumps(asdict(report), ensure_ascii=False, indent=1))
    else:
        _print_report(report, quick)
    if report.findings:
        raise typer.Exit(3)


def _print_report(report: Report, quick: bool) -> None:
    for note in report.notes:
        print(f"note: {printable(note)}")
    for finding in report.findings[:_SHOWN]:
        print(f"{printable(finding.where)}\n  {printable(finding.what)}")
    if len(report.findings) > _SHOWN:
        print(f"and {len(report.findings) - _SHOWN:,} more; --json shows them all")
    amounts = ", ".join(
        (
            counted(report.versions, "version"),
            counted(report.aliases, "alias", "aliases"),
            f"{counted(report.blobs, 'blob')} ({amount(report.bytes)})",
        )
    )
    how = "sizes and headers looked at" if quick else "every byte read"
    verdict = counted(len(report.findings), "problem") if report.findings else "all as it should be"
    print(f"{amounts}: {verdict} ({how})")


def reindex() -> None:
    """Make the index anew that `list` looks into."""
    from lft.adapters.store.index import reindex as made_anew

    print(f"{counted(made_anew(opened()), 'version')} in the index")
