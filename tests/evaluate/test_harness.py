"""lm-evaluation-harness runs a model as lft has it in memory, and one that lft exported; its numbers come through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lft.errors import InputError, RecipeError
from lft.evaluate.candidate import Candidate, bare, served
from lft.evaluate.harness import METRICS, harnessed
from tests.corpus.models import Rule
from tests.tiny import save_tiny, sentences

pytestmark = pytest.mark.slow  # importing the harness takes many seconds
pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (pip install 'lft[harness]')")
TASK = """\
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}]
"""


def quiet(_: str) -> None:
    """Nobody listens."""


def candidate(folder: Path) -> Candidate:
    save_tiny(folder / "m", chat=False)
    return bare(str(folder / "m"), None, "", "tiny", folder / "cache", 4, quiet)


def task(folder: Path, count: int = 12) -> Path:
    rows = [{"question": text, "label": number % 2} for number, text in enumerate(sentences(count))]
    (folder / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "tiny.yaml").write_text(TASK.format(file=folder / "rows.json"))
    return folder / "tasks"


def test_a_task_gives_a_row_a_question_and_the_harness_own_score(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    found = harnessed(candidate(tmp_path), ["tiny_choice"], None, None, task(tmp_path), quiet)
    column = found.columns["accuracy"]
    assert len(found.rows) == 12 == len({row.item.id for row in found.rows})
    assert METRICS["accuracy"].score(np.nansum(column.sums, 0)) == pytest.approx(found.scores["tiny_choice"]["acc"])
    assert 0 < found.scores["tiny_choice"]["acc"] < 1
    assert "lm-evaluation-harness" in column.variants["en"]


def test_an_unknown_task_and_an_endpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no task 'mmlx'"):
        harnessed(candidate(tmp_path), ["mmlx"], None, None, None, quiet)
    with pytest.raises(RecipeError, match="endpoint"):
        harnessed(served(Rule(lambda _: ""), "0" * 64), ["mmlu"], 5, None, None, quiet)


def test_data_that_cannot_be_had_is_said_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    place = task(tmp_path)
    (tmp_path / "rows.json").unlink()
    with pytest.raises(InputError, match="cannot be had"):
        harnessed(candidate(tmp_path), ["tiny_choice"], None, None, place, quiet)
