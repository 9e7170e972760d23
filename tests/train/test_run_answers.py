"""Evaluation by generation: recorded at each evaluation, and without a trace in the training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.recipe.schema import Recipe
from lft.train.inputs import prepare_inputs
from lft.train.run import Outcome, finetune
from lft.train.samples import word_f1
from tests.tiny import save_tiny, save_tiny_pair, sentences


@pytest.mark.parametrize(
    ("text", "reference", "f1"), [("a b", "a b", 1.0), ("a a", "a b", 0.5), ("c", "a", 0.0), ("", "a", 0.0)]
)
def test_word_f1_counts_each_word_as_often_as_it_stands(text: str, reference: str, f1: float) -> None:
    assert word_f1(text, reference) == f1


@given(st.text(alphabet="ab ", max_size=12), st.text(alphabet="ab ", max_size=12))
def test_word_f1_is_symmetric_and_between_none_and_all(one: str, other: str) -> None:
    assert word_f1(one, other) == word_f1(other, one)
    assert 0 <= word_f1(one, other) <= 1


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_answers_are_recorded_at_each_evaluation_and_change_nothing(tmp_path: Path, family: str) -> None:
    paired = family == "t5"
    (save_tiny_pair if paired else save_tiny)(tmp_path / family, family)
    texts = sentences(24, seed=5, low=3, high=9)
    rows = [
        {"input": texts[i], "output": texts[i + 12], "split": "train" if i < 8 else "validation"} for i in range(12)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def trained(answers: int) -> tuple[Outcome, list[dict[str, float]]]:
        recipe = Recipe.model_validate(
            {
                "name": "tiny",
                "base": {"model": str(tmp_path / family), "dtype": "float32"},
                "data": {
                    "train": str(tmp_path / "data.jsonl"),
                    "max_length": 64,
                    "packing": False,
                    "prompt": "plain" if paired else "longform-eoi",
                },
                "method": {"r": 2, "alpha": 4, "dropout": 0.1},
                "train": {"epochs": 2, "global_batch_size": 4, "eval_answers": answers, "sample_tokens": 4},
                "output": {"runs": str(tmp_path / f"runs-{answers}")},
            }
        )
        outcome = finetune(prepare_inputs(recipe, tmp_path / "cache", lambda _: None), lambda _: None)
        lines = (outcome.folder / "metrics.jsonl").read_text().splitlines()
        return outcome, [json.loads(line) for line in lines]

    (plain, before), (asked, after) = trained(0), trained(3)
    answered = [record for record in after if "word_f1" in record]
    assert [record["step"] for record in answered] == [0, 2, 4]
    assert all(record["answered"] == 3 and 0 <= record["finished"] <= 1 for record in answered)
    assert [r["loss"] for r in before if "loss" in r] == [r["loss"] for r in after if "loss" in r]
    assert plain.result is not None
    assert asked.result is not None
    name = "adapter_model.safetensors"
    assert (plain.result / name).read_bytes() == (asked.result / name).read_bytes()
