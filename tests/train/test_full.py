"""Full fine-tuning: what is saved is the trained model, for families that write their weights under other names too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lft.errors import InputError, TrainingError
from lft.evaluate.answer import open_answerer
from lft.recipe.schema import Recipe
from lft.train.folder import RunFolder
from lft.train.full import load_full, verify_full
from lft.train.inputs import prepare_inputs
from lft.train.run import Outcome, finetune
from tests.tiny import save_tiny, sentences, tiny_model


def trained(place: Path, family: str, resume: RunFolder | None = None) -> Outcome:
    if not (place / family).exists():
        save_tiny(place / family, family)
        texts = sentences(24, seed=5, low=3, high=9)
        splits = ["train" if number < 8 else "validation" for number in range(12)]
        rows = [{"input": texts[i], "output": texts[i + 12], "split": splits[i]} for i in range(12)]
        (place / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate(
        {
            "name": "full",
            "base": {"model": str(place / family), "dtype": "float32"},
            "data": {"train": str(place / "data.jsonl"), "max_length": 64},
            "method": {"kind": "full"},
            "train": {"epochs": 2, "global_batch_size": 2, "learning_rate": 1e-3, "save_every": 1},
            "output": {"runs": str(place / "runs")},
        }
    )
    return finetune(prepare_inputs(recipe, place / "cache", lambda _: None), lambda _: None, resume)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gpt_neox", "gemma"])
def test_a_full_run_saves_its_model_and_goes_on_bit_for_bit(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForCausalLM

    outcome = trained(tmp_path, family)
    assert outcome.result == outcome.folder / "model"
    assert outcome.fall is not None
    assert outcome.fall > 0
    whole = {path.name: path.read_bytes() for path in outcome.result.glob("*.safetensors")}
    ids = torch.tensor([[5, 6, 7]])
    plain = AutoModelForCausalLM.from_pretrained(outcome.result, dtype=torch.float32).eval()
    ours = open_answerer(outcome.folder, tmp_path / "cache", lambda _: None).adapted.model
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, ours(ids).logits)
    shutil.rmtree(outcome.result)
    shutil.rmtree(max((outcome.folder / "checkpoints").glob("step-*")))
    again = trained(tmp_path, family, RunFolder(outcome.folder))
    assert again.result is not None
    assert {path.name: path.read_bytes() for path in again.result.glob("*.safetensors")} == whole


def test_a_model_that_was_saved_wrong_does_not_count_as_saved(tmp_path: Path) -> None:
    model = tiny_model("llama")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path)
    verify_full(model, state, tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(TrainingError, match="differs from the trained one"):
        verify_full(model, {**state, name: state[name] + 1}, tmp_path)
    for wrong, words in ((torch.zeros_like(state[name]), "nothing but zeros"), (state[name] * torch.nan, "differs")):
        broken = {**state, name: wrong}
        model.save_pretrained(tmp_path, state_dict=dict(broken))  # it takes entries out of what it is given
        with pytest.raises(TrainingError, match=words):
            verify_full(model, broken, tmp_path)
    model.save_pretrained(tmp_path, state_dict={key: tensor for key, tensor in state.items() if key != name})
    with pytest.raises(TrainingError, match=f"lacks {name}"):
        verify_full(model, state, tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny_model("llama", num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="of another model"):
        load_full(tiny_model("llama"), tmp_path)
