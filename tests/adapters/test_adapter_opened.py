"""Adapters of PEFT and of earlier layouts, opened: every tensor is understood, and means what PEFT makes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.adapters.adapter import open_adapter, require_additive
from lft.adapters.tensors import read_array, read_tensor
from lft.errors import InputError
from tests.adapters_bound import record
from tests.peft_folders import bfloat16, pair, pairs, raw, write_adapter
from tests.peft_made import VARIANTS, made, save
from tests.train.test_method_kinds import TRAINABLE, tuned

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_tensor_that_peft_saves_is_understood(tmp_path, name):
    found = open_adapter(save(made(name), tmp_path / "adapter"))
    understood = [
        info for one in found.low_rank for info in (one.a, one.b, one.magnitude, one.bias) if info is not None
    ] + [one.info for one in (*found.whole, *found.rows)]
    assert sorted(info.name for info in understood) == sorted(info.name for info in found.tensors)
    assert [one.module for one in found.low_rank] == sorted(one.module for one in found.low_rank)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "conv1d undeclared"])
def test_scale_times_b_times_a_is_the_delta_that_peft_adds(tmp_path, name):
    import torch

    tuned = made(name)
    found = open_adapter(save(tuned, tmp_path / "adapter"))
    modules = dict(tuned.base_model.model.named_modules())
    assert found.low_rank
    for one in found.low_rank:
        delta = one.scale * read_tensor(one.b) @ read_tensor(one.a)
        delta = delta.T if one.embedding or one.transposed else delta
        assert tuple(delta.shape) == one.delta_shape
        torch.testing.assert_close(delta, modules[one.module].get_delta_weight("default"), rtol=1e-5, atol=1e-6)


def test_the_real_adapter_is_read(shared_data):
    folder = shared_data / "adapters" / "stories260K-lora-recipes"
    found = open_adapter(folder)
    assert len(found.low_rank) == 35
    assert {one.r for one in found.low_rank} == {8}
    assert {one.scale for one in found.low_rank} == {2.0}
    assert found.binding is None
    assert found.opaque is None
    assert found.identity.weights == hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def test_rows_carry_the_ids_of_their_embedding(tmp_path):
    found = open_adapter(save(made("token rows untied"), tmp_path / "adapter"))
    assert {one.module: one.tokens for one in found.rows} == {"lm_head": (9, 300), "model.embed_tokens": (7, 5)}


def test_a_saved_embedding_and_resized_vocabulary_are_whole_tensors(tmp_path):
    tensors = pairs("model.embed_tokens.x.q_proj") | {
        "base_model.model.model.embed_tokens.weight": np.ones((9, 5), np.float32),
        "base_model.model.lm_head.weight": np.ones((9, 5), np.float32),
    }
    found = open_adapter(write_adapter(tmp_path, tensors))
    assert [one.tensor for one in found.whole] == ["lm_head.weight", "model.embed_tokens.weight"]


@pytest.mark.parametrize("infix", [".default", ".de"])
def test_an_adapters_own_name_in_the_tensors_changes_nothing(tmp_path, infix):
    tensors = {
        name.replace("lora_A", f"lora_A{infix}").replace("lora_B", f"lora_B{infix}"): values
        for name, values in pairs(Q, V).items()
    }
    named = open_adapter(write_adapter(tmp_path / "named", tensors))
    plain = open_adapter(write_adapter(tmp_path / "plain", pairs(Q, V)))
    assert [one.module for one in named.low_rank] == [one.module for one in plain.low_rank]


def test_sixteen_bit_numbers_are_read_exactly(tmp_path):
    import torch
    from safetensors.torch import load_file

    values = pair(Q)
    names = list(values)
    halves = [raw(names[0], values[names[0]].astype(np.float16)), bfloat16(names[1], values[names[1]])]
    folder = write_adapter(tmp_path, halves)
    found = open_adapter(folder).low_rank[0]
    library = load_file(folder / "adapter_model.safetensors")
    for info in (found.a, found.b):
        assert torch.equal(read_tensor(info), library[info.name].float())
        assert read_array(info).dtype == np.float32


def test_methods_other_than_lora_are_held_and_named_and_not_taken_for_sums(tmp_path):
    tensors = {"base_model.model.model.layers.0.self_attn.k_proj.ia3_l": np.ones((6, 1), np.float32)}
    config = {"peft_type": "IA3", "r": ..., "lora_alpha": ..., "init_lora_weights": ...}
    found = open_adapter(write_adapter(tmp_path, tensors, **config))
    assert found.configuration.method == "ia3"
    assert len(found.tensors) == 1
    assert found.low_rank == ()
    with pytest.raises(InputError, match="its method is ia3"):
        require_additive(found)


@pytest.mark.parametrize(
    "option",
    [{"alora_invocation_tokens": [1, 2]}, {"kasa_config": {"beta": 0.1, "gamma": 0.1}}, {"use_qalora": True},
     {"target_parameters": ["experts.gate_up_proj"]}, {"layer_replication": [[0, 2], [1, 3]]}],
)  # fmt: skip
def test_loras_that_are_no_plain_sum_are_held_and_not_taken_for_one(tmp_path, option):
    found = open_adapter(write_adapter(tmp_path, **option))
    assert found.configuration.also == tuple(option)
    with pytest.raises(InputError, match=next(iter(option))):
        require_additive(found)


def test_opening_and_fitting_and_writing_import_no_torch(tmp_path):
    import subprocess
    import sys

    write_adapter(tmp_path / "adapter")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from lft.adapters.adapter import open_adapter\n"
        "from lft.adapters.canonical import write_canonical\n"
        "from lft.adapters.tensors import require_finite\n"
        "import lft.adapters.fit, lft.cli.adapters_verify\n"
        "found = open_adapter(Path(sys.argv[1]))\n"
        "require_finite(found.tensors)\n"
        "write_canonical(found, Path(sys.argv[2]))\n"
        "heavy = {'torch', 'transformers', 'peft', 'safetensors', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "adapter"), str(tmp_path / "new")], check=True)


def test_an_adapter_of_lft_brings_its_record(tmp_path):
    folder = write_adapter(tmp_path)
    (folder / "lft.json").write_text(json.dumps(record(name="de")))
    found = open_adapter(folder)
    assert found.binding is not None
    assert found.binding.name == "de"


def test_a_folder_that_is_itself_reached_by_a_link_is_read(tmp_path):
    write_adapter(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(open_adapter(tmp_path / "link").low_rank) == 2


def test_what_was_opened_can_be_copied_and_opened_again(tmp_path):
    first = write_adapter(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    one, other = open_adapter(Path(first)), open_adapter(tmp_path / "second")
    assert one.digest == other.digest


def test_patterns_whose_order_peft_loses_are_refused(tmp_path):
    """PEFT trains with the first pattern that matches, and sorts them when it saves: it loads another scale itself."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    from tests.tiny import tiny_model

    patterns = {"v_proj": 3, r"layers\.1\..*": 40}
    tuned = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules=["v_proj"], alpha_pattern=patterns))
    tuned.save_pretrained(str(tmp_path), save_embedding_layers=False)
    again = PeftModel.from_pretrained(tiny_model(), str(tmp_path))
    name = "base_model.model.model.layers.1.self_attn.v_proj"
    scales = [torch.as_tensor(one.get_submodule(name).scaling["default"]).item() for one in (tuned, again)]
    assert scales == [0.75, 10.0]  # once PEFT keeps the order, this reader may too
    with pytest.raises(InputError, match=r"several patterns of alpha_pattern give it an alpha \(3, 40\)"):
        open_adapter(tmp_path)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_every_adapter_that_lft_trains_is_read_or_held_by_its_method(tmp_path, kind):
    from lft.recipe.kinds import KINDS
    from lft.train.weights import save_weights

    made = tuned(kind)
    save_weights(made.model, tmp_path, made.initial, checkpoint=False)
    found = open_adapter(tmp_path)
    assert found.configuration.method == KINDS[kind].peft
    if KINDS[kind].peft == "lora":
        assert found.opaque is None
        assert 2 * len(found.low_rank) <= len(found.tensors)
        assert not found.configuration.changes_base
    elif kind == "trainable_tokens":
        assert [rows.tokens for rows in found.rows] == [(5, 6, 7)]
    else:
        assert found.opaque == f"its method is {KINDS[kind].peft}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    [
        "peft_type", "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
        "modules_to_save", "trainable_token_indices", "layers_to_transform", "layers_pattern", "init_lora_weights",
        "exclude_modules", "bias", "eva_config", "auto_mapping", "megatron_core", "base_model_name_or_path", "revision",
    ]
)  # fmt: skip


@settings(max_examples=200)
@given(st.dictionaries(_KEYS, _JSON, max_size=3))
def test_any_value_in_the_configuration_is_read_or_refused_and_nothing_else(tmp_path_factory, values):
    folder = write_adapter(tmp_path_factory.mktemp("any"), **values)
    with suppress(InputError):
        assert len(open_adapter(folder).tensors) == 4


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(list(record())), _JSON, max_size=2))
def test_any_value_in_the_record_of_lft_is_read_or_refused_and_nothing_else(tmp_path_factory, values):
    folder = write_adapter(tmp_path_factory.mktemp("any"))
    (folder / "lft.json").write_text(json.dumps(record(**values)))
    with suppress(InputError):
        assert open_adapter(folder).binding is not None
