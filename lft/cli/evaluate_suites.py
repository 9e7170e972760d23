"""`lft evaluate suites / check / export`: what can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.common import cache_folder
from lft.cli.evaluate_subject import note, split_overrides

if TYPE_CHECKING:
    from lft.evaluate.suite_schema import Suite


def suites(
    name: Annotated[str | None, typer.Argument(help="print this one's file; all are listed without")] = None,
) -> None:
    """The suites that ship with lft: what they ask, in which languages, and how many items their small sets have."""
    from lft.evaluate.suite import find_suite, load_suite, suite_names

    if name is not None:
        typer.echo(find_suite(name).read_text(encoding="utf-8"), nl=False)
        return
    for one in suite_names():
        suite = load_suite(find_suite(one))
        typer.echo(f"{suite.name} v{suite.version} · {suite.group} · {_langs(suite)}")
        typer.echo(f"  {suite.about}")
        typer.echo(f"  {_offline(suite)}; full data: {_full(suite)}")


def check(words: Annotated[list[str], typer.Argument(metavar="SUITE [k=v]...", help="a suite's file")]) -> None:
    """Every mistake in a suite's file, at once."""
    from lft.errors import RecipeError
    from lft.evaluate.suite import find_suite, load_suite

    names, overrides = split_overrides(words)
    if not names:
        raise RecipeError("no suite is named", fix="lft evaluate check my-suite.yaml")
    for name in names:
        suite = load_suite(find_suite(name), overrides)
        typer.echo(f"{suite.name} v{suite.version}: {_langs(suite)}; fine")


def export(
    words: Annotated[list[str], typer.Argument(metavar="SUITE [k=v]...", help="one suite, and keys of its to change")],
    to: Annotated[Path, typer.Option(help="JSON lines: id, instruction, input, lang")],
    offline: Annotated[bool, typer.Option("--offline", help="its small set")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="items at most of each language")] = None,
) -> None:
    """A suite's questions as JSON lines, for a program that answers by itself; give its answers to --answers."""
    import json

    from lft.errors import RecipeError
    from lft.evaluate.suite import find_suite, items_of, load_suite
    from lft.files import write_text

    names, overrides = split_overrides(words)
    if len(names) != 1:
        raise RecipeError("name one suite", fix="lft evaluate export rgen --offline --to questions.jsonl")
    loaded = items_of(load_suite(find_suite(names[0]), overrides), offline, cache_folder(), note, limit)
    rows = [
        {"id": item.id, "instruction": item.instruction, "input": item.context, "lang": item.lang}
        for item in loaded.items
    ]
    write_text(to, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    typer.echo(f"{len(rows):,} questions in {to}")
    typer.echo(
        f'add "output" to each line, then: lft evaluate {names[0]}{" --offline" if offline else ""} --answers {to}'
    )


def _langs(suite: Suite) -> str:
    return ", ".join(suite.langs) or "en"


def _offline(suite: Suite) -> str:
    from lft.evaluate.suite import items_of

    if suite.kind == "harness" and suite.harness:
        return f"lm-evaluation-harness: {', '.join(suite.harness.tasks)}, {suite.harness.shots}-shot"
    if not suite.offline:
        return "no small set"
    return f"{len(items_of(suite, True, cache_folder(), note).items)} items offline"


def _full(suite: Suite) -> str:
    places = sorted({part.path for part in suite.data})
    return ", ".join(places) if places else "by the harness" if suite.kind == "harness" else "to be fetched by hand"
