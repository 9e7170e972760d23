"""`lft evaluate`: ask a suite's questions, score the answers, compare; `lft evaluate SUITE` is `lft evaluate run`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lft.cli.adapters_common import LockedOption, LockFileOption
from lft.cli.adapters_sign import IdentityOption, IssuerOption, KeyOption, PolicyOption, Wanted, wanted_of
from lft.cli.common import cache_folder, quiet_libraries, registry_folder
from lft.cli.evaluate_judge import court
from lft.cli.evaluate_many import matrix, scale, table1
from lft.cli.evaluate_results import compare, report, show
from lft.cli.evaluate_subject import (
    AnswersOption,
    ApiOption,
    BatchOption,
    EndpointOption,
    KeyEnvOption,
    LabelOption,
    ModelOption,
    PromptOption,
    Said,
    TemplateOption,
    note,
    opened,
    split_overrides,
)
from lft.cli.evaluate_suites import check, export, suites
from lft.cli.generate import AdapterOption, BaseOption, RunOption, Who, who_of

if TYPE_CHECKING:
    from lft.evaluate.candidate import Candidate
    from lft.evaluate.metric import Tools
    from lft.evaluate.result import Result
    from lft.evaluate.run import Place
    from lft.evaluate.suite import Loaded
    from lft.evaluate.suite_schema import Suite

SuitesArgument = Annotated[
    list[str], typer.Argument(metavar="SUITE... [k=v]...", help="suites by name or file, and keys of theirs to change")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="the suites' small sets, which need no network")]
DataOption = Annotated[str | None, typer.Option(help="where the suite's full data are, if you fetched them yourself")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="items at most of each language")]
JudgeOption = Annotated[Path | None, typer.Option(help="a judge's file: rubric and backend (docs/evaluation.md)")]
IntoOption = Annotated[Path, typer.Option(help="folder of results")]
MetricsOption = Annotated[
    list[str] | None, typer.Option("--metric", help="these metrics instead of the suite's; +NAME adds one to them")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="processes that score; all processors by default")]
DEFAULT_INTO = Path("evaluations")


class _SuitesFirst(TyperGroup):
    """A group where a word that is no command begins the arguments of ``run``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant."""
        if args and args[0] not in self.commands:
            return "run", self.commands["run"], args
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_SuitesFirst, add_completion=False, rich_markup_mode=None, no_args_is_help=True,
    help="Score long text: suites, metrics with intervals, comparisons, reports.",
)  # fmt: skip


@app.command()
def run(
    suites: SuitesArgument,
    run: RunOption = None,
    adapter: AdapterOption = None,
    base: BaseOption = None,
    model: ModelOption = None,
    prompt: PromptOption = None,
    template: TemplateOption = None,
    endpoint: EndpointOption = None,
    key_env: KeyEnvOption = None,
    api: ApiOption = "chat",
    answers: AnswersOption = None,
    label: LabelOption = "",
    offline: OfflineOption = False,
    data: DataOption = None,
    limit: LimitOption = None,
    metric: MetricsOption = None,
    judge: JudgeOption = None,
    batch_size: BatchOption = 16,
    workers: WorkersOption = None,
    into: IntoOption = DEFAULT_INTO,
    record: Annotated[bool, typer.Option(help="keep the scores beside the adapter in the registry")] = True,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Ask the suites' questions, score the answers, and keep texts, scores and intervals as a result."""
    said = Said(
        run, tuple(adapter or ()), base, model, prompt, template, endpoint, key_env, api, answers, label, batch_size
    ).checked()
    asked = suites_of(suites, data, offline)
    who = who_said(said, wanted_of(locked, lock_file, policy, key, identity, issuer))
    names = [metrics_of(suite, metric) for suite in asked]
    quiet_libraries()
    work = Work(into, offline, limit, judge, workers)
    loaded = [work.loaded(suite) if suite.kind == "generation" else None for suite in asked]
    candidate = None if said.answers else opened(said, who)
    for suite, items, chosen in zip(asked, loaded, names, strict=True):
        result = work.result(candidate, said, suite, items, chosen)
        work.keep(result, suite)
        if record and who is not None:
            _record(who, result)
    typer.echo(f"compare results: lft evaluate compare {into}/A {into}/B")


for command in (compare, show, report, matrix, scale, table1, suites, check, export):
    app.command()(command)


def suites_of(words: Sequence[str], data: str | None, offline: bool) -> list[Suite]:
    """The suites that are meant, with what was changed in them.

    Raises:
        RecipeError: one is unknown or its file wrong, or options do not go together.
    """
    from lft.errors import RecipeError
    from lft.evaluate.suite import find_suite, load_suite, read_from, suite_names

    names, overrides = split_overrides(words)
    if not names:
        raise RecipeError("no suite is named", fix=f"there are {', '.join(suite_names())}")
    if data is not None and (offline or len(names) > 1):
        raise RecipeError("--data is the full data of one suite", fix="name one suite, without --offline")
    found = [load_suite(find_suite(name), overrides) for name in names]
    return [read_from(suite, data) if data is not None else suite for suite in found]


