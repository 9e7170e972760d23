"""`lft adapters merge` and `lft adapters advise`: adapters of one base, merged by a stated method; first compared."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from lft.cli.adapters_common import WIDTH, LockedOption, LockFileOption, folder_of, lock_of, opened, printable
from lft.cli.common import cache_folder

if TYPE_CHECKING:
    from lft.adapters.certificate import Certificate
    from lft.adapters.expression import MergePlan
    from lft.adapters.inputs import Inputs
    from lft.adapters.merge import Merged
    from lft.adapters.store.layout import Store

_OPTION: Final = re.compile(r"-[A-Za-z]?|--.*", re.DOTALL)


class TakesExpression(TyperCommand):
    """A command whose options all begin with two dashes, so that "-0.3*a + b" is an expression and no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A space before the minus is nothing to the expression, and no option begins with one."""
        return super().parse_args(ctx, [f" {a}" if a[:1] == "-" and not _OPTION.fullmatch(a) else a for a in args])


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose tokenizer and prompt format the result takes, and on whose base it is put, where the parents differ."""

    files: str | None
    base: str | None


BaseOption = Annotated[
    str | None,
    typer.Option(metavar="BASE", help="hub id, folder or package: where its weights count, or an adapter is foreign"),
]
SettingsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="method=ties density=0.3 rank=16 ...")
]
FilesOption = Annotated[
    str | None,
    typer.Option("--files-of", metavar="ADAPTER", help="whose tokenizer and prompt format it takes"),
]
BaseOfOption = Annotated[
    str | None, typer.Option("--base-of", metavar="ADAPTER", help="on whose base, where QLoRAs and others are merged")
]


def merge(
    what: Annotated[
        str, typer.Argument(metavar="EXPRESSION|FILE", help='"0.7*de + 0.3*recipes", or a .yaml with merge:')
    ] = "",
    settings: SettingsArgument = None,
    name: Annotated[str | None, typer.Option(help="namespace/name in the registry")] = None,
    version: Annotated[str | None, typer.Option(help="three numbers; else the next one")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="write a PEFT folder instead")] = None,
    base: BaseOption = None,
    files_of: FilesOption = None,
    base_of: BaseOfOption = None,
    methods: Annotated[bool, typer.Option("--methods", help="list the methods and what each takes")] = False,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
) -> None:
    """Merge adapters of one base into one, by a method that says how exact it is."""
    from lft.adapters.store.stacks import place_in
    from lft.adapters.unstack import unstacked
    from lft.errors import RecipeError

    if methods:
        print("\n".join(_method_lines()))
        return
    if not what:
        raise RecipeError("nothing to merge", fix='give an expression, such as "0.7*de + 0.3*recipes"')
    if (name is None) == (out is None):
        raise RecipeError("where to?", fix="give --name namespace/name for the registry, or --out FOLDER")
    if out is not None and out.exists():
        raise RecipeError("it is there already, and nothing is replaced", where=str(out), fix="choose another --out")
    store, lock = opened(), lock_of(locked, lock_file)

    def folder(written: str) -> Path:
        return folder_of(written, store, lock)

    plan = unstacked(plan_of(what, settings or []), place_in(store, folder, cache_folder()))
    inputs = _inputs([term.ref for term in plan.inputs], base, store, folder)
    merged = _merged(plan, inputs)
    whose = Whose(files_of, base_of)
    if out is not None:
        _save(merged, inputs, out, out.name, whose)
        where = str(out)
    else:
        where = _into_store(merged, inputs, store, str(name), version, whose)
    _say(summary(merged.certificate, where))


def advise(
    adapters: Annotated[list[str], typer.Argument(metavar="ADAPTER...", help="names of the registry, or folders")],
    base: BaseOption = None,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
) -> None:
    """Compare adapters before a merge: norms, cosines, overlaps, and which method to take.

    A stack stands for its adapters.
    """
    from lft.adapters.advice import advise as compared
    from lft.adapters.advice import table
    from lft.adapters.sources import require_same_base
    from lft.adapters.store.stacks import place_in
    from lft.adapters.unstack import adapters_in

    store, lock = opened(), lock_of(locked, lock_file)

    def folder(written: str) -> Path:
        return folder_of(written, store, lock)

    inputs = _inputs(adapters_in(adapters, place_in(store, folder, cache_folder())), base, store, folder)
    require_same_base(list(inputs.sources.values()))
    _say(table(compared({ref: source.delta for ref, source in inputs.sources.items()})))


