"""`lft corpus push`: a data set to the Hugging Face hub, or any server that speaks its protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_common import JsonOption, few, printable
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
    from lft.corpus.push import Prepared
    from lft.hub.access import HubRef
    from lft.hub.commit import Pushed


def push(
    folder: Annotated[Path, typer.Argument(help="a build's folder: OUTPUT/NAME, or its 6-write", show_default=False)],
    repository: RepositoryArgument,
    revision: BranchOption = None,
    private: PrivateOption = False,
    message: MessageOption = None,
    dry_run: RehearsalOption = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a data set with its card; nothing with a path of this machine or a key leaves it."""
    import tempfile

    from lft.corpus.push import prepare
    from lft.corpus.push import push as upload

    target = target_of(repository, revision, private, message, "dataset")
    with tempfile.TemporaryDirectory(prefix="lft-push-") as draft:
        prepared = prepare(folder, target.ref, Path(draft))
        if not as_json:
            _say_prepared(prepared, dry_run=dry_run)
        pushed = None if dry_run else upload(prepared, target, say)
    if as_json:
        said: dict[str, object] = {"name": prepared.name, "rows": prepared.rows, "licences": list(prepared.doubts)}
        print_json(said | pushed_json(prepared.uploads, prepared.changes, pushed))
    elif pushed:
        _say_pushed(prepared, pushed, target.ref)


def _say_prepared(prepared: Prepared, *, dry_run: bool) -> None:
    for change in prepared.changes:
        print(printable(str(change)))
    for doubt in prepared.doubts:
        print(printable(f"licence: {doubt}"))
    if dry_run:
        say_rehearsed(prepared.uploads, prepared.card)


def _say_pushed(prepared: Prepared, pushed: Pushed, ref: HubRef) -> None:
    from lft.corpus.push import use_of

    if pushed.removed:
        print(f"removed there, from an earlier push: {few(pushed.removed)}")
    rows, commit = f"{prepared.name} ({prepared.rows:,} rows)", pushed.commit[:12]
    if pushed.new:
        print(f"{rows}: pushed as commit {commit}; the hub has every byte of it")
    else:
        print(f"{rows}: the hub has every byte of it already, in commit {commit}; no new one was made")
    print(f"  {pushed.url}\n  {use_of(ref)}")
