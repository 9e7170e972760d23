"""What pushing an adapter and pushing a data set have in common: options, the target, words for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_common import amount, printable

if TYPE_CHECKING:
    from lft.hub.commit import Pushed, Target, Upload
    from lft.hub.secrets import Change
    from lft.hub.waits import Kind

REPO_HELP = "user/name; HF_ENDPOINT names another hub than huggingface.co"
RepositoryArgument = Annotated[str, typer.Argument(metavar="USER/NAME", help=REPO_HELP, show_default=False)]
BranchOption = Annotated[str | None, typer.Option("--revision", help="branch, made where it is not there; else main")]
PrivateOption = Annotated[bool, typer.Option("--private", help="make the repository private")]
MessageOption = Annotated[str | None, typer.Option("--message", help="of the commit")]
RehearsalOption = Annotated[bool, typer.Option("--dry-run", help="show files and card; ask and change nothing")]


def target_of(
    repository: str, revision: str | None, private: bool, message: str | None, kind: Kind = "model"
) -> Target:
    """Where a push goes.

    Raises:
        InputError: it is no repository.
        RecipeError: the branch is given twice.
    """
    from lft.errors import RecipeError
    from lft.hub.access import HubRef, hub_ref
    from lft.hub.commit import Target

    ref = hub_ref(repository)
    if ref.revision is not None and revision is not None:
        raise RecipeError("the branch is given twice", fix=f"leave out --revision or @{ref.revision}")
    return Target(hub_ref(str(HubRef(ref.repo, ref.revision or revision))), private, message, kind)


def say(text: str) -> None:
    """A line for people, beside the output."""
    typer.echo(printable(text), err=True)


def print_json(content: dict[str, object]) -> None:
    """The output for programs."""
    import json

    print(json.dumps(content, ensure_ascii=False, indent=1))


def say_rehearsed(uploads: Sequence[Upload], card: str) -> None:
    """What a push would upload."""
    for one in uploads:
        print(f"{one.sha256[:12]}  {amount(one.size):>10}  {one.name}")
    size = sum(one.size for one in uploads)
    print(f"{amount(size)} in all; nothing was uploaded. The card:\n\n{card}")


def pushed_json(uploads: Iterable[Upload], changes: Iterable[Change], pushed: Pushed | None) -> dict[str, object]:
    """What was (or would be) pushed, for programs."""
    return {
        "files": [{"path": one.name, "size": one.size, "sha256": one.sha256} for one in uploads],
        "changes": [{"file": one.file, "key": one.key, "after": one.after} for one in changes],
        "commit": pushed.commit if pushed else None,
        "removed": list(pushed.removed) if pushed else [],
    }
