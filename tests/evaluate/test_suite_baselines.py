"""Models to compare with: each in its own format, with what was published of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lft.data.prompts import ALPACA, ALPACA_WITH_INPUT
from lft.errors import InputError
from lft.evaluate.suite_baselines import FILE, baseline, load_baselines, published_average, published_of
from lft.recipe.problems import BadRecipe


def test_the_papers_table_has_all_its_models() -> None:
    known = {one.published_as for one in load_baselines().baselines}
    assert known >= {one.model for suite in ("rgen",) for one in _published(suite)}
    assert {"flan-t5-xxl", "alpaca-7b", "t0pp", "tk-instruct-11b", "opt-30b"} <= {
        one.name for one in load_baselines().baselines
    }


def _published(suite: str):
    from lft.evaluate.suite import find_suite, load_suite

    return load_suite(find_suite(suite)).published


def test_each_is_asked_in_its_own_format() -> None:
    assert baseline("longform-opt-2.7b").text("Write an essay.") == "Write an essay. [EOI]"
    assert baseline("longform-t5-xl").text("Write an essay.") == "Write an essay."
    assert baseline("alpaca-7b").text("Do it.") == ALPACA.format(instruction="Do it.")
    assert baseline("alpaca-7b").text("Do it.", "this") == ALPACA_WITH_INPUT.format(
        instruction="Do it.", context="this"
    )
    assert baseline("opt-30b").text("Do it {so}.", "this") == "Do it {so}.\n\nthis\n"


def test_sizes_say_which_machine_can_hold_them() -> None:
    assert baseline("opt-30b").weights_gib == pytest.approx(55.9, abs=0.1)
    assert baseline("flan-t5-xxl").weights_gib == pytest.approx(20.7, abs=0.2)


@pytest.mark.parametrize(
    ("model", "mean"),
    [("T0++", 10.9), ("Tk-Instruct", 6.3), ("Flan-T5", 10.6), ("Alpaca-LLaMA-7B", 14.6), ("OPT-30B", 11.1),
     ("LongForm-T5-XL", 16.3), ("LongForm-OPT-2.7B", 17.8), ("LongForm-OPT-6.7B", 17.7), ("LongForm-LLaMA-7B", 19.7),
     ("LLaMA-7B on FLAN", 9.1)],
)  # fmt: skip
def test_means_out_of_domain_are_those_of_the_paper(model: str, mean: float) -> None:
    assert published_average(model) == pytest.approx(mean, abs=0.07)


def test_what_was_published_is_found_by_suite() -> None:
    found = published_of("LongForm-LLaMA-7B")
    assert {name: scores[0].score for name, scores in found.items()} == {
        "eli5": 18.6, "longform": 24.8, "mmlu": 35.2, "rgen": 21.7, "writingprompts": 18.9,
    }  # fmt: skip
    assert published_of("nobody") == {}
    assert published_average("nobody") is None


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(InputError, match="nearest: opt-30b"):
        baseline("opt-30")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('prompt: "{instruction}\\n"', 'prompt: "{input}"'), "the prompt of opt-30b must hold {instruction} once"),
        (("name: t0pp", "name: opt-30b"), "'opt-30b' is the name of two models"),
        (("billions: 30.0", "billion: 30.0"), "nearest: 'billions'"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "own.yaml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(BadRecipe) as caught:
        load_baselines(tmp_path / "own.yaml")
    assert said in str(caught.value)
