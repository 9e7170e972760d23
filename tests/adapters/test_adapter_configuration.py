"""adapter_config.json: what any PEFT wrote is read, what none wrote is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.adapters.configuration import Configuration, read_configuration
from lft.errors import InputError
from tests.peft_folders import CONFIG


def config(tmp_path: Path, **values) -> Path:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({key: value for key, value in {**CONFIG, **values}.items() if value is not ...}))
    return file


def refusal(tmp_path: Path, **values) -> str:
    with pytest.raises(InputError) as caught:
        read_configuration(config(tmp_path, **values))
    return str(caught.value)


def test_every_real_configuration_of_any_version_and_method_is_read(shared_data):
    files = sorted((shared_data / "adapters").rglob("adapter_config.json"))
    methods = {}
    for file in files:
        if "bloom" not in str(file):
            methods[str(file)] = read_configuration(file).method
    assert len(methods) >= 70
    assert {"lora", "adalora", "ia3", "vera", "oft", "prefix_tuning", "trainable_tokens"} <= set(methods.values())
    assert all(methods[name] == json.loads(Path(name).read_text())["peft_type"].lower() for name in methods)


def test_variants_of_real_configurations_are_told_apart(shared_data):
    root = shared_data / "adapters" / "peft-configs"
    found = {file.parent.name: read_configuration(file) for file in root.rglob("lora/*/adapter_config.json")}
    assert found["llama-3.2-3B-rank64-rslora"].variant == "lora rslora"
    assert found["llama-3.2-3B-rank32-dora"].variant == "lora dora"
    assert found["llama-3.2-3B-rank32-mica"].variant == "lora mica"
    assert found["flux2-klein-rank64-kasa"].also == ("kasa_config",)
    assert found["llama-3.2-3B-rank14-target-mlp-bdlora"].also == ("use_bdlora",)


def test_the_layout_of_2023_is_refused_by_its_key(shared_data):
    with pytest.raises(InputError, match=r"enable_lora is of PEFT before 0\.3"):
        read_configuration(shared_data / "adapters" / "bloom-560m-lora-legacy" / "adapter_config.json")


def test_every_key_that_the_pinned_peft_saves_is_known(tmp_path):
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    needs = {"num_virtual_tokens": 4, "adapter_len": 4, "adapter_layers": 1}
    read = 0
    for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        known = {key: value for key, value in needs.items() if key in made.__dataclass_fields__}
        try:
            default = made(**known)
        except (TypeError, ValueError, ImportError):  # a few want what only training has
            continue
        default.peft_type = kind
        default.save_pretrained(str(tmp_path / kind.value))
        assert read_configuration(tmp_path / kind.value / "adapter_config.json").method == kind.value.lower()
        read += 1
    assert read > 30


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path):
    said = refusal(tmp_path, lora_alhpa=16)
    assert "'lora_alhpa'" in said
    assert "nearest: 'lora_alpha'" in said


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"auto_mapping": {"base_model_class": "Model", "parent_library": "evil.module"}}, "auto_mapping"),
        ({"auto_mapping": {"base_model_class": "M", "parent_library": "transformers.m", "x": 1}}, "auto_mapping"),
        ({"auto_mapping": {"base_model_class": "os.system", "parent_library": "transformers"}}, "auto_mapping"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ({"runtime_config": {"ephemeral_gpu_offload": True}}, "runtime_config"),
        ({"megatron_core": "evil.core"}, "megatron_core"),
        ({"megatron_config": {"hidden_size": 4}, "megatron_core": "megatron.core"}, "megatron_config"),
    ],
)
def test_a_key_that_would_import_code_is_refused_by_name(tmp_path, values, named):
    assert f"the key {named} is refused" in refusal(tmp_path, **values)


def test_pefts_note_on_a_class_of_transformers_is_dropped_and_said(tmp_path):
    note = {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}
    assert read_configuration(config(tmp_path, auto_mapping=note)).dropped == ("auto_mapping",)
    unsloth = {**note, "unsloth_fixed": True}
    assert read_configuration(config(tmp_path, auto_mapping=unsloth)).dropped == ("auto_mapping",)
    assert read_configuration(config(tmp_path, megatron_core="megatron.core")).dropped == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"peft_type": ...}, "no peft_type"),
        ({"peft_type": "LORRA"}, "nearest: LORA"),
        ({"r": 0}, "is no rank"),
        ({"r": -4}, "is no rank"),
        ({"r": "8"}, "expected a whole number"),
        ({"r": True}, "expected a whole number"),
        ({"r": 10**9}, "is no rank"),
        ({"rank_pattern": {"q_proj": 0}}, "is no rank"),
        ({"alpha_pattern": {"q_proj": "big"}}, "no finite number"),
        ({"lora_alpha": float("nan")}, "no finite number"),
        ({"lora_alpha": float("inf")}, "no finite number"),
        ({"use_dora": "yes"}, "expected true or false"),
        ({"target_modules": [1, 2]}, "target_modules"),
        ({"trainable_token_indices": {"embed_tokens": [3, 3]}}, "no list of different ids"),
        ({"trainable_token_indices": [-1]}, "no list of different ids"),
        ({"init_lora_weights": "pisa"}, "nearest: 'pissa'"),
        ({"target_modules": "q_proj("}, "no regular expression"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_key(tmp_path, values, said):
    assert said in refusal(tmp_path, **values)


def test_a_key_written_twice_is_refused(tmp_path):
    file = tmp_path / "adapter_config.json"
    file.write_text('{"peft_type": "LORA", "r": 4, "r": 8}')
    with pytest.raises(InputError, match="'r' occurs twice"):
        read_configuration(file)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(.*)*x",
        "(?:a|a+)+",
        ".*.*.*.*.*.*.*.*x",
        "(\\w+\\s?)*$",
        "(?:aa?)*$",
        "a?" * 30 + "a" * 30,
        "a" * 5000,
    ],
)
@pytest.mark.parametrize("key", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
def test_a_pattern_that_could_run_for_hours_is_refused_before_it_runs(tmp_path, key, pattern):
    values = {key: {pattern: 4} if key.endswith("_pattern") else pattern}
    said = refusal(tmp_path, **values)
    assert "is refused" in said or "characters" in said


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.(q_proj|v_proj)$",
        r"^(?!.*(vision|visual)).*\.(q|k|v|o)_proj",
        r"model\.layers\.(\d+)\.self_attn\.(q_proj|k_proj)",
        r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:k_proj|v_proj).*?)"
        r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|mlp)\.(?:(?:k_proj|v_proj)))",
    ],
)
def test_patterns_that_people_use_are_read(tmp_path, pattern):
    assert read_configuration(config(tmp_path, target_modules=pattern)).target_modules == pattern


_PARTS = st.sampled_from(["model", "layers", "0", "1", "11", "self_attn", "q_proj", "k_proj", "mlp", "proj"])
_NAMES = st.lists(_PARTS, min_size=1, max_size=5).map(".".join)
_PATTERNS = st.one_of(
    _NAMES, st.sampled_from([r"layers\.1\..*", ".*", "proj", "q_proj|k_proj", "^model", r"layers\.\d+\.mlp", "_proj"])
)


@given(_NAMES, st.lists(st.tuples(_PATTERNS, st.integers(1, 64)), max_size=4), st.integers(1, 64))
def test_patterns_choose_as_peft_does(module, patterns, otherwise):
    from peft.utils.other import get_pattern_key

    said = dict(patterns)
    key = get_pattern_key(list(said), module)
    found = Configuration("lora", r=otherwise, rank_pattern=tuple(said.items()))
    assert found.rank(module) == said.get(key, otherwise)


def test_the_scale_is_pefts(tmp_path):
    plain = read_configuration(config(tmp_path, r=16, lora_alpha=32, alpha_pattern={"v_proj": 4}))
    assert plain.scale("a.q_proj") == 2.0
    assert plain.scale("a.v_proj") == 0.25
    ranks = read_configuration(config(tmp_path, r=16, lora_alpha=8, use_rslora=True, rank_pattern={"v_proj": 4}))
    assert ranks.scale("a.q_proj") == 8 / math.sqrt(16)
    assert ranks.scale("a.v_proj") == 8 / math.sqrt(4)