def metrics_of(suite: Suite, given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of metrics: the suite's, others instead of them, or others beside them.

    METEOR 1.5 is a second column where Java and its jar are; a suite that names it does without it elsewhere.

    Raises:
        RecipeError: one is unknown.
        MachineError: METEOR 1.5 is asked for by name and cannot be run.
    """
    from lft.errors import MachineError
    from lft.evaluate.metrics.meteor_1_5 import METEOR_1_5, missing
    from lft.evaluate.metrics.table import metric_named
    from lft.evaluate.run import JUDGE

    chosen = [name for name in given or () if not name.startswith("+")]
    more = [name[1:] for name in given or () if name.startswith("+")]
    for name in (*chosen, *more):
        if name != JUDGE:
            metric_named(name)
    usual = tuple(chosen or suite.metrics)
    if METEOR_1_5.name in (*usual, *more) and (lacking := missing()):
        if METEOR_1_5.name in (*chosen, *more):
            raise MachineError(lacking, fix="install Java and: pip install --no-deps pycocoevalcap (105 MB)")
        note(f"{suite.name}: {METEOR_1_5.name} is left out ({lacking})")
        usual = tuple(name for name in usual if name != METEOR_1_5.name)
    return tuple(dict.fromkeys((*usual, *more)))


def who_said(said: Said, wanted: Wanted | None = None) -> Who | None:
    """What adapters or which run are asked, and how they are wanted; None where none are."""
    from lft.errors import RecipeError

    if said.run is None and not said.adapters:
        if wanted:
            raise RecipeError("only adapters are locked and signed", fix="leave out --locked and --policy")
        return None
    return who_of(said.run, list(said.adapters), said.base, wanted or wanted_of(False, None, None, None, None, None))


class Work:
    """What all suites of a command share."""

    def __init__(self, into: Path, offline: bool, limit: int | None, judge: Path | None, workers: int | None) -> None:
        import os

        from lft.evaluate.metric import Tools
        from lft.evaluate.rubric import load_judge
        from lft.evaluate.run import Place

        self.offline, self.limit = offline, limit
        self.judge = load_judge(judge) if judge else None
        self.place: Place = Place(cache_folder() / "answers", into)
        self.tools: Tools = Tools(workers or os.cpu_count() or 1, cache_folder() / "evaluate", note)

    def loaded(self, suite: Suite) -> Loaded:
        """The items of a suite, before any model is loaded."""
        from lft.evaluate.suite import items_of

        found = items_of(suite, self.offline, cache_folder(), note, self.limit)
        for reason, count in sorted(found.left_out.items()):
            note(f"{suite.name}: {count:,} rows left out: {reason}")
        return found

    def result(
        self, candidate: Candidate | None, said: Said, suite: Suite, loaded: Loaded | None, names: tuple[str, ...]
    ) -> Result:
        """One suite's result."""
        from lft.errors import RecipeError
        from lft.evaluate.run import evaluated, evaluated_by_harness, evaluated_file

        if loaded is None:
            if candidate is None:
                raise RecipeError(f"{suite.name} is run by lm-evaluation-harness, not on a file", fix="give a model")
            return evaluated_by_harness(candidate, suite, self.limit, None, self.tools)
        with court(self.judge) if self.judge else nullcontext() as held:
            if candidate is None:
                assert said.answers is not None, "Said.checked lets nothing else through"
                return evaluated_file(said.answers, said.label, loaded, names, held, self.tools)
            return evaluated(candidate, loaded, names, held, self.place, self.tools)

    def save(self, result: Result) -> Path:
        """Save it; its folder."""
        from lft.evaluate.run import kept

        return kept(result, self.place, note)

    def keep(self, result: Result, suite: Suite) -> None:
        """Save it and show it."""
        from lft.evaluate.report_text import summary_lines
        from lft.evaluate.run import METRICS
        from lft.evaluate.summary import published_of, summarised

        folder = self.save(result)
        for line in summary_lines(summarised(result, METRICS), published_of(suite)):
            typer.echo(line)
        typer.echo(f"in {folder}\n")


def _record(who: Who, result: Result) -> None:
    """Keep scores beside an adapter that is one version of the registry; its card and `lft adapters show` have them."""
    from lft.adapters.stacking import together
    from lft.adapters.store.layout import open_store
    from lft.adapters.store.leases import leased
    from lft.adapters.store.marks import keep_scores
    from lft.cli.adapters_common import version_of
    from lft.evaluate.record import scores_of

    kind, pieces = together(who.adapters)
    if len(pieces) != 1 or kind == "stack":
        return  # a run, or several together that have no name
    store = open_store(registry_folder())
    stored = version_of(who.wanted.folder(pieces[0].ref, store), store)
    if stored is not None and (measured := scores_of(result)):
        with leased(store) as lease:
            keep_scores(lease, stored, measured)
        typer.echo(f"{len(measured)} scores kept beside {stored}\n")
