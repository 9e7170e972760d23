"""`lft evaluate matrix / table1 / scale`: many subjects on the same suites. What is done is not done again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lft.cli.common import cache_folder, quiet_libraries, registry_folder
from lft.cli.evaluate_subject import BATCH, BatchOption, Said, note, opened, split_overrides
from lft.cli.evaluate_work import (
    EncoderOption,
    LayerOption,
    LimitOption,
    OfflineOption,
    RecordOption,
    SuitesArgument,
    Work,
    encoder_of,
    keep_record,
    metrics_of,
    suites_of,
    who_said,
)

if TYPE_CHECKING:
    from lft.evaluate.metric import Metric
    from lft.evaluate.result import Result
    from lft.evaluate.scaling import Scaling, Size
    from lft.evaluate.suite_baselines import Baseline

MetricOption = Annotated[str, typer.Option(help="the metric of the table")]
PAPER: tuple[str, ...] = ("rgen", "eli5", "writingprompts")


def matrix(
    suites: SuitesArgument,
    adapters: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help='of the registry, by tag: "lang=*", "domain=recipes"')
    ] = None,
    adapter: Annotated[list[str] | None, typer.Option(help="another one: a name, a merge, a stack, a folder")] = None,
    metric: MetricOption = "meteor",
    offline: OfflineOption = False,
    limit: LimitOption = None,
    bertscore_model: EncoderOption = None,
    bertscore_layer: LayerOption = None,
    batch_size: BatchOption = BATCH,
    record: RecordOption = True,
    into: Annotated[Path, typer.Option(help="folder of results and of matrix.html")] = Path("evaluations/matrix"),
) -> None:
    """Every adapter on every suite and language, as a table and a heat map: the way to choose what to merge."""
    from lft.errors import RecipeError
    from lft.evaluate.compare_pairs import labelled
    from lft.evaluate.matrix import matrix as laid_out
    from lft.evaluate.matrix import matrix_lines, matrix_page
    from lft.files import write_text

    chosen = _metric(metric)
    names = list(dict.fromkeys([*_by_tags(adapters), *(adapter or ())]))
    if not names:
        what = f"no adapter of the registry has {' and '.join(adapters)}" if adapters else "no adapter is named"
        raise RecipeError(what, fix='lft adapters list shows them; then --adapters "lang=*" or --adapter NAME')
    saids = [Said(adapters=(name,), batch=batch_size) for name in names]
    asked = _Asked(suites, offline, limit, metric, bertscore_model, bertscore_layer, record)
    found = laid_out(labelled(_answered(saids, asked, into)), chosen)
    for line in matrix_lines(found):
        typer.echo(line)
    write_text(into / "matrix.html", matrix_page(found))
    typer.echo(f"\nheat map: {into / 'matrix.html'}")


def table1(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="baselines by name; all without")
    ] = None,
    place: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=FOLDER", help="where one lies that the hub has not")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="only show the baselines")] = False,
    offline: OfflineOption = False,
    limit: LimitOption = None,
    batch_size: BatchOption = BATCH,
    into: Annotated[Path, typer.Option(help="folder of results")] = Path("evaluations/table1"),
) -> None:
    """The paper's out-of-domain table: baselines in their own prompt formats, with the published numbers beside."""
    from lft.evaluate.compare_pairs import labelled
    from lft.evaluate.suite_baselines import baseline, load_baselines
    from lft.evaluate.table1 import table_lines

    chosen = [baseline(name) for name in models] if models else list(load_baselines().baselines)
    if list_:
        for one in chosen:
            typer.echo(f"{one.name:<22} {one.model:<34} {one.architecture:<8} {one.weights_gib:6.1f} GiB in bfloat16")
        return
    places = _places(place, [one.name for one in chosen])
    if not models:
        for one in [one for one in chosen if one.diff_of and one.name not in places]:
            note(f"{one.name} is left out: a weight difference to {one.diff_of}; give --place {one.name}=FOLDER")
            chosen.remove(one)
    saids = [_said(one, places, batch_size) for one in chosen]
    groups = _answered(saids, _Asked(PAPER, offline, limit, "meteor"), into)
    for line in table_lines(labelled(groups), chosen, _metric("meteor")):
        typer.echo(line)


def _places(words: Sequence[str] | None, names: Sequence[str]) -> dict[str, str]:
    """Folders by the baseline that lies there; raises RecipeError for a word that would be ignored."""
    from lft.errors import RecipeError

    found = {}
    for word in words or ():
        name, equals, folder = word.partition("=")
        if not equals or not folder or name not in names:
            fix = f"write MODEL=FOLDER, MODEL one of {', '.join(names)}"
            raise RecipeError(f"--place {word!r} names no baseline of the table", fix=fix)
        found[name] = folder
    return found


def _said(one: Baseline, places: dict[str, str], batch: int) -> Said:
    from lft.errors import RecipeError

    where = places.get(one.name, one.model)
    if one.diff_of and one.name not in places:
        raise RecipeError(
            f"{one.name} is a weight difference to {one.diff_of}",
            fix=f"lft base diff apply makes the model; then --place {one.name}=FOLDER",
        )
    return Said(model=where, template=one.prompt, label=one.name, batch=batch)


