"""`lft evaluate`: ask a suite's questions, score the answers, compare; `lft evaluate SUITE` is `lft evaluate run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lft.cli.adapters_common import LockedOption, LockFileOption
from lft.cli.adapters_sign import IdentityOption, IssuerOption, KeyOption, PolicyOption, wanted_of
from lft.cli.common import quiet_libraries
from lft.cli.evaluate_many import matrix, scale, table1
from lft.cli.evaluate_results import compare, report, show
from lft.cli.evaluate_subject import (
    BATCH,
    AnswersOption,
    ApiOption,
    BatchOption,
    EndpointOption,
    EngineOption,
    FreshOption,
    KeyEnvOption,
    LabelOption,
    ModelOption,
    PromptOption,
    Said,
    TemplateOption,
    opened,
)
from lft.cli.evaluate_suites import check, export, suites
from lft.cli.evaluate_work import (
    DataOption,
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
from lft.cli.generate import AdapterOption, BaseOption, RunOption

if TYPE_CHECKING:
    pass

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
    fresh: FreshOption = False,
    answers: AnswersOption = None,
    label: LabelOption = "",
    offline: OfflineOption = False,
    data: DataOption = None,
    limit: LimitOption = None,
    metric: MetricsOption = None,
    judge: JudgeOption = None,
    bertscore_model: EncoderOption = None,
    bertscore_layer: LayerOption = None,
    engine: EngineOption = "transformers",
    batch_size: BatchOption = BATCH,
    workers: WorkersOption = None,
    into: IntoOption = DEFAULT_INTO,
    record: RecordOption = True,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Ask the suites' questions, score the answers, and keep texts, scores and intervals as a result."""
    said = Said(
        run, tuple(adapter or ()), base, model, prompt, template, endpoint, key_env, api, answers, label, batch_size,
        fresh, engine,
    ).checked()  # fmt: skip
    asked = suites_of(suites, data, offline)
    who = who_said(said, wanted_of(locked, lock_file, policy, key, identity, issuer))
    names = [metrics_of(suite, metric, bertscore_model) for suite in asked]
    quiet_libraries()
    work = Work(into, offline, limit, judge, workers, encoder_of(bertscore_model, bertscore_layer))
    loaded = [work.loaded(suite) if suite.kind == "generation" else None for suite in asked]
    candidate = None if said.answers else opened(said, who)
    for suite, items, chosen in zip(asked, loaded, names, strict=True):
        result = work.result(candidate, said, suite, items, chosen)
        work.keep(result, suite)
        if record and who is not None:
            keep_record(who, result)
    typer.echo(f"compare results: lft evaluate compare {into}/A {into}/B")


for command in (compare, show, report, matrix, scale, table1, suites, check, export):
    app.command()(command)
