"""`lft plan --count` counts the very rows that training would see, for decoders and encoder-decoders alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.cli.plan_inputs import count_amount
from lft.plan.amount import steps_of
from lft.recipe.schema import Recipe
from lft.train.inputs import prepare_inputs
from tests.runs import material, recipe


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("count"), llama={}, t5={})


def asked(stuff: Path, family: str) -> Recipe:
    data = {"packing": True} if family == "llama" else {"prompt": "plain", "packing": False}
    return recipe(stuff, stuff / "runs", family, data=data)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_is_counted_is_what_training_sees(stuff: Path, tmp_path: Path, family: str) -> None:
    chosen = asked(stuff, family)
    counted = count_amount(chosen, tmp_path / "counted", lambda _: None)
    trained = prepare_inputs(chosen, tmp_path / "trained", lambda _: None)
    assert counted.rows == len(trained.rows)
    assert counted.tokens == trained.rows.prepared.counts.tokens
    assert counted.examples == trained.rows.prepared.counts.examples
    assert steps_of(chosen.train, trained.plan, counted.rows) == trained.steps


def test_line_breaks_that_t5_cannot_write_are_counted_as_they_are_trained(stuff: Path, tmp_path: Path) -> None:
    """T5's vocabulary has no line break: training adds one, and a count without it would come out short."""

    def tokens(breaks: int) -> int:
        path = tmp_path / f"{breaks}.jsonl"
        path.write_text(json.dumps({"input": "the red cat", "output": "a" + "\n" * breaks + "b"}) + "\n")
        split = {"train": "train", "validation": None}
        data = {"prompt": "plain", "train": str(path), "split": split}
        return count_amount(recipe(stuff, tmp_path / "runs", "t5", data=data), tmp_path, lambda _: None).tokens

    assert tokens(4) == tokens(1) + 3
