"""A judge's file (rubric and backend) as frozen objects, checked as recipes are.

judge.yaml    rubric: longform            one that ships, or a file beside
              backend: {kind: openai, url: http://127.0.0.1:8000/v1, model: ...}
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from lft.ask.rules import has_address, has_price
from lft.ask.schema import Backend
from lft.errors import InputError
from lft.recipe.closed import Closed, Rule
from lft.recipe.load import load_closed
from lft.recipe.problems import listed, nearest, shown
from lft.recipe.schema import Name, NonEmpty, Option, PositiveInt

_Point = Annotated[int, Field(strict=True, ge=0, le=100)]
_SINGLE: Final = frozenset({"lowest", "highest", "dimensions", "instruction", "answer", "keys"})
_PAIR: Final = frozenset({"dimensions", "instruction", "first", "second"})


class Rubric(BaseModel):
    """What a judge is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    name: Name = Field(description="name of the rubric")
    version: PositiveInt = Field(description="printed beside every score; raise it with every change")
    about: NonEmpty = Field(description="where it is from")
    dimensions: dict[Option, NonEmpty] = Field(min_length=1, description="name of each question, and the question")
    lowest: _Point = Field(1, description="points for not at all")
    highest: _Point = Field(5, description="points for entirely")
    single: NonEmpty = Field(
        description="prompt for one answer: {instruction}, {answer}, {dimensions}, {keys}, {lowest}, {highest}"
    )
    pair: NonEmpty = Field(description="prompt for two answers: {instruction}, {first}, {second}, {dimensions}")


class Judge(BaseModel):
    """Who judges by what."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    rubric: NonEmpty = Field("longform", description="a rubric that ships with lft, or a file")
    backend: Backend = Field(description="the model that judges")


def _scale_rises(rubric: Rubric) -> str | None:
    if rubric.lowest < rubric.highest:
        return None
    return f"lowest is {rubric.lowest} and highest {rubric.highest}; write a highest above it"


def _single_is_whole(rubric: Rubric) -> str | None:
    return _fields_fault("single", rubric.single, {"instruction", "answer", "keys"}, _SINGLE)


def _pair_is_whole(rubric: Rubric) -> str | None:
    return _fields_fault("pair", rubric.pair, {"instruction", "first", "second"}, _PAIR)


def _fields_fault(key: str, prompt: str, needed: set[str], known: frozenset[str]) -> str | None:
    """What is wrong with the {fields} of a prompt."""
    try:
        there = {name for _, name, _, _ in Formatter().parse(prompt) if name is not None}
    except ValueError as error:
        return f"{key}: {error}; a brace that is meant as one is written {{{{ or }}}}"
    for name in sorted(there - known):
        close = nearest(name, known)
        return f"{key}: no field {shown(name)}; " + (f"nearest: {{{close}}}" if close else f"there are {listed(known)}")
    missing = sorted(needed - there)
    return f"{key} does not say where {{{missing[0]}}} goes" if missing else None


def _can_be_asked(judge: Judge) -> str | None:
    fault = has_address(judge.backend) or has_price(judge.backend)
    return f"backend: {fault}" if fault else None


RUBRIC: Final = Closed(
    Rubric,
    "rubric",
    {"name": "x", "version": 1, "about": "x", "dimensions": {"x": "x"}, "single": "x", "pair": "x"},
    (
        Rule(("highest", "lowest"), _scale_rises),
        Rule(("single",), _single_is_whole),
        Rule(("pair",), _pair_is_whole),
    ),
)
JUDGE: Final = Closed(
    Judge, "judge's file", {"backend": {"kind": "transformers", "model": "x"}}, (Rule(("backend",), _can_be_asked),)
)


def load_judge(path: Path) -> tuple[Judge, Rubric]:
    """A judge's file and its rubric.

    Raises:
        RecipeError: (a BadRecipe) everything that is wrong with either, one line each.
        InputError: one of them is not there.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), fix="write rubric: and backend: into it (docs)")
    judge = load_closed(path, JUDGE)
    return judge, load_rubric(judge.rubric, path.parent)


def load_rubric(written: str, beside: Path) -> Rubric:
    """A rubric by the name of one that ships, or of a file beside the judge's; raises as ``load_judge``."""
    shipped = Path(str(files("lft.evaluate") / "rubrics"))
    names = sorted(path.stem for path in shipped.glob("*.yaml"))
    path = shipped / f"{written}.yaml" if written in names else beside / written
    if not path.is_file():
        close = nearest(written, names)
        hint = f"nearest: {shown(close)}" if close else f"there are {listed(names)}, or name a file"
        raise InputError(f"no rubric {shown(written)}; {hint}", where="rubric")
    return load_closed(path, RUBRIC)