def plan_of(what: str, settings: list[str]) -> MergePlan:
    """The plan of an expression with its settings, or of a file."""
    from lft.adapters.plan_file import plan_of_expression, plan_of_file
    from lft.errors import RecipeError

    if not what.endswith((".yaml", ".yml")):
        return plan_of_expression(what, settings)
    if settings:
        raise RecipeError("settings belong into the file", where=what, fix="write them under merge:")
    return plan_of_file(Path(what))


def is_merge(written: str, settings: list[str]) -> bool:
    """Whether it is an expression or a file with one; a folder that is there, or a name alone, is an adapter."""
    if Path(os.path.expanduser(written)).is_dir():
        return False
    return bool(settings) or written.endswith((".yaml", ".yml")) or re.search(r"[\s*+()]", written) is not None


def _inputs(refs: Sequence[str], base: str | None, store: Store, folder: Callable[[str], Path]) -> Inputs:
    """The adapters; what is not known of one on this base is said."""
    from lft.adapters.fit import remarks
    from lft.adapters.inputs import On, open_inputs
    from lft.adapters.store.checkout import finder
    from lft.base.places import or_remembered
    from lft.base.resolve import named_base, resolve_base

    on = None
    if base is not None:
        cache = cache_folder()
        on = On(resolve_base(named_base(base), cache, typer.echo), cache, or_remembered(finder(store), cache))
    found = open_inputs(refs, folder, on)
    for parent, fit in zip(found.parents, found.fits, strict=bool(found.fits)):
        _say(f"{parent.ref}: {line}" for line in remarks(fit))
    return found


def _merged(plan: MergePlan, inputs: Inputs) -> Merged:
    from lft.adapters.merge import merge as run

    return run(plan, inputs.sources, inputs.weights)


def _save(merged: Merged, inputs: Inputs, folder: Path, name: str, whose: Whose) -> None:
    from lft.adapters.merge_folder import save_merged

    save_merged(merged, inputs.parents, folder, name, files_of=whose.files, base_of=whose.base)


def _into_store(merged: Merged, inputs: Inputs, store: Store, name: str, version: str | None, whose: Whose) -> str:
    from lft.adapters.merge_folder import merge_record, parent_records
    from lft.adapters.store.add import Origin, add_adapter

    records = parent_records(inputs.parents, merged.certificate, store)
    origin = Origin(name, version, kind="merge", merge=merge_record(merged.certificate), parents=records)
    with tempfile.TemporaryDirectory(prefix="lft-merge-") as draft:
        _save(merged, inputs, Path(draft) / "adapter", name, whose)
        return str(add_adapter(store, Path(draft) / "adapter", origin).stored)


def summary(certificate: Certificate, where: str) -> list[str]:
    """What was merged and how exactly, at most 80 columns."""
    lines = [f"{where}: merged by {certificate.method} ({certificate.exactness})"]
    for parent in certificate.parents:
        over = f"  trained over {parent.over}" if parent.over else ""
        lines.append(f"  {_shown(parent.weight):>12}  sha256:{parent.digest[:12]}{over}")
    if len({parent.over for parent in certificate.parents}) > 1:
        lines.append("  warning: trained over bases of different rounding; it is at home on none of them")
    if (found := certificate.compression) is not None:
        lines.append(f"  left out by the rank: {float(found.error):.3%} of the norm")
        lines.append(f"  most in {found.worst.tensor}: {float(found.worst.error):.3%} at rank {found.worst.rank}")
    return lines


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(_folded(printable(line)))


def _folded(line: str) -> str:
    """Long names of tensors stay whole, on a line of their own if need be."""
    import textwrap

    return textwrap.fill(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _shown(weight: object) -> str:
    return weight if isinstance(weight, str) else "by pattern"


def _method_lines() -> list[str]:
    from lft.adapters.algebra.table import METHODS

    lines = []
    for one in sorted(METHODS.values(), key=lambda one: one.name.startswith("compat:")):
        lines += [f"{one.name} ({one.exactness})  {' '.join(one.keys)}".rstrip(), f"  {one.summary}"]
    return lines
