"""Text and Markdown of scores: 80 columns, everything said, nobody's words become markup."""

from dataclasses import replace

import numpy as np
import pytest

from lft.evaluate.compare import Comparison, Effort, compared
from lft.evaluate.compare_pairs import labelled
from lft.evaluate.markdown import evaluation_section
from lft.evaluate.report_text import comparison_lines, summary_lines
from lft.evaluate.result import LeftOut, Result
from lft.evaluate.summary import Published, summarised
from tests.evaluate.made_results import METRICS, made_result

PUBLISHED = (Published("LongForm-LLaMA-7B", "meteor", 18.6, "README of the paper, variant not stated"),)


def pair(*results: Result) -> Comparison:
    groups = labelled([{one.suite.name: one} for one in results])
    return compared(groups, METRICS, effort=Effort(draws=50, permutations=100))


@pytest.mark.parametrize("label", ["b", "a very long label " * 12, "x\x1b[31m\n| y"])
def test_lines_have_80_columns_and_steer_no_terminal(label):
    comparison = pair(made_result(items=3), made_result(label, 0.05, items=3, floor_gain=0.06, longer=12345.0))
    lines = [*comparison_lines(comparison), *summary_lines(comparison.summaries[1]["longform"], PUBLISHED)]
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "floor gain +6.0" in text
    assert "too few items: 3" in text
    assert "published elsewhere, not measured here" in text


def test_a_score_stands_with_its_interval_floor_and_what_was_left_out():
    result = made_result(left_out=(LeftOut("longform-0001", 0, "meteor", "the answer is empty"),))
    result.columns["meteor"].sums[1] = np.nan
    lines = list(summary_lines(summarised(result, METRICS, draws=100)))
    row = next(line for line in lines if line.startswith("meteor")).split()
    assert row[2:6] == [row[2], "to", row[4], "14.6"]
    assert float(row[2]) < float(row[1]) < float(row[4])
    assert row[-2:] == ["39", "39"]
    assert "left out  1 of meteor: the answer is empty" in lines
    names = [line.split("  ")[0] for line in lines[lines.index("") + 2 :]]
    assert names[:3] == ["meteor", "length-ratio", "repetition"]


def test_a_warning_that_holds_for_every_metric_is_said_once():
    lines = list(summary_lines(summarised(made_result(items=3), METRICS, draws=10)))
    assert [line for line in lines if "too few" in line] == ["  too few items: 3 (every metric)"]


def test_a_missing_companion_is_said():
    result = made_result()
    bare = replace(result, columns={"meteor": result.columns["meteor"]})
    summary = summarised(bare, METRICS, draws=10)
    assert "length-ratio, repetition" in " ".join(" ".join(summary_lines(summary)).split())
    assert "Not measured, though overlap says little without: length-ratio, repetition." in evaluation_section(
        [summary]
    )


def test_the_card_has_version_variant_interval_floor_and_published_numbers():
    comparison = pair(made_result(), made_result("b", 0.05))
    card = evaluation_section([comparison.summaries[1]["longform"]], comparison, {"longform": PUBLISHED})
    assert card.startswith("## Evaluation\n\n**longform** version 1, small offline set, `eeeeeeeeeeee`, 40 items")
    row = next(line for line in card.splitlines() if line.startswith("| METEOR |"))
    assert "en: NLTK 3.10, WordNet; de: NLTK 3.10" in row
    assert " to " in row
    assert "| 14.6 | 40 | 40 | 0 |" in row
    assert "Published elsewhere, not measured here:" in card
    assert "### Against base" in card
    assert "\n\n\n" not in card


def test_words_of_others_are_no_markdown():
    nasty = "a|b\n# c [x](y) <b>"
    comparison = pair(made_result(), made_result(nasty, 0.05))
    card = evaluation_section([comparison.summaries[1]["longform"]], comparison, {"longform": (
        Published(nasty, nasty, 1, nasty),
    )})  # fmt: skip
    assert r"a\|b \# c \[x\](y) \<b\>" in card
    assert "<b>" not in card.replace(r"\<b\>", "")
    widths = {line.replace(r"\|", "").count("|") for line in card.splitlines() if line.startswith("|")}
    assert widths == {9, 5, 11}
