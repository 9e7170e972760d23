"""`lft adapters`: the registry. Adapters by name and version, what they are and where they come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lft.cli.adapters_common import (
    WIDTH,
    JsonOption,
    amount,
    few,
    folder_of,
    opened,
    printable,
    tags_given,
    version_of,
)
from lft.cli.adapters_export import export
from lft.cli.adapters_hub import pull, push
from lft.cli.adapters_merge import TakesExpression, advise, merge
from lft.cli.adapters_search import search
from lft.cli.adapters_sign import IdentityOption, IssuerOption, KeyOption, PolicyOption, sign
from lft.cli.adapters_stack import stack
from lft.cli.adapters_store import fsck, gc, lock, reindex

if TYPE_CHECKING:
    from lft.adapters.store.index import Row
    from lft.adapters.store.versions import Stored

app = typer.Typer(
    help="The registry: adapters by name and version. It lies in $LFT_HOME/registry (~/.local/share/lft).",
    add_completion=False, rich_markup_mode=None, no_args_is_help=True,
)  # fmt: skip

_NAME, _VERSION, _BASE, _METHOD = 28, 9, 14, 10  # widest columns
REF: Final = "name, name:1.0.0, name@alias or name@sha256:.."
RefArgument = Annotated[str, typer.Argument(metavar="ADAPTER", help=REF, show_default=False)]
LangOption = Annotated[list[str] | None, typer.Option("--lang", metavar="CODE", help="language; may be repeated")]
DomainOption = Annotated[list[str] | None, typer.Option("--domain", metavar="WORD", help="domain; may be repeated")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="any tag; may be repeated")]


@app.command()
def add(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="a run, or the folder of an adapter")],
    name: Annotated[str | None, typer.Option(help="namespace/name; else output.adapter of its recipe")] = None,
    version: Annotated[str | None, typer.Option(help="three numbers; else the next one, beginning with 1.0.0")] = None,
    lang: LangOption = None,
    domain: DomainOption = None,
    tag: TagOption = None,
    base: Annotated[str | None, typer.Option(help="the base's id, where the adapter does not name it")] = None,
    alias: Annotated[str | None, typer.Option(help="let this alias point to it")] = None,
) -> None:
    """Store an adapter as a new version.

    One that is stored already is not stored again. A run brings its recipe, lock file and validation loss along.
    """
    from lft.adapters.store.add import Origin, add_adapter
    from lft.adapters.store.leases import leased
    from lft.adapters.store.marks import alias_digest, move_alias
    from lft.adapters.store.names import alias_name
    from lft.base.attach import adapter_folder
    from lft.cli.adapters_run import run_history

    if alias is not None:
        alias_name(alias)
    store, folder = opened(), adapter_folder(source)
    run, scores = run_history(folder)
    origin = Origin(name, version, base, tags_given(tag, lang=lang, domain=domain), run, scores)
    added = add_adapter(store, folder, origin)
    if alias is not None:
        with leased(store) as lease:
            known = added.stored.manifest.name
            move_alias(lease, known, alias, added.stored, alias_digest(store, known, alias))
    _say_added(added.stored, added.new, alias)
    if added.ignored:
        print(f"left out, as not part of an adapter: {few(added.ignored)}")
    for parent in added.unknown_parents:
        print(
            f"it lies on an adapter that is not in the registry ({parent.weights[:12]}):\n"
            "  add that one first, then this one again, so that the two stay together"
        )


def _say_added(stored: Stored, new: bool, alias: str | None) -> None:
    from lft.adapters.store.lookup import meant_instead

    what = "added" if new else "was there already"
    print(f"{stored}: {what} ({amount(stored.manifest.size)}, sha256:{stored.digest[:12]})")
    if alias:
        print(f"{stored.manifest.name}@{alias} points to it")
    if other := meant_instead(opened(), stored):
        print(other)
    print(f'  lft adapters show {stored}\n  lft generate --adapter {stored} "your instruction"')


@app.command("list")
def list_(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="only names with this text")] = "",
    lang: LangOption = None,
    domain: DomainOption = None,
    tag: TagOption = None,
    base: Annotated[str, typer.Option(help="only of bases with this text in their id")] = "",
    method: Annotated[str, typer.Option(help="only of this method: lora, dora, nf4 ...")] = "",
    all_versions: Annotated[bool, typer.Option("--all", help="all versions, not only the newest")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the adapters, or those that match every filter."""
    from lft.adapters.store.index import Query, listed

    store = opened()
    asked = Query(text, base, method, tags_given(tag, lang=lang, domain=domain), all_versions)
    rows = listed(store, asked)
    if as_json:
        print(json.dumps([row._asdict() for row in rows], ensure_ascii=False, indent=1))
    elif rows:
        sys.stdout.write("\n".join(_table(rows)) + "\n")
    elif asked == Query(all_versions=all_versions):
        print(f"the registry is empty; fill it with `lft adapters add RUN`\n  it lies in {store.root}")
    else:
        print("no adapter matches; `lft adapters list` shows them all")


