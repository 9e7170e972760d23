"""Who is evaluated, as it is said on the command line: a run, adapters, a model, an endpoint, a file of answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lft.cli.common import cache_folder, registry_folder
from lft.cli.options import typed

if TYPE_CHECKING:
    from lft.ask.request import Model
    from lft.cli.generate import Who
    from lft.evaluate.candidate import Candidate

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="a model without adapters: hub id, folder, file.gguf, package://; with --endpoint its name there"
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(help="--model: longform-eoi, plain, alpaca or chat; else its chat template, or plain"),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(help="--model: its own wording around {instruction}, not --prompt; \\n is a line break"),
]
EndpointOption = Annotated[str | None, typer.Option(help="an OpenAI-compatible address, up to and with /v1")]
KeyEnvOption = Annotated[str | None, typer.Option(help="--endpoint: environment variable that holds the key")]
ApiOption = Annotated[str, typer.Option(help="--endpoint: chat or completions")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="--endpoint: ask anew, as another model may answer there now")
]
AnswersOption = Annotated[
    Path | None, typer.Option(help='answers that are there: JSON lines with "input" (or "id") and "output"')
]
LabelOption = Annotated[str, typer.Option(help="what tables call it")]
EngineOption = Annotated[
    str, typer.Option(help="transformers, or vllm (a GPU; --model, or one --adapter of plain low-rank changes)")
]
BatchOption = Annotated[int, typer.Option(min=1, help="answers under way at once")]
BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Said:
    """What was said about who answers."""

    run: Path | None = None
    adapters: tuple[str, ...] = ()
    base: str | None = None
    model: str | None = None
    prompt: str | None = None
    template: str | None = None
    endpoint: str | None = None
    key_env: str | None = None
    api: str = "chat"
    answers: Path | None = None
    label: str = ""
    batch: int = BATCH
    fresh: bool = False
    engine: str = "transformers"

    def checked(self) -> Said:
        """Itself, if it names one subject and no option that would be ignored.

        Raises:
            RecipeError: it does not.
        """
        from lft.errors import RecipeError

        served = self.endpoint is not None
        kinds = {
            "--run": self.run is not None,
            "--adapter": bool(self.adapters),
            "--model": self.model is not None and not served,
            "--endpoint": served,
            "--answers": self.answers is not None,
        }
        named = [option for option, given in kinds.items() if given]
        if len(named) != 1:
            what = "nobody is named to answer" if not named else f"{' and '.join(named)} do not go together"
            raise RecipeError(what, fix="give one of --run, --adapter, --model, --endpoint, --answers")
        if served and not self.model:
            raise RecipeError("--endpoint needs --model: what the endpoint calls the model", fix="--model NAME")
        odd = {
            "--prompt": self.prompt is not None and named != ["--model"],
            "--template": self.template is not None and named != ["--model"],
            "--base": self.base is not None and named not in (["--run"], ["--adapter"]),
            "--key-env": self.key_env is not None and not served,
            "--api": self.api != "chat" and not served,
            "--fresh": self.fresh and not served,
            "--engine": self.engine == "vllm" and named not in (["--model"], ["--adapter"]),
        }
        if ignored := [option for option, given in odd.items() if given]:
            raise RecipeError(f"{ignored[0]} would be ignored with {named[0]}", fix=f"leave out {ignored[0]}")
        if self.prompt is not None and self.template is not None:
            raise RecipeError("--prompt and --template do not go together", fix="leave out one of them")
        if self.engine not in ("transformers", "vllm"):
            raise RecipeError(f"no engine {self.engine!r}", fix="--engine transformers or vllm")
        if self.engine == "vllm" and self.batch != BATCH:
            raise RecipeError("--batch-size would be ignored: vLLM fills its batches", fix="leave out --batch-size")
        if self.prompt not in (None, "longform-eoi", "plain", "alpaca", "chat"):
            raise RecipeError(f"no prompt format {self.prompt!r}", fix="longform-eoi, plain, alpaca or chat")
        return self


def opened(said: Said, who: Who | None = None) -> Candidate:
    """Who answers, loaded; ``who`` is what adapters or which run, and how they are wanted.

    Raises:
        RecipeError, InputError, MachineError: it cannot be had.
    """
    from lft.evaluate.candidate import bare

    if said.endpoint is not None:
        return _served(said)
    if said.engine == "vllm":
        return _in_vllm(said, who)
    if said.model is not None:
        template = (said.template or "").replace("\\n", "\n")
        prompt: Any = said.prompt
        return bare(said.model, prompt, template, said.label, cache_folder(), said.batch, note)
    assert who is not None, "a run or adapters come with it"
    return _tuned(said, who)


def _in_vllm(said: Said, who: Who | None) -> Candidate:
    from lft.adapters.export.opened import Place, open_written
    from lft.adapters.stacking import together
    from lft.adapters.store.checkout import finder
    from lft.adapters.store.layout import open_store
    from lft.base.places import or_remembered
    from lft.cli.generate import folder_of
    from lft.errors import RecipeError
    from lft.evaluate.candidate_vllm import adapter_in_vllm, bare_in_vllm

    if said.model is not None:
        prompt: Any = said.prompt
        template = (said.template or "").replace("\\n", "\n")
        return bare_in_vllm(said.model, prompt, template, said.label, cache_folder(), note)
    assert who is not None, "adapters come with it"
    kind, pieces = together(who.adapters)
    if len(pieces) > 1 or kind == "stack":
        fix = "make them one first: lft adapters stack or merge"
        raise RecipeError("vLLM takes one adapter as it is, not several or a part of one", fix=fix)
    store = open_store(registry_folder())
    find = or_remembered(finder(store), cache_folder())
    place = Place(lambda written: folder_of(written, store, who), find, cache_folder(), note)
    opened = open_written(pieces[0].ref, who.base, place)
    return adapter_in_vllm(opened, said.label or pieces[0].ref, cache_folder())


def _tuned(said: Said, who: Who) -> Candidate:
    from lft.cli.generate import open_who
    from lft.evaluate.candidate import tuned

    answerer = open_who(who)
    whole = (answerer.adapted.folder / "config.json").is_file()
    label = said.label or (label_of_run(said.run) if said.run is not None else " + ".join(said.adapters))
    kind = "model" if whole else "adapters"
    return tuned(answerer, label, kind, said.adapters, cache_folder(), said.batch)


def label_of_run(run: Path) -> str:
    """A run's recipe, which its folder stands in."""
    return run.resolve().parent.name


