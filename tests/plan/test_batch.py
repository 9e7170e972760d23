"""micro x accumulation x devices = global, whatever the hardware."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lft.errors import RecipeError
from lft.plan import batch_plan
from lft.recipe.schema import Recipe


def recipe(gpus: int = 1, nodes: int = 1, max_length: int = 2048, **train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "base": {"model": "m"},
            "data": {"train": "d", "max_length": max_length},
            "train": train,
            "launch": {"gpus": gpus, "nodes": nodes},
        }
    )


@given(
    st.integers(1, 512), st.integers(1, 8), st.integers(1, 4), st.one_of(st.just("auto"), st.integers(1, 32)),
    st.integers(16, 8192),
)  # fmt: skip
def test_the_global_batch_never_changes(rows: int, gpus: int, nodes: int, micro: Any, length: int) -> None:
    try:
        plan = batch_plan(recipe(gpus, nodes, length, global_batch_size=rows, micro_batch_size=micro))
    except RecipeError:
        assert rows % (gpus * nodes) or (micro != "auto" and (rows // (gpus * nodes)) % micro)
        return
    assert plan.micro_rows * plan.accumulation * plan.devices == plan.global_rows == rows


@given(st.integers(1, 512), st.integers(16, 8192))
def test_auto_always_finds_a_micro_batch_on_one_device(rows: int, length: int) -> None:
    plan = batch_plan(recipe(max_length=length, global_batch_size=rows))
    assume(plan.micro_rows > 1)
    assert plan.micro_rows * length <= 2048


def test_a_micro_batch_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(RecipeError, match="does not divide the 12") as caught:
        batch_plan(recipe(global_batch_size=12, micro_batch_size=5))
    assert "1, 2, 3, 4, 6, 12" in str(caught.value)


def test_the_equation_is_printed_as_people_write_it() -> None:
    plan = batch_plan(recipe(gpus=2, global_batch_size=16, micro_batch_size=2))
    assert str(plan) == "2 micro x 4 accumulation x 2 devices = 16 global"