def _table(rows: list[Row]) -> Iterator[str]:
    """Rows in 80 columns; a name that is too long has a line of its own, so that it can be copied whole."""
    heads = ("ADAPTER", "VERSION", "BASE", "METHOD")
    cells = [(printable(row.name), row.version, _end(row.base, _BASE), _end(row.method, _METHOD)) for row in rows]
    caps = (_NAME, _VERSION, _BASE, _METHOD)
    columns = zip(zip(heads, *cells, strict=True), caps, strict=True)
    a, b, c, d = (max(len(text) for text in column if len(text) <= cap) for column, cap in columns)
    indent = a + b + c + d + 15
    yield f"{heads[0]:<{a}}  {heads[1]:<{b}}  {heads[2]:<{c}}  {heads[3]:<{d}}  RANK  TAGS"
    for row, (name, version, base, method) in zip(rows, cells, strict=True):
        first = name if len(name) <= a else f"{name}\n{'':<{a}}"
        if row.problem:
            yield f"{first:<{a}}  {version:<{b}}  broken: {row.problem}"
            continue
        rank = "-" if row.r is None else row.r
        start = f"{first:<{a}}  {version:<{b}}  {base:<{c}}  {method:<{d}}  {rank:>4}"
        said = _said(row)
        if said:
            start += f"  {said}" if len(said) <= WIDTH - indent else f"\n{_wrapped(said)}"
        yield start


def _said(row: Row) -> str:
    """Aliases and tags."""
    words = [f"@{alias}" for alias in row.aliases]
    return printable("  ".join([*words, *(f"{key}={','.join(values)}" for key, values in row.tags.items())]))


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


@cache
def _end(text: str, width: int) -> str:
    """The end of a base's id or of a method, which tells it apart; a dash for none."""
    end = printable(text.rstrip("/").rpartition("/")[2])
    return (end if len(end) <= width else end[: width - 1] + "…") or "-"


