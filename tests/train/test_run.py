"""A whole run on a tiny model: the adapter loads in plain peft, batches are equivalent, resuming is exact."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lft.errors import MachineError, TrainingError
from lft.evaluate.answer import open_answerer
from lft.recipe.schema import Recipe
from lft.train.events import Step
from lft.train.folder import RunFolder, newest_whole_checkpoint
from lft.train.inputs import prepare_inputs
from lft.train.run import Outcome, finetune
from tests.tiny import save_tiny, sentences


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_tiny(folder / "llama", "llama")
    save_tiny(folder / "opt", "opt", extra_rows=8)
    texts = sentences(48, seed=5, low=3, high=20)
    rows = [
        {"input": texts[i], "output": texts[i + 24], "split": "train" if i < 20 else "validation"} for i in range(24)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(material: Path, runs: Path, family: str = "llama", **train: Any) -> Recipe:
    settings = {"epochs": 2, "learning_rate": 1e-2, "global_batch_size": 4, "save_every": 2, "keep_last": 9}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base": {"model": str(material / family), "dtype": "float32"},
            "data": {"train": str(material / "data.jsonl"), "max_length": 128, "packing": train.pop("packing", False)},
            "method": {"r": 4, "alpha": 8},
            "train": {**settings, **train},
            "output": {"runs": str(runs)},
        }
    )


def trained(material: Path, runs: Path, family: str = "llama", **train: Any) -> tuple[Outcome, list[Step]]:
    steps: list[Step] = []
    chosen = recipe(material, runs, family, **train)
    inputs = prepare_inputs(chosen, material / "cache", lambda _: None)
    outcome = finetune(inputs, lambda event: steps.append(event) if isinstance(event, Step) else None)
    return outcome, steps


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_training_lowers_the_loss_and_leaves_a_whole_run_folder(material: Path, tmp_path: Path, family: str) -> None:
    outcome, steps = trained(material, tmp_path, family, epochs=24, packing=True, sample_prompts=["the red cat"])
    assert outcome.fall is not None
    assert outcome.fall > 0.01  # a random frozen base leaves an adapter little to win
    assert len(steps) == outcome.steps
    there = {path.name for path in outcome.folder.iterdir()}
    assert there >= {"recipe.yaml", "lock.json", "metrics.jsonl", "samples.jsonl", "log.txt", "checkpoints", "adapter"}


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_plain_peft_loads_the_adapter_and_computes_the_same(material: Path, tmp_path: Path, family: str) -> None:
    from peft import AutoPeftModelForCausalLM

    outcome, _ = trained(material, tmp_path, family)
    assert outcome.result is not None
    answerer = open_answerer(outcome.folder, material / "cache", lambda _: None)
    copy = shutil.copytree(outcome.result, tmp_path / "copy")  # an adapter names no folder of the machine: say which
    said = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**said, "base_model_name_or_path": str(material / family)}))
    plain = AutoPeftModelForCausalLM.from_pretrained(copy, dtype=torch.float32).eval()
    ids = torch.tensor([answerer.adapted.tokenizer("the red cat [EOI]")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=ids).logits, answerer.adapted.model(input_ids=ids).logits, atol=1e-6)


def test_one_by_eight_equals_eight_by_one(material: Path, tmp_path: Path) -> None:
    _, one = trained(material, tmp_path / "a", global_batch_size=8, micro_batch_size=1)
    _, eight = trained(material, tmp_path / "b", global_batch_size=8, micro_batch_size=8)
    assert [s.loss for s in one] == pytest.approx([s.loss for s in eight], rel=1e-4)
    assert [s.grad_norm for s in one] == pytest.approx([s.grad_norm for s in eight], rel=1e-3)


def test_an_interrupted_run_goes_on_bit_for_bit(material: Path, tmp_path: Path) -> None:
    whole, _ = trained(material, tmp_path / "whole")
    chosen = recipe(material, tmp_path / "cut")
    inputs = prepare_inputs(chosen, material / "cache", lambda _: None)

    def interrupt(event: object) -> None:
        if isinstance(event, Step) and event.step == 3:
            signal.raise_signal(signal.SIGTERM)

    cut = finetune(inputs, interrupt)
    assert cut.signal == signal.SIGTERM
    assert cut.result is None
    assert (cut.folder / "checkpoints" / f"step-{cut.steps}" / "manifest.json").is_file()
    again = prepare_inputs(chosen, material / "cache", lambda _: None)
    resumed = finetune(again, lambda _: None, RunFolder.open(cut.folder))
    assert resumed.result is not None
    assert whole.result is not None
    name = "adapter_model.safetensors"
    assert (resumed.result / name).read_bytes() == (whole.result / name).read_bytes()


def test_a_damaged_checkpoint_is_passed_over_and_named(material: Path, tmp_path: Path) -> None:
    from lft.train.folder import newest_whole_checkpoint

    outcome, _ = trained(material, tmp_path)
    newest = newest_whole_checkpoint(outcome.folder / "checkpoints")
    weights = newest.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    older = newest_whole_checkpoint(outcome.folder / "checkpoints")
    assert older.step < newest.step
    assert older.skipped == (f"step {newest.step} skipped: adapter_model.safetensors is damaged",)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_examples(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lft.train import loss

    real = loss.supervised_loss
    monkeypatch.setattr(loss, "supervised_loss", lambda *a: real(*a) * float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1, in examples \d"):
        trained(material, tmp_path, eval_every="end")


def test_a_lack_of_memory_in_the_middle_of_a_run_says_what_is_safe_and_what_to_change(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lft.train import loss

    real, calls = loss.supervised_loss, iter(range(1000))

    def scarce(*arguments: Any) -> torch.Tensor:
        if next(calls) >= 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    monkeypatch.setattr(loss, "supervised_loss", scarce)
    with pytest.raises(MachineError, match="out of memory") as caught:
        trained(material, tmp_path, eval_every="end", micro_batch_size=2, save_every=1)
    (run,) = (tmp_path / "tiny").iterdir()
    step = newest_whole_checkpoint(run / "checkpoints").step
    assert f"The last checkpoint is step {step}; go on with: lft finetune --resume" in str(caught.value)
    assert "train.micro_batch_size" in str(caught.value)