def _served(said: Said) -> Candidate:
    from lft.ask.opened import open_model
    from lft.ask.rules import has_address
    from lft.ask.schema import Backend
    from lft.errors import RecipeError
    from lft.evaluate.candidate import served

    if said.api not in ("chat", "completions"):
        raise RecipeError(f"--api {said.api} is neither chat nor completions", fix="--api chat")
    api: Any = said.api
    with typed(Backend, {"model": "--model", "url": "--endpoint", "key_env": "--key-env"}):
        backend = Backend(
            kind="openai", model=str(said.model), url=said.endpoint, key_env=said.key_env, api=api,
            concurrency=said.batch,
        )  # fmt: skip
    if fault := has_address(backend):
        raise RecipeError(fault, where="--endpoint")
    key = os.environ.get(said.key_env) if said.key_env else None
    model = open_model(backend, "--endpoint", key, cache_folder(), note)
    return served(model, _identity(said, model), said.label)


def _identity(said: Said, model: Model) -> str:
    """The endpoint as it was asked last, or with --fresh as nobody asked it yet."""
    from lft.evaluate.candidate import served_identity
    from lft.evaluate.generation import ledger_file

    def asked(time: int) -> bool:
        return ledger_file(cache_folder() / "answers", of_time(time)).exists()

    def of_time(time: int) -> str:
        return served_identity(str(said.endpoint), model.name, model.form, time)

    last = next(time for time in count(1) if not asked(time + 1))
    return of_time(last + 1 if said.fresh and asked(last) else last)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Suites and ``key=value`` overrides apart."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def note(text: str) -> None:
    """Something that takes long, told beside the output."""
    typer.echo(text, err=True)
