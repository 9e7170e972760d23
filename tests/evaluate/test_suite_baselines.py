"""Models to compare with: each in its own format, with what was published of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lft.data.prompts import ALPACA
from lft.errors import InputError
from lft.evaluate.compare_pairs import labelled
from lft.evaluate.suite_baselines import FILE, baseline, load_baselines, published_average, published_of
from lft.evaluate.table1 import table_lines
from lft.recipe.problems import BadRecipe
from tests.evaluate.made_results import MEAN, made_result


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
    assert baseline("longform-opt-2.7b").prompt == "{instruction} [EOI]"
    assert baseline("longform-t5-xl").prompt == "{instruction}"
    assert baseline("alpaca-7b").prompt == ALPACA


def test_what_was_published_of_a_baseline_stands_in_brackets_beside_what_was_measured() -> None:
    entries = labelled([{name: made_result(suite=name, label="opt") for name in ("rgen", "eli5", "writingprompts")}])
    lines = list(table_lines(entries, [baseline("longform-opt-2.7b")], MEAN))
    assert "in brackets: published, not measured here" in lines[0]
    assert re.findall(r"[(]([0-9.]+)[)]", lines[-1]) == ["17.8", "15.5", "17.9", "19.9"]
    unknown = list(table_lines(entries, [baseline("longform-opt-125m")], MEAN))[-1]
    assert unknown.count("(-)") == 4


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
