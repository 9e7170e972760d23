"""What `lft evaluate run / matrix / table1 / scale` share: suites, metrics, and the way to a result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_sign import Wanted, wanted_of
from lft.cli.common import cache_folder, registry_folder
from lft.cli.evaluate_judge import court
from lft.cli.evaluate_subject import Said, note, split_overrides
from lft.cli.generate import Who, who_of

if TYPE_CHECKING:
    from lft.evaluate.candidate import Candidate
    from lft.evaluate.metric import Encoder, Tools
    from lft.evaluate.result import Result
    from lft.evaluate.run import Place
    from lft.evaluate.suite import Loaded
    from lft.evaluate.suite_schema import Suite

SuitesArgument = Annotated[
    list[str], typer.Argument(metavar="SUITE... [k=v]...", help="suites by name or file, and keys of theirs to change")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="the suites' small sets, which need no network")]
DataOption = Annotated[str | None, typer.Option(help="where the suite's full data are, if you fetched them yourself")]
RecordOption = Annotated[bool, typer.Option(help="keep the scores beside the adapter in the registry")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="items at most of each language")]
EncoderOption = Annotated[
    str | None,
    typer.Option("--bertscore-model", help="adds BERTScore by this model: hub id, folder, file.gguf, package://"),
]
LayerOption = Annotated[
    int | None, typer.Option("--bertscore-layer", help="whose hidden states are compared; the last by default")
]


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


def metrics_of(suite: Suite, given: Sequence[str] | None, encoder: str | None) -> tuple[str, ...]:
    """Names of metrics: the suite's, others instead of them, or others beside them.

    METEOR 1.5 is a second column where Java and its jar are; a suite that names it does without it elsewhere.
    BERTScore comes with its model (``encoder``); in a suite that names it, the result says that there was none.

    Raises:
        RecipeError: one is unknown, or BERTScore is asked for by name without its model.
        MachineError: METEOR 1.5 is asked for by name and cannot be run.
    """
    from lft.errors import MachineError, RecipeError
    from lft.evaluate.metrics.bertscore import BERTSCORE, MISSING
    from lft.evaluate.metrics.meteor import METEOR
    from lft.evaluate.metrics.meteor_1_5 import METEOR_1_5, missing
    from lft.evaluate.metrics.table import metric_named
    from lft.evaluate.run import JUDGE

    chosen = [name for name in given or () if not name.startswith("+")]
    more = [name[1:] for name in given or () if name.startswith("+")]
    for name in (*chosen, *more):
        if name != JUDGE:
            metric_named(name)
    if encoder is not None:
        more.append(BERTSCORE.name)
    elif BERTSCORE.name in (*chosen, *more):
        raise RecipeError(MISSING, fix="--bertscore-model with a hub id, a folder or package://")
    usual = tuple(chosen or suite.metrics)
    if not chosen and METEOR.name in usual and not missing():
        at = usual.index(METEOR.name) + 1
        usual = tuple(dict.fromkeys((*usual[:at], METEOR_1_5.name, *usual[at:])))
    if METEOR_1_5.name in (*usual, *more) and (lacking := missing()):
        if METEOR_1_5.name in (*chosen, *more):
            raise MachineError(lacking, fix="install Java and: pip install --no-deps pycocoevalcap (105 MB)")
        note(f"{suite.name}: {METEOR_1_5.name} is left out ({lacking})")
        usual = tuple(name for name in usual if name != METEOR_1_5.name)
    return tuple(dict.fromkeys((*usual, *more)))


def encoder_of(written: str | None, layer: int | None) -> Encoder | None:
    """BERTScore's model, seen to load; None where none is named.

    Raises:
        RecipeError, InputError: it cannot be had.
    """
    from lft.errors import RecipeError
    from lft.evaluate.metrics.bertscore import encoder

    if written is None:
        if layer is not None:
            raise RecipeError("--bertscore-layer would be ignored", fix="name a model with --bertscore-model")
        return None
    return encoder(written, -1 if layer is None else layer, cache_folder(), note)


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

    def __init__(
        self, into: Path, offline: bool, limit: int | None, judge: Path | None, workers: int | None,
        encoder: Encoder | None,
    ) -> None:  # fmt: skip
        import os

        from lft.evaluate.metric import Tools
        from lft.evaluate.rubric import load_judge
        from lft.evaluate.run import Place

        self.offline, self.limit = offline, limit
        self.judge = load_judge(judge) if judge else None
        self.place: Place = Place(cache_folder() / "answers", into)
        self.tools: Tools = Tools(workers or os.cpu_count() or 1, cache_folder() / "evaluate", note, encoder)

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


def keep_record(who: Who, result: Result) -> None:
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
