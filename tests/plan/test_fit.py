"""What fits, what auto means, and what to change: each proposal really needs what it says."""

from __future__ import annotations

from typing import Any

import pytest

from lft.errors import RecipeError
from lft.plan.batch import batch_plan
from lft.plan.configs import known_config
from lft.plan.families import shape_of
from lft.plan.fit import auto_micro_batch, changes, engine_for, micro_rows, with_values
from lft.plan.hardware import parse_hardware
from lft.plan.memory import memory_of
from lft.plan.overview import plan_run
from lft.plan.setup import setup_of
from lft.recipe import load_recipe
from lft.recipe.schema import Recipe

LLAMA = shape_of(known_config("huggyllama/llama-7b") or {})
OPT = shape_of(known_config("facebook/opt-125m") or {})


def recipe(*overrides: str) -> Recipe:
    return load_recipe("llama7b-lora", overrides, allow_unsupported=True).recipe


def test_auto_takes_the_most_rows_that_fit_and_divides_the_share() -> None:
    small, large = (auto_micro_batch(recipe(), LLAMA, parse_hardware(name)) for name in ("RTX4090", "H200"))
    assert 1 <= small < large
    assert large * 2048 <= 16_384
    setup = setup_of(recipe(), LLAMA, parse_hardware("RTX4090"), 2 * small)
    assert not memory_of(setup).fits(parse_hardware("RTX4090").device.memory)
    assert batch_plan(recipe(), small).micro_rows == small


def test_auto_on_a_processor_is_the_rule_without_hardware() -> None:
    fleet = parse_hardware("cpu-512GB")
    for length in (128, 512, 2048):
        short = recipe(f"data.max_length={length}")
        assert auto_micro_batch(short, OPT, fleet) == batch_plan(short).micro_rows


def test_auto_is_one_row_where_nothing_fits() -> None:
    assert auto_micro_batch(recipe("method.kind=full"), LLAMA, parse_hardware("T4")) == 1


def test_a_micro_batch_that_is_written_is_kept() -> None:
    assert micro_rows(recipe("train.micro_batch_size=4"), LLAMA, parse_hardware("T4")) == 4


def test_several_devices_get_the_plainest_engine_that_fits() -> None:
    eight = parse_hardware("8xA100-80GB")
    assert engine_for(recipe(), LLAMA, eight) == "ddp"
    assert engine_for(recipe("method.kind=full"), LLAMA, eight) == "zero2"
    assert engine_for(recipe("method.kind=full"), LLAMA, parse_hardware("8xRTX4090")) == "zero3"
    assert engine_for(recipe(), LLAMA, parse_hardware("A100")) == "none"
    assert engine_for(recipe("launch.engine=zero1"), LLAMA, eight) == "zero1"


@pytest.mark.parametrize("overrides", [(), ("method.kind=full",), ("data.max_length=8192",), ("base.dtype=float32",)])
@pytest.mark.parametrize("hardware", ["T4", "RTX3090", "2xL4", "cpu-16GB"])
def test_each_change_needs_what_it_says(overrides: tuple[str, ...], hardware: str) -> None:
    fleet = parse_hardware(hardware)
    placed = with_values(recipe(*overrides), {"launch.gpus": fleet.gpus})
    placed = with_values(placed, {"launch.engine": engine_for(placed, LLAMA, fleet)})
    found = changes(placed, LLAMA, fleet)
    assert found
    assert sorted(found, key=lambda change: not change.fits)[0].fits == found[0].fits
    for change in found:
        if not change.overrides or change.words.endswith("zero3"):
            continue
        keys = [override for override in change.overrides if not override.startswith("launch.")]
        said = recipe(*overrides, *keys)
        launch = {"launch.gpus": fleet.gpus, "launch.engine": placed.launch.engine}
        for override in (o for o in change.overrides if "engine" in o):
            launch["launch.engine"] = override.partition("=")[2]
        again = with_values(said, launch)
        setup = setup_of(again, LLAMA, fleet, micro_rows(again, LLAMA, fleet))
        assert memory_of(setup) == change.memory


def test_a_change_that_costs_nothing_comes_first() -> None:
    found = changes(
        recipe("train.micro_batch_size=8", "train.gradient_checkpointing=false"), LLAMA, parse_hardware("A100-40")
    )
    assert found[0].fits
    assert "same result" in found[0].words


def test_changes_together_are_tried_where_none_is_enough() -> None:
    found = changes(recipe("data.max_length=4096", "train.gradient_checkpointing=false"), LLAMA, parse_hardware("L4"))
    assert any(change.fits for change in found)


def test_a_plan_that_fits_proposes_nothing() -> None:
    plan = plan_run(recipe(), LLAMA, parse_hardware("A100"))
    assert plan.fits
    assert plan.changes == ()


def test_a_batch_that_does_not_divide_over_the_devices_is_an_error() -> None:
    with pytest.raises(RecipeError, match="cannot be divided over 24 devices"):
        plan_run(recipe(), LLAMA, parse_hardware("8xA100", 3))


def test_the_batch_equation_holds_for_every_plan() -> None:
    for text, nodes in (("A100", 1), ("8xA100", 1), ("4xL4", 2)):
        batch = plan_run(recipe(), LLAMA, parse_hardware(text, nodes)).batch
        assert batch.micro_rows * batch.accumulation * batch.devices == 128


def figures(plan: Any) -> tuple[Any, ...]:
    return plan.memory, plan.batch, plan.run


def test_a_plan_is_a_function_of_its_arguments() -> None:
    one, two = (plan_run(recipe(), LLAMA, parse_hardware("8xA100", 4)) for _ in range(2))
    assert figures(one) == figures(two)