def scale(
    recipe: Annotated[str, typer.Argument(help="a recipe file or name; base.model is put in its place")],
    words: SuitesArgument,
    base: Annotated[list[str], typer.Option(help="a base; give three or more, of several sizes")],
    metric: MetricOption = "meteor",
    offline: OfflineOption = False,
    limit: LimitOption = None,
    bertscore_model: EncoderOption = None,
    bertscore_layer: LayerOption = None,
    batch_size: BatchOption = BATCH,
    into: Annotated[Path, typer.Option(help="folder of runs, results and scale.html")] = Path("evaluations/scale"),
) -> None:
    """One recipe over bases of several sizes: the score against the logarithm of parameters, with intervals.

    Overrides that begin with a section of recipes (train., data., method., launch., base.) are the recipe's.
    """
    from lft.evaluate.scaling import scale_lines, scale_page, scaling
    from lft.files import write_text

    chosen = _metric(metric)
    names, overrides = split_overrides(words)
    ours = [one for one in overrides if one.split(".")[0] in ("train", "data", "method", "launch", "base")]
    theirs = [*names, *(one for one in overrides if one not in ours)]
    if len(set(base)) < 3:
        note(f"{len(set(base))} sizes give a table and no line; that takes three")
    suites_of(theirs, None, offline)  # a suite that cannot be asked is told before anything is trained
    runs = [(written, _trained(recipe, written, ours, into)) for written in base]
    saids = [Said(run=run, label=_slug(written), batch=batch_size) for written, run in runs]
    groups = _answered(saids, _Asked(theirs, offline, limit, metric, bertscore_model, bertscore_layer), into)
    found: list[Scaling] = []
    for suite in groups[0]:
        sizes: list[Size] = [_size(written, group[suite]) for written, group in zip(base, groups, strict=True)]
        found.append(scaling(sizes, chosen))
    for line in scale_lines(found):
        typer.echo(line)
    write_text(into / "scale.html", scale_page(found))
    typer.echo(f"\nplot: {into / 'scale.html'}")


def _trained(recipe: str, base: str, overrides: Sequence[str], into: Path) -> Path:
    """The finished run of a size: one that is there, one that is gone on with, or a new one."""
    from lft.errors import TrainingError

    home = into / "runs"
    place = home / f"scale-{_slug(base)}"
    new = [f"base.model={base}", f"name=scale-{_slug(base)}", f"output.runs={home}", *overrides]
    wanted = _what_is_trained(recipe, new)
    there = sorted(path for path in place.glob("*") if (path / "recipe.yaml").is_file())
    runs = [run for run in there if _what_is_trained(str(run / "recipe.yaml")) == wanted]
    for run in runs:
        if (run / "adapter").is_dir() or (run / "model").is_dir():
            note(f"{base}: trained already, {run}")
            return run
    lft = [sys.executable, "-m", "lft.cli.main", "finetune"]
    begun = [run for run in runs if any((run / "checkpoints").glob("step-*"))]
    note(f"{base}: {'going on with ' + str(begun[-1]) if begun else 'training'}")
    code = subprocess.run([*lft, *(["--resume", str(begun[-1])] if begun else [recipe, *new])], check=False).returncode
    made = sorted(path for path in place.glob("*") if (path / "adapter").is_dir() or (path / "model").is_dir())
    if code or not made:
        raise TrainingError(f"the run of {base} ended with {code}", where=str(place), fix="type the same command again")
    return made[-1]


def _what_is_trained(recipe: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe without where it runs: runs that agree in it are the same training."""
    from lft.recipe import load_recipe

    return load_recipe(recipe, overrides).recipe.model_dump(exclude={"launch"})


def _size(base: str, result: Result) -> Size:
    from math import prod

    from lft.base.headers import read_headers
    from lft.base.resolve import named_base, resolve_base
    from lft.evaluate.scaling import Size

    ref = resolve_base(named_base(base), cache_folder(), note)
    return Size(_slug(base), sum(prod(one.shape) for one in read_headers(ref.folder)), result)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all subjects are asked, and by what they are scored."""

    words: Sequence[str]
    offline: bool
    limit: int | None
    metric: str
    encoder: str | None = None
    layer: int | None = None
    record: bool = False


def _answered(saids: Sequence[Said], all_asked: _Asked, into: Path) -> list[dict[str, Result]]:
    """Each subject's results by suite; one subject is in memory at a time."""
    asked = suites_of(all_asked.words, None, all_asked.offline)
    names = [metrics_of(suite, [f"+{all_asked.metric}"], all_asked.encoder) for suite in asked]
    quiet_libraries()
    encoder = encoder_of(all_asked.encoder, all_asked.layer)
    work = Work(into / "results", all_asked.offline, all_asked.limit, None, None, encoder)
    loaded = [work.loaded(suite) for suite in asked]
    found = []
    for said in saids:
        who = who_said(said)
        candidate = opened(said, who)
        made = {}
        for suite, items, chosen in zip(asked, loaded, names, strict=True):
            made[suite.name] = work.result(candidate, said, suite, items, chosen)
            work.save(made[suite.name])
            if all_asked.record and who is not None:
                keep_record(who, made[suite.name])
        note(f"{candidate.subject.label}: done")
        found.append(made)
    return found


def _by_tags(filters: Sequence[str] | None) -> Iterator[str]:
    """Names of the registry's adapters whose tags fit every filter; ``key=*`` is any value."""
    from lft.adapters.store.index import listed
    from lft.adapters.store.layout import open_store
    from lft.errors import RecipeError

    if not filters:
        return
    wanted = [word.partition("=") for word in filters]
    if odd := [word for word, (_, equals, _) in zip(filters, wanted, strict=True) if not equals]:
        raise RecipeError(f"{odd[0]!r} is no filter", fix='write a tag: "lang=de", or "lang=*" for any language')
    for row in listed(open_store(registry_folder())):
        fits = (row.tags.get(key, ()) if value == "*" else value in row.tags.get(key, ()) for key, _, value in wanted)
        if not row.problem and all(fits):
            yield row.name


def _metric(name: str) -> Metric:
    from lft.evaluate.metrics.table import metric_named

    return metric_named(name)


def _slug(written: str) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9.-]+", "-", written.rstrip("/").rsplit("/", 1)[-1]).strip("-.")
