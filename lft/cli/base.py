"""`lft base`: fingerprints of models, and weight differences between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.common import cache_folder, quiet_libraries

if TYPE_CHECKING:
    from lft.base.diff import Summary
    from lft.base.resolve import BaseRef

app = typer.Typer(
    help="Base models: fingerprint, weight differences.",
    add_completion=False, rich_markup_mode=None, no_args_is_help=True,
)  # fmt: skip
diff_app = typer.Typer(
    help="A tuned model as base + difference: make, apply, check.",
    add_completion=False, rich_markup_mode=None, no_args_is_help=True,
)  # fmt: skip
app.add_typer(diff_app, name="diff")

_MODEL = "hub id, folder, file.gguf or package://name"
BaseArgument = Annotated[str, typer.Argument(metavar="BASE", help=f"the base: {_MODEL}", show_default=False)]
DiffArgument = Annotated[str, typer.Argument(metavar="DIFF", help="the difference: folder or hub id")]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="folder that is written; it may not exist yet")]
BaseRevision = Annotated[str | None, typer.Option(help="hub commit, tag or branch of the base")]
DiffRevision = Annotated[str | None, typer.Option(help="hub commit, tag or branch of the difference")]


@app.command()
def fingerprint(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    revision: Annotated[str | None, typer.Option(help="hub commit, tag or branch")] = None,
) -> None:
    """Print what identifies a model by content, whatever its sharding."""
    from lft.base.fingerprint import fingerprint as of

    ref = _resolved(model, revision)
    found = of(ref.folder, cache_folder())
    print(f"weights    {found.weights}\ntokenizer  {found.tokenizer}\nconfig     {found.config_digest}")


@diff_app.command()
def make(
    base: BaseArgument,
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help=f"the tuned model: {_MODEL}")],
    out: OutArgument,
    base_revision: BaseRevision = None,
    tuned_revision: Annotated[str | None, typer.Option(help="hub commit, tag or branch of the tuned model")] = None,
) -> None:
    """Write TUNED - BASE, from which `apply` gives TUNED back byte for byte."""
    from lft.base.diff import make_diff

    summary = make_diff(_resolved(base, base_revision), _resolved(tuned, tuned_revision), out, cache_folder(), _say)
    _print_counts(summary)
    print(f"base       {summary.base}\nresult     {summary.result}")
    print(f"{out}: {_amount(summary.stored_bytes)}; `lft base diff apply BASE {out} NEW` makes the model again")


@diff_app.command()
def apply(
    base: BaseArgument,
    diff: DiffArgument,
    out: OutArgument,
    base_revision: BaseRevision = None,
    diff_revision: DiffRevision = None,
    expect: Annotated[
        str | None, typer.Option(metavar="HEX", help="weights fingerprint that the result must have")
    ] = None,
    add_token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="token of the row that a float difference adds, e.g. [EOI]")
    ] = None,
) -> None:
    """Write BASE + DIFF as a model; a wrong base is refused before anything is written."""
    from lft.base.diff import apply_diff, resolve_diff

    folder = resolve_diff(diff, diff_revision, _say)
    summary = apply_diff(
        _resolved(base, base_revision), folder, out, cache_folder(), _say, expect and expect.lower(), add_token
    )
    _print_counts(summary)
    print(f"result     {summary.result}")
    print(f"{out}: written; use it as base.model, or anywhere a model folder is taken")


@diff_app.command()
def check(
    diff: DiffArgument,
    base: Annotated[str | None, typer.Argument(metavar="[BASE]", help="check that it is against this base")] = None,
    diff_revision: DiffRevision = None,
    base_revision: BaseRevision = None,
) -> None:
    """Check the files of a difference and, with BASE, that it belongs to it."""
    from lft.base.diff import check_diff, resolve_diff

    folder = resolve_diff(diff, diff_revision, _say)
    ref = _resolved(base, base_revision) if base else None
    record = check_diff(folder, ref, cache_folder(), _say)
    if record is None:
        print(f"{diff}: a float difference; its base is not recorded" + ("; names and shapes fit" if ref else ""))
        return
    commit = f" at {record.base.revision}" if record.base.revision else ""
    print(f"{diff}: whole, against {record.base.model}{commit}" + ("; this base is the one" if ref else ""))
    print(f"base       {record.base.weights}\nresult     {record.result}")


def _resolved(written: str, revision: str | None) -> BaseRef:
    from lft.base.resolve import resolve_base
    from lft.recipe.schema import Base

    if written.startswith("package://") or written.endswith(".gguf"):  # may be converted, which libraries comment on
        quiet_libraries()
    return resolve_base(Base.model_validate({"model": written, "revision": revision}), cache_folder(), _say)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_counts(summary: Summary) -> None:
    print(f"{summary.changed} tensors differ, {summary.same} are the base's")
    for names, what in (
        (summary.grown, "with rows that the base has not"),
        (summary.whole, "that only the tuned model has"),
        (summary.left_out, "left out, as only one of the two has it"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            print(f"{len(names)} {what}: {names[0]}{more}")


def _amount(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**7 else f"{size / 1e3:.1f} kB"
