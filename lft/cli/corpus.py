"""`lft corpus`: from documents to instruction data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lft.cli.common import cache_folder, quiet_libraries
from lft.cli.corpus_hub import push
from lft.cli.options import typed

if TYPE_CHECKING:
    from lft.corpus.build import Step, Tools
    from lft.corpus.schema import Build
    from lft.corpus.screen.run import Models
    from lft.corpus.select.contamination import Suites

app = typer.Typer(
    help="Documents to instruction data: build, select, instruct, screen, sample-audit.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="a build file, or a name in recipes/corpus/")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. select.quotas.total=1000")
]


@app.command()
def check(file: FileArgument, overrides: OverridesArgument = None) -> None:
    """Say everything that is wrong with a build file, one line each; exit 2 if anything is."""
    build = _build(file, overrides)
    typer.echo(f"{build.name}: {len(build.sources)} sources; fine")


@app.command()
def build(
    file: FileArgument,
    overrides: OverridesArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="read and select, then reckon the cost")] = False,
) -> None:
    """Make the data set: read, select, instruct, screen, write. What is done is not done again."""
    if not dry_run:
        _run(file, overrides, "write")
        return
    from lft.corpus.build import reckon
    from lft.corpus.reckon import Cost

    quiet_libraries()
    found = _build(file, overrides)
    first, others = reckon(found, _tools(found))
    typer.echo(f"{first.documents:,} documents: {first.with_question:,} have a question, {first.known:,} an answer")
    own = Cost("instruct.backend", first.requests, first.tokens_in, first.tokens_out, first.money)
    for one in (own, *others):
        typer.echo(f"{one.key}: {one.requests:,} requests, about {one.tokens_in:,} tokens to read,")
        typer.echo(f"  {one.tokens_out:,} to write at most, about {one.money:,.2f} of money")
    typer.echo(f"about {first.money + sum(one.money for one in others):,.2f} of money in all")
    typer.echo(f"tokens are counted by {first.counted_by}; chat templates and texts not written yet may add to them")


@app.command()
def select(file: FileArgument, overrides: OverridesArgument = None) -> None:
    """Only read and select documents."""
    _run(file, overrides, "select")


@app.command()
def instruct(file: FileArgument, overrides: OverridesArgument = None) -> None:
    """Read, select, and let a model write the instructions."""
    _run(file, overrides, "instruct")


@app.command()
def screen(file: FileArgument, overrides: OverridesArgument = None) -> None:
    """All but the writing of the data set."""
    _run(file, overrides, "screen")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="a build's folder: OUTPUT/NAME")],
    samples: Annotated[bool, typer.Option(help="some of what was cut")] = True,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="write it as a page instead")] = None,
) -> None:
    """What came into each step of a build, what was cut and why, how the scores are spread."""
    from lft.corpus.build import reports_in

    reports = reports_in(folder)
    if html is None:
        from lft.corpus.funnel import funnel

        typer.echo(funnel(reports, samples), nl=False)
        return
    from lft.corpus.page import render
    from lft.files import write_text

    write_text(html, render(folder.resolve().name, reports))
    typer.echo(f"wrote {html}")


@app.command()
def longform(
    folder: Annotated[Path, typer.Argument(help="folder of the paper's sources: c4/, wikipedia/, ...")],
    model: Annotated[str, typer.Option(help="model that writes the instructions: an endpoint's name, or a model")],
    url: Annotated[str | None, typer.Option(help="an OpenAI-compatible endpoint, up to and with /v1")] = None,
    key_env: Annotated[str | None, typer.Option(help="environment variable that holds its key")] = None,
    into: Annotated[Path, typer.Option(help="the build file that is written")] = Path("longform.yaml"),
) -> None:
    """The paper's mixture from what you have of its sources: a table of what is missing, and a build file."""
    from lft.ask.rules import has_address
    from lft.ask.schema import Backend
    from lft.corpus.longform import compared, longform_build, parts_in, table
    from lft.corpus.schema import Build
    from lft.errors import RecipeError
    from lft.files import write_text
    from lft.recipe.write import to_yaml

    if into.exists():
        raise RecipeError("this file is there already", where=str(into), fix="remove it, or give another --into")
    kind: Any = "openai" if url else "transformers"
    with typed(Backend, {"model": "--model", "url": "--url", "key_env": "--key-env"}):
        backend = Backend(kind=kind, model=model, url=url, key_env=key_env)
    if fault := has_address(backend):
        raise RecipeError(fault, where="--url")
    with typed(Build, {"name": "--into"}):
        made = longform_build(folder, backend, into.stem)
    write_text(into, to_yaml(made))
    rows = parts_in(folder)
    counts = _made(made)
    typer.echo(table(compared(rows, counts) if counts else rows))
    typer.echo(f"\nwrote {into}; next: lft corpus build {into}")


