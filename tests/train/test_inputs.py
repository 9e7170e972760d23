"""What is refused or told before a model is loaded; `lft data preview` shows the rows that are trained on."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lft.base.binding import Binding
from lft.cli import main
from lft.errors import InputError, LftError, MachineError, RecipeError
from lft.recipe.schema import Recipe
from lft.train.events import Note
from lft.train.inputs import Inputs, prepare_inputs
from lft.train.run import finetune
from tests.tiny import save_tiny, sentences

LONG = "the red cat runs over the old stone. " * 12


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for family in ("llama", "opt", "gpt2"):
        save_tiny(folder / family, family, max_position_embeddings=64)
    texts = sentences(16, seed=5, low=3, high=6)
    rows = [{"input": texts[i], "output": texts[i + 8], "split": "train" if i < 6 else "validation"} for i in range(8)]
    (folder / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[7]["output"] = LONG
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def prepared(material: Path, family: str, rows: str = "short", **more: Any) -> tuple[Inputs, list[str]]:
    said: list[str] = []
    data = {"train": str(material / f"{rows}.jsonl"), "max_length": 256, "packing": False, **more.pop("data", {})}
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base": {"model": str(material / family), "dtype": "float32"},
            "data": data,
            "train": {"max_steps": 1, "global_batch_size": 1, "save_every": "end", **more.pop("train", {})},
            "output": {"runs": str(material / "runs"), **more.pop("output", {})},
        }
    )

    def report(event: Any) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    return prepare_inputs(recipe, material / "cache", report), said


@pytest.mark.parametrize("family", ["opt", "gpt2"])
@pytest.mark.parametrize("packing", [True, False])
def test_sequences_beyond_a_table_of_positions_are_refused_before_training(
    material: Path, family: str, packing: bool
) -> None:
    inputs, _ = prepared(material, family, data={"packing": packing})  # max_length is above it, but no sequence is
    assert finetune(inputs, lambda _: None).result is not None
    with pytest.raises(RecipeError, match="more than the 64 positions of this") as caught:
        prepared(material, family, "long", data={"packing": packing})  # only the validation split is
    assert "set data.max_length to 64 or less" in str(caught.value.fix)
    prepared(material, family, "long", data={"packing": packing, "max_length": 64, "overlong": "truncate"})


def test_of_a_stream_the_longest_allowed_sequence_counts(material: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.max_length: 256 tokens"):
        prepared(material, "opt", data={"streaming": True})
    prepared(material, "opt", data={"streaming": True, "max_length": 64})


def test_samples_beyond_a_table_of_positions_are_refused_before_training(material: Path) -> None:
    prepared(material, "opt", train={"sample_prompts": ["the cat"], "sample_tokens": 40})
    with pytest.raises(RecipeError, match=r"train\.sample_prompts") as caught:
        prepared(material, "opt", train={"sample_prompts": ["the cat"], "sample_tokens": 64})
    assert "train.sample_tokens" in str(caught.value.fix)
    prepared(material, "llama", train={"sample_prompts": ["the cat"], "sample_tokens": 64})


def test_a_rotary_base_beyond_its_training_is_told_and_goes_on(material: Path) -> None:
    told = "positions that the base was trained with"
    assert any(told in text for text in prepared(material, "llama", "long")[1])
    assert not any(told in text for text in prepared(material, "llama")[1])


def test_examples_too_long_name_their_split_and_the_first_of_them(material: Path) -> None:
    with pytest.raises(InputError) as caught:
        prepared(material, "llama", "long", data={"max_length": 64})
    assert caught.value.where == "validation"
    assert "1 of 2 examples are longer than data.max_length 64 (the first is example 1;" in caught.value.what


@pytest.mark.parametrize("inside", ["", "x", "x/y"])
def test_a_file_where_the_runs_should_be_is_one_message_before_anything_is_read(material: Path, inside: str) -> None:
    (material / "file").write_text("")
    with pytest.raises(MachineError, match="a file is where a folder should be") as caught:
        prepared(material, "nowhere", output={"runs": str(material / "file" / inside)})
    assert isinstance(caught.value, LftError)


def test_an_adapter_carries_the_name_that_the_recipe_gives_it(material: Path) -> None:
    inputs, _ = prepared(material, "llama", output={"adapter": "longform/tiny"})
    result = finetune(inputs, lambda _: None).result
    assert result is not None
    bound = Binding.load(result)
    assert (bound.name, bound.recipe) == ("longform/tiny", "tiny")
    assert bound.config == inputs.identity.config != ""


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_the_preview_shows_the_rows_that_training_gets(
    material: Path, tmp_path: Path, streaming: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"streaming": streaming == "true", "packing": True, "max_length": 60}
    inputs, _ = prepared(material, "llama", data=data)
    rows = list(islice(inputs.rows, 3)) if streaming == "true" else [inputs.rows[n] for n in range(2)]
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "r.yaml").write_text(
        f"name: tiny\nbase: {{model: {material / 'llama'}, dtype: float32}}\n"
        f"data: {{train: {material / 'short.jsonl'}, max_length: 60, packing: true, streaming: {streaming}}}\n"
        "train: {max_steps: 1, global_batch_size: 1}\n"
    )
    for start in (0, 1):
        assert main.run(["data", "preview", str(tmp_path / "r.yaml"), "--start", str(start), "--ids"]) == 0
        shown = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines() if re.match(r" *\d+  ", line)]
        assert shown == [number for segment in rows[start] for number in segment.tokens.input_ids]


def test_an_automatic_micro_batch_is_what_the_plan_says_of_this_gpu(
    material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from lft.train import inputs

    recipe = Recipe.model_validate(
        {"name": "x", "base": {"model": "m"}, "data": {"train": "t"}, "train": {"global_batch_size": 64}}
    )
    base = SimpleNamespace(folder=material / "llama")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    gpu, cpu = SimpleNamespace(device="cuda"), SimpleNamespace(device="cpu")
    assert inputs._fitting_rows(recipe, base, gpu) == 8  # 16,384 tokens a pass at most
    assert inputs._fitting_rows(recipe, base, cpu) is None
