"""`lft adapters pull` and `push`: adapters from and to the Hugging Face hub, or any server that speaks its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_common import JsonOption, amount, few, opened, printable
from lft.cli.hub import (
    BranchOption,
    MessageOption,
    PrivateOption,
    RehearsalOption,
    RepositoryArgument,
    print_json,
    pushed_json,
    say,
    say_rehearsed,
    target_of,
)

if TYPE_CHECKING:
    from lft.adapters.hub import Pulled
    from lft.adapters.hub_push import Prepared
    from lft.adapters.store.layout import Store
    from lft.adapters.store.versions import Stored
    from lft.hub.commit import Pushed


def pull(
    repository: Annotated[
        str, typer.Argument(metavar="USER/NAME[@REVISION]", help="branch, tag or commit; else main", show_default=False)
    ],
    name: Annotated[str | None, typer.Option(help="what it is called here; else user/name")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an adapter from the hub into the registry, checked byte for byte; it needs no network a second time."""
    from lft.adapters.hub import pull as bring
    from lft.hub.access import hub_ref

    store = opened()
    pulled = bring(store, hub_ref(repository), say, name)
    if as_json:
        print_json(
            {"version": str(pulled.stored), "digest": pulled.stored.digest, "weights": pulled.stored.manifest.weights}
            | {"commit": pulled.commit, "new": pulled.new, "aliases": list(pulled.aliases)}
        )
    else:
        _say_pulled(store, pulled)


def push(
    adapter: Annotated[
        str,
        typer.Argument(metavar="ADAPTER", help="name, name:1.0.0, name@alias or name@sha256:..", show_default=False),
    ],
    repository: RepositoryArgument,
    revision: BranchOption = None,
    private: PrivateOption = False,
    message: MessageOption = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="USER/MODEL", help="what others find the base as, where it is a folder here; or none"),
    ] = None,
    dry_run: RehearsalOption = False,
    as_json: JsonOption = False,
) -> None:
    """Upload an adapter with a model card; nothing with a path of this machine or a key leaves it."""
    from lft.adapters.hub_push import prepare
    from lft.adapters.hub_push import push as upload
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve

    target = target_of(repository, revision, private, message)
    store = opened()
    stored = resolve(store, adapter)
    with leased(store) as lease:
        prepared = prepare(lease, stored, target.ref, base, rehearsal=dry_run)
        if not as_json:
            _say_signatures(store, stored, prepared)
            _say_prepared(prepared, str(stored), dry_run=dry_run)
        pushed = None if dry_run else upload(lease, prepared, target, say)
    if as_json:
        print_json(_as_json(prepared, pushed))
    elif pushed:
        _say_pushed(prepared, pushed, target.ref)


def _say_pulled(store: Store, pulled: Pulled) -> None:
    from lft.adapters.store.lookup import meant_instead

    stored = pulled.stored
    what = "added" if pulled.new else "was there already"
    print(
        f"{stored}: {what} ({amount(stored.manifest.size)}, sha256:{stored.digest[:12]}, commit {pulled.commit[:12]})"
    )
    for alias in pulled.aliases:
        print(f"{stored.manifest.name}@{alias} points to it")
    if other := meant_instead(store, stored):
        print(other)
    print(f"base: {printable(stored.manifest.base.id) or 'not recorded'}")
    if pulled.left_out:
        print(f"not fetched, as not part of an adapter: {few(pulled.left_out)}")
    print(f'  lft adapters show {stored}\n  lft generate --adapter {stored} "your instruction"')


def _say_signatures(store: Store, asked: Stored, prepared: Prepared) -> None:
    from lft.adapters.store.marks import signatures

    pushed = signatures(store, prepared.stored.manifest)
    if len(pushed) > 1:
        print(f"of its {len(pushed)} signatures the last one goes with it, by {pushed[-1].signer}")
    if not pushed and signatures(store, asked.manifest):
        print(f"its signature is over other bytes and stays here: lft adapters sign {prepared.stored}, then push again")


def _say_prepared(prepared: Prepared, asked: str, *, dry_run: bool) -> None:
    for change in prepared.changes:
        print(printable(str(change)))
    if str(prepared.stored) != asked:
        print(f"stored as {prepared.stored} (sha256:{prepared.stored.digest[:12]}); that is what is pushed")
    for name in prepared.lacking:
        print(f"it was made from {name}, which is on no hub yet: push that first, so that others have both")
    if not dry_run:
        return
    if prepared.changes:
        print("a version with these changes is made when it is pushed")
    say_rehearsed(prepared.uploads, prepared.card)


def _say_pushed(prepared: Prepared, pushed: Pushed, ref: object) -> None:
    if pushed.removed:
        print(f"removed there, from an earlier adapter: {few(pushed.removed)}")
    print(f"{prepared.stored}: pushed as commit {pushed.commit[:12]}; the hub has every byte of it")
    print(f"  {pushed.url}")
    name = prepared.stored.manifest.name
    own = "" if name == str(ref).partition("@")[0] else f" --name {name}"
    print(f"  lft adapters pull {ref}{own}")


def _as_json(prepared: Prepared, pushed: Pushed | None) -> dict[str, object]:
    said = {"version": str(prepared.stored), "digest": prepared.stored.digest}
    return said | pushed_json(prepared.uploads, prepared.changes, pushed)