@app.command(name="sample-audit")
def sample_audit(
    data: Annotated[list[str] | None, typer.Argument(help="data sets: folders, files, hub ids; none goes on")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="pairs of each data set")] = 200,
    into: Annotated[Path, typer.Option(help="folder of the audit")] = Path("audit"),
    split: Annotated[str, typer.Option(help="split that is drawn from")] = "train",
    seed: Annotated[int, typer.Option(help="of the draw")] = 42,
    report: Annotated[bool, typer.Option("--report", help="print rates and agreement, serve nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the report for programs")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 0,
) -> None:
    """Let people judge a sample in the browser: relevance, clarity, completeness, answerability."""
    from lft.errors import RecipeError

    if as_json and not report:
        raise RecipeError("--json is for --report", fix="add --report")
    if report and data:
        raise RecipeError("--report is about an audit that was drawn before", fix="leave out the data sets")
    if report:
        from lft.corpus.audit.rates import as_text
        from lft.corpus.audit.rates import report as rated
        from lft.corpus.audit.ratings import Ratings
        from lft.corpus.audit.sample import load_items

        found = rated(load_items(into), Ratings(into).last())
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=1) if as_json else as_text(found))
        return
    if data:
        _draw(data, n, into, split, seed)
    _serve(into, port)


def _draw(data: list[str], n: int, into: Path, split: str, seed: int) -> None:
    from lft.corpus.audit.sample import ITEMS, draw, items_of, names_of, save_items
    from lft.errors import RecipeError

    if not split or not all(data):
        raise RecipeError(
            "a data set and its split have names", where="DATA, --split", fix="lft corpus sample-audit -h"
        )
    names = names_of(data)
    if (into / ITEMS).exists():
        raise RecipeError(
            "an audit lies here already",
            where=str(into),
            fix=f"go on with it: lft corpus sample-audit --into {into}; or give another --into",
        )
    quiet_libraries()
    cache = cache_folder()
    chosen = [item for name, one in names.items() for item in draw(items_of(one, name, split, cache, _note), n, seed)]
    save_items(into, chosen)
    typer.echo(f"{len(chosen)} pairs of {len(data)} data sets in {into}")


def _serve(into: Path, port: int) -> None:
    from lft.corpus.audit.server import AuditServer

    server = AuditServer(into, port)
    typer.echo(f"open {server.address}")
    typer.echo(f"Ctrl-C ends; then: lft corpus sample-audit --into {into} --report")
    try:
        server.serve()
    except KeyboardInterrupt:
        typer.echo("\nwhat was rated is saved")


def _run(file: str, overrides: list[str] | None, until: Step) -> None:
    """A build up to a step, and its funnel."""
    found = _build(file, overrides)
    quiet_libraries()
    from lft.corpus.build import folder_of, root_of, run_build
    from lft.corpus.funnel import funnel

    reports = run_build(found, _tools(found), until)
    typer.echo("\n" + funnel(reports, samples=False).split("\n\n")[0])
    place = folder_of(root_of(found), until)
    typer.echo(f"\nin {place}; what was cut, with samples: lft corpus show {root_of(found)}")
    if until == "write":
        typer.echo(f"train on it: lft finetune quickstart data.train={place}")


def _build(file: str, overrides: list[str] | None) -> Build:
    from lft.corpus.load import find_build, load_build

    return load_build(find_build(file), overrides or ())


def _tools(build: Build) -> Tools:
    """What a build needs of this machine; keys are read from the environment here and nowhere else."""
    from lft.corpus.build import Tools, root_of
    from lft.corpus.load import Asked
    from lft.corpus.opened import Place, open_backend

    place = Place(cache_folder(), root_of(build) / "jobs", build.run)

    def opened(asked: Asked) -> Any:
        name = asked.backend.key_env
        return open_backend(asked.backend, asked.key, os.environ.get(name) if name else None, place, _note)

    return Tools(opened, _screening(root_of(build), opened), _note, _suites())


def _suites() -> Suites:
    from lft.corpus.select.contamination import Suites
    from lft.evaluate.suite import suite_names
    from lft.evaluate.suite_texts import suite_texts, suite_texts_digest

    cache = cache_folder()
    digest = suite_texts_digest(cache)
    return Suites(suite_names(), lambda names: (text for _, text in suite_texts(names, cache)), digest)


def _screening(root: Path, opened: Any) -> Models:
    from lft.corpus.embedding import model_folder
    from lft.corpus.load import Asked
    from lft.corpus.screen.round_trip import load_scorer
    from lft.corpus.screen.run import Models
    from lft.corpus.screen.similarity import similarities

    return Models(
        lambda name: load_scorer(name, cache_folder(), _note),
        lambda pairs, name: similarities(pairs, model_folder(name), root / "embeddings"),
        lambda judge: opened(Asked("screen.judge.backend", judge.backend)),
    )


def _made(build: Build) -> dict[str, int]:
    """Rows by source of a build that was made before; empty where there is none."""
    from lft.corpus.build import folder_of, root_of
    from lft.corpus.step import STEP_FILE, saved_report

    folder = folder_of(root_of(build), "write")
    return dict(saved_report(folder).figures["source"]) if (folder / STEP_FILE).is_file() else {}


def _note(text: str) -> None:
    typer.echo(text, err=True)


app.command()(push)
