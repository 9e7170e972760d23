"""Models to compare with, by name: where they are, how they are asked, and what was published of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from lft.errors import InputError
from lft.evaluate.suite import find_suite, load_suite, suite_names
from lft.evaluate.suite_schema import Published, Suite
from lft.evaluate.suite_template import fields
from lft.recipe.closed import Closed, Rule
from lft.recipe.load import load_closed
from lft.recipe.problems import listed, nearest, shown
from lft.recipe.schema import Name, NonEmpty

FILE: Final = Path(__file__).parent / "baselines.yaml"
_GIB: Final = 2**30
_AVERAGED: Final = ("rgen", "eli5", "writingprompts")  # the paper's "All"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Baseline(_Closed):
    """A model that others trained, in its own prompt format."""

    name: Name = Field(description="the name on the command line")
    model: NonEmpty = Field(description="hub id or folder")
    revision: NonEmpty | None = Field(None, description="hub: commit, tag or branch")
    architecture: Literal["causal", "seq2seq"] = Field(description="decoder only, or encoder and decoder")
    prompt: NonEmpty = Field(description="its own format; {instruction} stands for what is asked")
    diff_of: NonEmpty | None = Field(None, description="the base, where the model is a difference of weights to it")
    billions: Annotated[float, Field(strict=True, gt=0)] = Field(description="parameters")
    licence: NonEmpty = Field(description="licence of the weights")
    published_as: NonEmpty | None = Field(None, description="its name in the suites' published tables")
    note: str = Field("", description="what one must know to compare with what was published")

    @property
    def weights_gib(self) -> float:
        """GiB of its weights in bfloat16."""
        return self.billions * 2e9 / _GIB


class Baselines(_Closed):
    """A file of baselines."""

    baselines: tuple[Baseline, ...] = Field(min_length=1, description="models to compare with")
    averages: tuple[Published, ...] = Field(
        (), description="published means over the suites rgen, eli5, writingprompts"
    )


def names_are_unique(file: Baselines) -> str | None:
    """A name stands for one model."""
    names = [one.name for one in file.baselines]
    twice = next((name for name in names if names.count(name) > 1), None)
    return f"baselines: {shown(twice)} is the name of two models" if twice else None


def prompts_have_a_place(file: Baselines) -> str | None:
    """A prompt without the instruction would ask nothing."""
    for one in file.baselines:
        if fields(one.prompt) != ["instruction"]:
            return f"baselines: the prompt of {one.name} must hold {{instruction}} once, and nothing else in braces"
    return None


_STAND_IN: Final = {
    "baselines": [
        {
            "name": "x",
            "model": "x",
            "architecture": "causal",
            "prompt": "{instruction}",
            "billions": 1.0,
            "licence": "x",
        }
    ]
}
BASELINES: Final = Closed(
    Baselines,
    "baselines",
    _STAND_IN,
    (Rule(("baselines",), names_are_unique), Rule(("baselines",), prompts_have_a_place)),
)


def load_baselines(path: Path = FILE) -> Baselines:
    """The baselines of a file; those that ship with lft if none is named.

    Raises RecipeError (a BadRecipe that carries ``problems``) with everything that is wrong, one line each.
    """
    return load_closed(path, BASELINES)


def baseline(name: str, path: Path = FILE) -> Baseline:
    """The baseline of a name.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    known = {one.name: one for one in load_baselines(path).baselines}
    if name not in known:
        close = nearest(name, known)
        raise InputError(
            f"no baseline is named {shown(name)}", fix=f"nearest: {close}" if close else f"there are {listed(known)}"
        )
    return known[name]


def published_of(model: str, suites: tuple[Suite, ...] | None = None) -> dict[str, tuple[Published, ...]]:
    """What was published of a model, by suite; of the suites that ship with lft if none are given."""
    looked = suites if suites is not None else tuple(load_suite(find_suite(name)) for name in suite_names())
    found = {suite.name: tuple(one for one in suite.published if one.model == model) for suite in looked}
    return {name: scores for name, scores in found.items() if scores}


def published_average(model: str) -> float | None:
    """The paper's column "All", METEOR: the mean of rgen, eli5 and writingprompts, or as printed; None if unknown."""
    scores = [one.score for name in _AVERAGED for one in published_of(model).get(name, ()) if one.metric == "meteor"]
    if len(scores) == len(_AVERAGED):
        return sum(scores) / len(scores)
    return next((one.score for one in load_baselines().averages if one.model == model), None)
