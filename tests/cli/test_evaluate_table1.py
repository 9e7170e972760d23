"""`lft evaluate table1` on two real small models, a decoder and an encoder-decoder, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lft.evaluate.result import load_result, results_below
from tests.processes import lft
from tests.tiny import save_tiny, save_tiny_pair

pytestmark = pytest.mark.slow  # answers of the suites' own lengths

PUBLISHED = {"flan-t5-xxl": ["10.6", "20.9", "3.5", "7.4"], "longform-opt-2.7b": ["17.8", "15.5", "17.9", "19.9"]}


def test_two_models_fill_the_papers_table_and_the_published_numbers_stand_beside(tmp_path: Path) -> None:
    save_tiny_pair(tmp_path / "t5")
    save_tiny(tmp_path / "opt", "opt", chat=False, max_position_embeddings=2048)
    places = ("--place", "flan-t5-xxl=./t5", "--place", "longform-opt-2.7b=./opt")
    words = ("evaluate", "table1", *PUBLISHED, *places, "--offline", "--limit", "2", "--into", "out")
    said = lft(tmp_path, *words)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert "in brackets: published, not measured here" in lines[0]
    assert "not the sets that the published numbers were measured on" in lines[1]
    for name, printed in PUBLISHED.items():
        line = next(line for line in lines if line.startswith(name))
        assert re.findall(r"[(]([0-9.]+)[)]", line) == printed
        own = [float(number) for number in re.findall(r"([0-9.]+) [(]", line)]
        assert own[0] == pytest.approx(sum(own[1:]) / 3, abs=0.11)
    assert len(results_below(tmp_path / "out")) == 6
    assert {load_result(one).subject.prompt for one in results_below(tmp_path / "out")} == {"own"}
    assert lft(tmp_path, *words).out == said.out
