"""Which adapter it is: tensors and what the configuration makes of them, however the file is written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.base.identity import identity, identity_of, meaning
from lft.errors import InputError
from lft.files import sha256
from tests.peft_folders import CONFIG, write_adapter

WEIGHTS = "a" * 64
FULL: dict[str, Any] = {
    **CONFIG, "r": 16, "lora_alpha": 32, "use_rslora": False, "fan_in_fan_out": False,
    "rank_pattern": {"q_proj": 4, "v_proj": 2}, "alpha_pattern": {}, "modules_to_save": ["lm_head", "score"],
    "bias": "none", "lora_dropout": 0.1,
}  # fmt: skip
SAME = {
    "base_model_name_or_path": st.text() | st.none(),
    "revision": st.text() | st.none(),
    "peft_version": st.text() | st.none(),
    "inference_mode": st.booleans(),
    "lora_dropout": st.floats(0, 0.9),
    "init_lora_weights": st.booleans() | st.just("gaussian"),
    "use_dora": st.just(False) | st.none(),
    "target_modules": st.permutations(FULL["target_modules"]),
    "modules_to_save": st.permutations(FULL["modules_to_save"]),
    "lora_alpha": st.just(32.0),
}


def shuffled(said: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    keys = list(said)
    chance.shuffle(keys)
    return {key: shuffled(said[key], chance) if isinstance(said[key], dict) else said[key] for key in keys}


@given(st.fixed_dictionaries({}, optional=SAME), st.randoms())
def test_order_names_and_what_only_training_reads_do_not_count(change: dict[str, Any], chance: random.Random) -> None:
    written = json.loads(json.dumps(shuffled({**FULL, **change}, chance)))
    assert identity_of(written, WEIGHTS) == identity_of(FULL, WEIGHTS)


@given(st.integers(1, 512) | st.floats(0.01, 512), st.integers(1, 512) | st.floats(0.01, 512))
def test_another_alpha_is_another_adapter(one: float, other: float) -> None:
    first, second = (identity_of({**FULL, "lora_alpha": alpha}, WEIGHTS) for alpha in (one, other))
    assert (first == second) == (one == other)
    assert first.weights == second.weights


@pytest.mark.parametrize(
    "change",
    [
        {"r": 8}, {"use_rslora": True}, {"use_dora": True}, {"fan_in_fan_out": True}, {"lora_bias": True},
        {"rank_pattern": {"q_proj": 4}}, {"rank_pattern": {"q_proj": 2, "v_proj": 4}}, {"alpha_pattern": {"q_proj": 4}},
        {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"target_modules": ["q_proj"]}, {"target_modules": "q_proj"},
        {"trainable_token_indices": [3, 1]}, {"init_lora_weights": "pissa"}, {"peft_type": "LOHA"},
        {"layers_to_transform": [1]}, {"arrow_config": {"top_k": 2}},
    ],
)  # fmt: skip
def test_what_changes_the_result_is_another_adapter(change: dict[str, Any]) -> None:
    assert identity_of({**FULL, **change}, WEIGHTS) != identity_of(FULL, WEIGHTS)
    assert identity_of({**FULL, **change}, WEIGHTS).is_meant(WEIGHTS)


def test_the_order_of_token_rows_counts() -> None:
    rows = [identity_of({**FULL, "trainable_token_indices": one}, WEIGHTS) for one in ([3, 1], [1, 3])]
    assert rows[0] != rows[1]


def test_defaults_that_another_version_leaves_out_do_not_count() -> None:
    said = {"peft_type": "LORA", "target_modules": ["q_proj"]}
    written = {**said, "r": 8, "lora_alpha": 8, "bias": "none", "use_rslora": False, "alpha_pattern": {}}
    assert meaning(said) == meaning(written) == {"peft_type": "LORA", "target_modules": ["q_proj"]}


def test_false_counts_for_methods_whose_options_may_be_true_by_default() -> None:
    said = {"peft_type": "OFT", "target_modules": ["q_proj"]}
    assert meaning(said) != meaning({**said, "use_cayley_neumann": False})


def test_a_folder_is_its_tensors_and_its_configuration(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    found = identity(folder)
    assert found.weights == sha256(folder / "adapter_model.safetensors")
    assert identity(write_adapter(tmp_path / "b", base_model_name_or_path="org/other")) == found
    other = identity(write_adapter(tmp_path / "c", lora_alpha=80))
    assert (other.weights, other == found) == (found.weights, False)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(InputError, match="does not hold a map"):
        identity(folder)