@app.command()
def show(
    adapter: RefArgument,
    targets: Annotated[bool, typer.Option("--targets", help="every module with its rank and norm")] = False,
    recipe: Annotated[bool, typer.Option("--recipe", help="print the recipe that it was trained with")] = False,
    card: Annotated[bool, typer.Option("--card", help="print a card for the catalogue, to fill in")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what an adapter is and where it comes from."""
    from lft.adapters.store.lookup import resolve
    from lft.cli import adapters_show as shown
    from lft.errors import RecipeError

    if sum((targets, recipe, card, as_json)) > 1:
        raise RecipeError("--targets, --recipe, --card and --json exclude each other", fix="give one of them")
    store = opened()
    stored = resolve(store, adapter)
    if as_json:
        print(json.dumps(shown.as_json(store, stored), ensure_ascii=False, indent=1))
    elif card:
        from lft.adapters.store.card import card_text

        print(card_text(store, stored), end="")
    elif recipe:
        print(shown.recipe(store, stored), end="")
    else:
        for line in shown.targets(stored) if targets else shown.overview(store, stored):
            print(printable(line))


@app.command()
def tag(
    adapter: RefArgument,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="lang=de,en sets a tag, lang= removes it")
    ] = None,
) -> None:
    """Give a version tags, or show those that it has."""
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve
    from lft.adapters.store.marks import tag as change
    from lft.adapters.store.marks import tags as known

    store = opened()
    stored = resolve(store, adapter)
    found = known(store, stored.manifest)
    if changes:
        with leased(store) as lease:
            found = change(lease, stored, {key: values or None for key, values in tags_given(changes).items()})
    print(f"{stored}")
    for key, values in found.items():
        print(f"  {printable(key)}: {printable(', '.join(values))}")
    if not found:
        print("  no tags")


@app.command()
def alias(
    adapter: RefArgument,
    alias: Annotated[
        str | None, typer.Argument(metavar="[ALIAS]", help="a word; `default` is what a bare name means")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="remove the alias")] = False,
    expect: Annotated[
        str | None, typer.Option(metavar="VERSION", help="move it only where it points to this version now")
    ] = None,
) -> None:
    """Let an alias point to a version, or show where they point."""
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve
    from lft.adapters.store.marks import alias_digest, move_alias
    from lft.adapters.store.names import reference
    from lft.adapters.store.versions import version
    from lft.cli.adapters_show import alias_lines

    store = opened()
    if alias is None:
        print(
            "\n".join(
                map(printable, alias_lines(store, reference(adapter).name or resolve(store, adapter).manifest.name))
            )
        )
        return
    name = reference(adapter).name if remove else resolve(store, adapter).manifest.name
    stored = None if remove else resolve(store, adapter)
    before = alias_digest(store, name, alias)
    if remove and before is None:
        resolve(store, f"{name}@{alias}")
    with leased(store) as lease:
        expected = version(store, name, expect).digest if expect else before
        move_alias(lease, name, alias, stored, expected)
    if stored is None:
        print(f"{name}@{alias}: removed")
    elif before == stored.digest:
        print(f"{name}@{alias} pointed to {stored} already")
    else:
        was = f" (before: sha256:{before[:12]})" if before else ""
        print(f"{name}@{alias} -> {stored}{was}")


@app.command()
def remove(
    adapter: RefArgument,
    force: Annotated[bool, typer.Option("--force", help="also remove the aliases that point to it")] = False,
) -> None:
    """Remove a version; gc then frees its room.

    What something else was made from stays. Its number is never given to other content.
    """
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve
    from lft.adapters.store.marks import aliases, move_alias
    from lft.adapters.store.names import reference
    from lft.adapters.store.versions import remove as take_out
    from lft.adapters.store.versions import versions
    from lft.errors import RecipeError

    store = opened()
    asked = reference(adapter)
    stored = resolve(store, asked)
    name = stored.manifest.name
    if str(asked) == name and len(versions(store, name)) > 1:
        raise RecipeError(f"{name} has several versions", fix=f"say which: lft adapters remove {stored}")
    pointing = [word for word, digest in aliases(store, name).items() if digest == stored.digest]
    if pointing and not force:
        raise RecipeError(
            f"{few([f'{name}@{word}' for word in pointing])} points to {stored}",
            fix="move the alias first, or remove it too with --force",
        )
    with leased(store) as lease:
        for word in pointing:
            move_alias(lease, name, word, None, stored.digest)
        take_out(lease, stored)
    print(f"{stored}: removed{f', with {few(pointing)}' if pointing else ''}; `lft adapters gc` frees its room later")


@app.command()
def checkout(adapter: RefArgument) -> None:
    """Print the folder of an adapter, for plain `peft`; of a stack with its adapters' beside it.

    The folder is read-only and made where it is not there.
    """
    from lft.adapters.store.checkout import materialise
    from lft.adapters.store.lookup import resolve

    store = opened()
    print(materialise(store, resolve(store, adapter).digest))


@app.command()
def verify(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help=f"{REF}; or a folder", show_default=False)],
    base: Annotated[str | None, typer.Option(help="the base to compare with: hub id or folder")] = None,
    allow_mismatch: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="tolerate what differs from this level on: L1 to L4")
    ] = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Check the files of an adapter, who signed them, and whether it belongs on a base; of a stack each of its own."""
    from lft.adapters.fit import side_of
    from lft.adapters.store.checkout import finder
    from lft.base.binding import is_stack
    from lft.base.places import or_remembered
    from lft.base.resolve import named_base, resolve_base
    from lft.cli.adapters_sign import check_signatures, policy_of
    from lft.cli.adapters_verify import verify as check
    from lft.cli.adapters_verify import verify_stack
    from lft.cli.common import cache_folder

    store, side, wanted = opened(), None, policy_of(policy, key, identity, issuer)
    folder = folder_of(adapter, store)
    check_signatures(folder, store, wanted)
    if base is not None:
        ref = resolve_base(named_base(base), cache_folder(), typer.echo)
        side = side_of(ref)

    def name_of(place: Path) -> str:
        return str(version_of(place, store) or place)

    find = or_remembered(finder(store), cache_folder())
    if is_stack(folder):
        verify_stack(folder, side, allow_mismatch, cache_folder(), find, name_of(folder), name_of)
    else:
        check(folder, side, allow_mismatch, cache_folder(), find, name_of(folder))


app.command(cls=TakesExpression)(merge)
app.command(cls=TakesExpression)(stack)
app.command(cls=TakesExpression)(export)
for command in (advise, search, sign, pull, push, lock, gc, fsck, reindex):
    app.command()(command)
