"""Many subjects in one table, and sizes on one line: numbers that mean what they say, or a refusal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lft.errors import InputError
from lft.evaluate.compare_pairs import labelled
from lft.evaluate.judge import Verdict
from lft.evaluate.matrix import Field, matrix, matrix_lines, matrix_page
from lft.evaluate.preferences import counted, sign_test
from lft.evaluate.result import Column, Result
from lft.evaluate.scaling import Size, scale_lines, scale_page, scaling
from lft.evaluate.statistics import score_of
from tests.evaluate.made_results import MEAN, REPEATED, made_result


def groups(*results: Result) -> list[dict[str, Result]]:
    return [{one.suite.name: one} for one in results]


def test_a_cell_is_the_score_of_its_subject_suite_and_language() -> None:
    better = made_result("better", 0.1)
    found = matrix(labelled(groups(made_result("base"), better)), MEAN, draws=200)
    assert found.fields == (Field("longform", "de"), Field("longform", "en"), Field("longform", "fr"))
    german = np.array([row.item.lang == "de" for row in better.rows])
    cell = found.cells[1][0]
    assert cell is not None
    assert cell.score == pytest.approx(score_of(better.columns["meteor"].sums, MEAN, german))
    assert cell.low < cell.score < cell.high
    assert [found.best(field) for field in found.fields] == ["better"] * 3


def test_where_less_is_better_the_least_is_best() -> None:
    found = matrix(labelled(groups(made_result("base"), made_result("longer", longer=0.3))), REPEATED, draws=50)
    assert found.best(found.fields[0]) == "base"


def test_a_subject_without_answers_in_a_column_has_an_empty_cell() -> None:
    found = matrix(labelled(groups(made_result("a"), made_result("b", suite="eli5"))), MEAN, draws=50)
    assert found.cells[0][0] is None
    assert found.cells[1][-1] is None
    text = "\n".join(matrix_lines(found))
    assert max(map(len, text.splitlines())) <= 80
    assert "no answers" in matrix_page(found)


def test_scores_of_other_items_do_not_stand_in_one_column() -> None:
    with pytest.raises(InputError, match="other items of longform"):
        matrix(labelled(groups(made_result("a"), made_result("b", digest="f"))), MEAN)


def sizes(*gains: tuple[float, float], items: int = 60) -> list[Size]:
    return [
        Size(f"m{parameters:g}", int(parameters), made_result(f"m{parameters:g}", gain, items=items))
        for parameters, gain in gains
    ]


def test_the_line_finds_the_slope_that_was_put_in() -> None:
    found = scaling(sizes((1.25e8, 0.0), (1.25e9, 0.05), (1.25e10, 0.10)), MEAN, draws=400)
    assert found.line is not None
    assert found.line.slope_low < 5.0 < found.line.slope_high
    assert found.line.slope == pytest.approx(5.0, abs=1.0)
    assert found.line.at(1e9) == pytest.approx(found.line.at_billion)
    assert found.line.r2 > 0.98
    assert "ten times the parameters: +" in "\n".join(scale_lines([found]))
    assert "<svg" in scale_page([found])


def test_sizes_on_the_same_items_make_a_surer_line_than_items_of_their_own() -> None:
    """The hardness of an item is shared, so it falls out of the slope."""
    found = scaling(sizes((1e8, 0.0), (1e9, 0.02), (1e10, 0.04)), MEAN, draws=400)
    assert found.line is not None
    height = found.line.at_billion_high - found.line.at_billion_low
    assert found.line.slope_high - found.line.slope_low < height


def test_two_sizes_make_no_line_and_equal_ones_are_refused() -> None:
    found = scaling(sizes((1e8, 0.0), (1e9, 0.1)), MEAN, draws=50)
    assert found.line is None
    assert "no line: 2 sizes" in "\n".join(scale_lines([found]))
    with pytest.raises(InputError, match="same number of parameters"):
        scaling(sizes((1e8, 0.0), (1e8, 0.1), (1e8, 0.2)), MEAN, draws=50)


def test_only_items_that_every_size_has_a_value_for_are_on_the_line() -> None:
    three = sizes((1e8, 0.0), (1e9, 0.1), (1e10, 0.2), items=20)
    column = three[1].result.columns["meteor"]
    holes = column.sums.copy()
    holes[:5] = np.nan
    broken = replace(three[1].result, columns={"meteor": Column("meteor", holes, column.variants)})
    assert scaling([three[0], replace(three[1], result=broken), three[2]], MEAN, draws=50).items == 15
    with pytest.raises(InputError, match="not scored by meteor"):
        scaling([three[0], replace(three[1], result=replace(broken, columns={})), three[2]], MEAN)


def test_answers_to_one_item_are_one_witness_of_a_preference() -> None:
    said = {"a": ["second", "second", "first"], "b": ["second", "first"], "c": ["first", None], "d": [None]}
    verdicts = [Verdict(item, n, one, True) for item, all_of_it in said.items() for n, one in enumerate(all_of_it)]
    found = counted("s", "other", verdicts)
    assert (found.wins, found.losses, found.ties, found.unread) == (1, 1, 1, 2)
    assert found.p == 1.0


def test_the_sign_test_is_the_binomial_one() -> None:
    from scipy.stats import binomtest

    for wins, losses in [(0, 0), (5, 0), (9, 3), (10, 10), (40, 60)]:
        wanted = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert sign_test(wins, losses) == pytest.approx(wanted)
