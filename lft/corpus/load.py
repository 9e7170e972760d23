"""A build file and overrides into one frozen object, checked as recipes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.ask.rules import has_address, has_price
from lft.ask.schema import Backend
from lft.corpus.schema import Build
from lft.recipe.catalogue_files import catalogue_folder, recipes_in
from lft.recipe.closed import Closed, Rule
from lft.recipe.load import load_closed
from lft.recipe.problems import BadRecipe, Origin, Problem, listed, nearest, shown

COLUMNS: Final = ("text", "title", "lang", "licence", "question", "id", "url", "subset", "score")
_COLUMNED: Final = ("jsonl", "csv", "parquet")


@dataclass(frozen=True, slots=True)
class Asked:
    """One model that a build asks, and the key where it is written."""

    key: str
    backend: Backend


def backends(build: Build) -> tuple[Asked, ...]:
    """Every model that a build asks for text."""
    found = [Asked("instruct.backend", build.instruct.backend)]
    for key, part in (
        ("screen.judge", build.screen.judge),
        ("beyond.rewrite", build.beyond.rewrite),
        ("beyond.constraints", build.beyond.constraints),
        ("beyond.translate", build.beyond.translate),
    ):
        if part is not None:
            found.append(Asked(f"{key}.backend", part.backend))
    return tuple(found)


def sources_have_names(build: Build) -> str | None:
    """Rows, quotas and reports tell sources apart by name."""
    seen: set[str] = set()
    for source in build.sources:
        if source.name in seen:
            return f"sources: {shown(source.name)} is the name of two sources"
        seen.add(source.name)
    return None


def languages_have_a_place(build: Build) -> str | None:
    """One path holds one language, or says where each lies."""
    for source in build.sources:
        per_row = source.kind in _COLUMNED and "lang" in source.columns
        if len(source.langs) > 1 and "{lang}" not in f"{source.path} {source.config}" and not per_row:
            return f"sources: {source.name} has {len(source.langs)} languages, and its path does not say {{lang}}"
    return None


def licences_are_known(build: Build) -> str | None:
    """A text whose licence nobody knows may not be passed on."""
    for source in build.sources:
        if source.licence is None and not (source.kind in _COLUMNED and "licence" in source.columns):
            return f"sources: {source.name} says no licence; write licence:, or columns: {{licence: ...}}"
    return None


def columns_are_known(build: Build) -> str | None:
    """A column that nothing reads would be left out without a word."""
    for source in build.sources:
        if source.columns and source.kind not in _COLUMNED:
            return f"sources: {source.name} is {source.kind}, which has no columns; remove columns:"
        for name in source.columns:
            if name not in COLUMNS:
                return (
                    f"sources: {source.name} has no use for a column {shown(name)}; nearest: {nearest(name, COLUMNS)}"
                )
    return None


def quotas_name_sources(build: Build) -> str | None:
    """A quota of a misspelt source would hold for nobody."""
    names = [source.name for source in build.sources]
    for name in build.select.quotas.by_source:
        if name not in names:
            return f"select.quotas.by_source: no source is named {shown(name)}{_hint(name, names)}"
    return None


def lengths_are_known(build: Build) -> str | None:
    """As for sources."""
    known = ("short", "medium", "long", "very-long")
    for name in build.select.quotas.by_length:
        if name not in known:
            return f"select.quotas.by_length: expected one of {', '.join(known)}, got {shown(name)}"
    return None


def styles_sum_to_one(build: Build) -> str | None:
    """Every document gets one style."""
    styles = build.instruct.styles
    total = styles.instruction + styles.chatbot + styles.search_engine
    return None if abs(total - 1) < 1e-9 else f"instruct.styles: the shares sum to {total:g}, not to 1"


def endpoints_have_addresses(build: Build) -> str | None:
    """An endpoint needs an address, a model in this process has none."""
    return _of_backends(build, has_address)


def money_has_a_price(build: Build) -> str | None:
    """A budget without prices would never be reached."""
    return _of_backends(build, has_price)


def _of_backends(build: Build, broken_by: Callable[[Backend], str | None]) -> str | None:
    found = ((asked.key, broken_by(asked.backend)) for asked in backends(build))
    return next((f"{key}: {broken}" for key, broken in found if broken), None)


def budgets_can_be_kept(build: Build) -> str | None:
    """A job on a cluster runs to its end."""
    for asked in backends(build):
        if asked.backend.kind == "vllm" and (asked.backend.budget or asked.backend.token_budget):
            return f"{asked.key}: a job of kind vllm cannot be stopped by a budget; remove budget and token_budget"
    return None


def splits_leave_something(build: Build) -> str | None:
    """Somebody wants to train."""
    if build.write.validation + build.write.test < 1:
        return None
    return "write: validation and test take everything, and nothing is left to train on"


def slurm_is_described(build: Build) -> str | None:
    """The executor and its settings go together."""
    if (build.run.executor == "slurm") == (build.run.slurm is not None):
        return None
    return "run: executor slurm and the section slurm go together"


def _hint(name: str, known: Sequence[str]) -> str:
    close = nearest(name, known)
    return f"; nearest: {shown(close)}" if close else f"; there are {listed(known)}"


RULES: Final = (
    Rule(("sources",), sources_have_names),
    Rule(("sources",), languages_have_a_place),
    Rule(("sources",), licences_are_known),
    Rule(("sources",), columns_are_known),
    Rule(("select.quotas", "sources"), quotas_name_sources),
    Rule(("select.quotas",), lengths_are_known),
    Rule(("instruct.styles",), styles_sum_to_one),
    Rule(("instruct.backend", "screen.judge", "beyond"), endpoints_have_addresses),
    Rule(("instruct.backend", "screen.judge", "beyond"), money_has_a_price),
    Rule(("instruct.backend", "screen.judge", "beyond"), budgets_can_be_kept),
    Rule(("write",), splits_leave_something),
    Rule(("run",), slurm_is_described),
)

_STAND_IN: Final = {
    "name": "x",
    "sources": [{"name": "x", "kind": "text", "path": "x", "licence": "x"}],
    "instruct": {"backend": {"kind": "transformers", "model": "x"}},
}
BUILD: Final = Closed(Build, "build file", _STAND_IN, RULES)


def find_build(name_or_path: str | Path) -> Path:
    """The file that is meant: an existing path, or the name of a build file of the catalogue.

    Raises RecipeError (a BadRecipe) for anything else, with the nearest.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    folder = catalogue_folder()
    known = {file.stem: file for file in sorted((folder / "corpus").glob("*.yaml"))} if folder else {}
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    near = [*recipes_in(path.parent), *known]
    raise BadRecipe([Problem(Origin(str(name_or_path), 1, 1), f"no such file{_hint(path.name, near)}")])


def load_build(path: Path, overrides: Sequence[str] = ()) -> Build:
    """The build of a file with ``key.path=value`` overrides on top.

    Raises RecipeError (a BadRecipe that carries ``problems``) with everything that is wrong, one line each.
    """
    return load_closed(path, BUILD, overrides)
