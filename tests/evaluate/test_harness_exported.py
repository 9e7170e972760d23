"""lm-evaluation-harness's own command on a model that `lft adapters export` wrote, against base + adapter in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lft.evaluate.answer import open_answerer
from lft.evaluate.candidate import Candidate, bare, tuned
from lft.evaluate.harness import METRICS
from lft.evaluate.metric import Tools
from lft.evaluate.result import Result
from lft.evaluate.run import evaluated_by_harness
from lft.evaluate.statistics import score_of
from lft.evaluate.suite import load_suite
from tests.evaluate.test_harness import quiet, task
from tests.processes import PATIENCE, environment
from tests.typed import Typed, registry_of

pytestmark = pytest.mark.slow  # the harness is imported twice, which takes many seconds
pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (pip install 'lft[harness]')")
SUITE = """\
name: tiny
version: 1
about: a task of the harness
group: knowledge
kind: harness
licence: CC0
origin: made by the test
harness: {tasks: [tiny_choice], shots: 0}
"""
QUESTIONS = 12


def by_lft(place: Path, candidate: Candidate) -> Result:
    (place / "tiny.yaml").write_text(SUITE)
    tools = Tools(1, place / "cache", quiet)
    return evaluated_by_harness(candidate, load_suite(place / "tiny.yaml"), None, place / "tasks", tools)


def accuracy(result: Result) -> float:
    return score_of(result.columns["accuracy"].sums, METRICS["accuracy"])


def likelihoods(result: Result) -> list[float]:
    """Of each choice of each question, sorted by question: lft's rows hold the harness's own replies."""
    replies = {row.item.instruction: json.loads(row.output.text) for row in result.rows}
    return [float(value) for _, reply in sorted(replies.items()) for value, _ in reply]


def by_the_harness(place: Path, model: Path) -> tuple[float, list[float]]:
    """The same from `lm_eval --model hf --model_args pretrained=FOLDER`."""
    words = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--tasks", "tiny_choice"]
    more = ["--include_path", "tasks", "--output_path", "out", "--log_samples", "--device", "cpu", "--num_fewshot", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words, *more], cwd=place, env=environment(place, HF_HUB_OFFLINE="1"),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(next((place / "out").rglob("results_*.json")).read_text())["results"]["tiny_choice"]
    lines = next((place / "out").rglob("samples_tiny_choice_*.jsonl")).read_text().splitlines()
    samples = sorted((json.loads(line) for line in lines), key=lambda one: one["arguments"]["gen_args_0"]["arg_0"])
    return scores["acc,none"], [float(value) for one in samples for value, _ in one["filtered_resps"]]


def test_the_harness_reads_what_was_exported_and_scores_it_as_base_and_adapter_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    registry_of(tmp_path, "de")
    typed = Typed(tmp_path, tmp_path, monkeypatch)
    typed("adapters", "export", "lft/de", "--to", "merged", "--dtype", "float32", "--out", "exported")
    task(tmp_path, QUESTIONS)
    answerer = open_answerer(tmp_path / "de", tmp_path / "cache", quiet)
    in_memory = by_lft(tmp_path, tuned(answerer, "de", "adapters", ("de",), tmp_path / "cache", 4))
    exported = by_lft(tmp_path, bare("./exported", "plain", "", "", tmp_path / "cache", 4, quiet))
    base = by_lft(tmp_path, bare("./base", "plain", "", "", tmp_path / "cache", 4, quiet))
    theirs, their_likelihoods = by_the_harness(tmp_path, tmp_path / "exported")
    assert len(their_likelihoods) == 2 * QUESTIONS
    assert likelihoods(in_memory) == pytest.approx(their_likelihoods, abs=1e-4)
    assert likelihoods(exported) == pytest.approx(their_likelihoods, abs=1e-4)
    assert likelihoods(base) != pytest.approx(their_likelihoods, abs=1e-2)  # the adapter says other things
    assert accuracy(in_memory) == accuracy(exported) == pytest.approx(100 * theirs)
