"""One form for equal adapters: the same bytes from any source, and plain PEFT gives the same logits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.adapters.adapter import open_adapter
from lft.adapters.canonical import Entry, write_canonical, write_safetensors
from lft.errors import InputError
from lft.files import broken_files
from tests.peft_folders import bfloat16, pair, pairs, raw, write_adapter
from tests.peft_made import VARIANTS, loaded, logits, made, save
from tests.tiny import tiny_model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Q, V, K = (f"model.layers.0.self_attn.{name}_proj" for name in "qvk")


def canonical(folder: Path) -> Path:
    return write_canonical(open_adapter(folder), folder.with_name(f"{folder.name}-canonical"))


def both(folder: Path) -> tuple[bytes, bytes]:
    return (folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_bytes()


@pytest.mark.parametrize("name", VARIANTS)
def test_plain_peft_gives_the_same_logits(tmp_path, name):
    import torch

    tuned = made(name)
    folder = canonical(save(tuned, tmp_path / "adapter"))
    found = logits(loaded(name, folder))
    assert (logits(tuned) - logits(tiny_model(VARIANTS[name][0]))).abs().max() > 1e-2
    torch.testing.assert_close(found, logits(tuned), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_canonical_form_of_a_canonical_form_is_itself(tmp_path, name):
    once = canonical(save(made(name), tmp_path / "adapter"))
    assert both(canonical(once)) == both(once)


@pytest.mark.parametrize("name", VARIANTS)
def test_it_says_the_scale_in_the_plainest_way(tmp_path, name):
    folder = canonical(save(made(name), tmp_path / "adapter"))
    said = json.loads((folder / CONFIG).read_text())
    assert said["lora_alpha"] == said["r"]
    assert said["use_rslora"] is False
    assert said["rank_pattern"] == said["alpha_pattern"] == {}
    assert said["target_modules"] == sorted(said["target_modules"])
    assert {one.scale for one in open_adapter(folder).low_rank} == {1.0}
    assert list(said) == sorted(said)


_RANKS = st.lists(st.integers(1, 6), min_size=3, max_size=3)
# Powers of two, so that every way of writing the same scale is exact.
_SCALES = st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), min_size=3, max_size=3)


def told(ranks: list[int], scales: list[float], way: str) -> dict:
    """A configuration that gives these ranks and scales to Q, V and K."""
    names = ("q_proj", "v_proj", "k_proj")
    root = way == "rslora"
    return {
        "r": ranks[0],
        "lora_alpha": scales[0] * (math.sqrt(ranks[0]) if root else ranks[0]),
        "use_rslora": root,
        "rank_pattern": dict(zip(names[1:], ranks[1:], strict=True)),
        "alpha_pattern": {
            name: scale * (math.sqrt(r) if root else r)
            for name, scale, r in zip(names[1:], scales[1:], ranks[1:], strict=True)
        },
        "target_modules": r".*\.(q|k|v)_proj" if way == "regex" else list(names),
    }


@settings(max_examples=25)
@given(ranks=_RANKS, scales=_SCALES, seed=st.integers(0, 99), padding=st.integers(0, 3))
def test_equal_adapters_become_equal_bytes_whatever_wrote_them(tmp_path_factory, ranks, scales, seed, padding):
    home = tmp_path_factory.mktemp("equal")
    modules = dict(zip((Q, V, K), zip(ranks, scales, strict=True), strict=True))
    tensors = {name: v for module, (r, _) in modules.items() for name, v in pair(module, r=r, seed=seed).items()}
    ways = {way: write_adapter(home / way, tensors, **told(ranks, scales, way)) for way in ("plain", "regex")}
    if all(math.sqrt(r).is_integer() for r in ranks):
        ways["rslora"] = write_adapter(home / "rslora", tensors, **told(ranks, scales, "rslora"))
    most = max(ranks) + padding
    folded = {
        name: np.pad(
            values * np.float32(modules[module][1] if "lora_B" in name else 1.0),
            [(0, 0), (0, most - modules[module][0])] if "lora_B" in name else [(0, most - modules[module][0]), (0, 0)],
        )
        for module in modules
        for name, values in tensors.items()
        if f".{module}." in name
    }
    ways["folded"] = write_adapter(home / "folded", folded, r=most, lora_alpha=most, target_modules=list(modules))
    backwards = dict(reversed(tensors.items()))
    ways["order"] = write_adapter(home / "order", backwards, **told(ranks, scales, "plain"), lora_dropout=0.1)
    named = {name.replace(".weight", ".x.weight"): values for name, values in tensors.items()}
    ways["named"] = write_adapter(home / "named", named, **told(ranks, scales, "plain"), peft_version="0.18.0")
    found = {way: both(canonical(folder)) for way, folder in ways.items()}
    assert len(set(found.values())) == 1, {way: hash(content) for way, content in found.items()}


def test_the_scale_is_rounded_once(tmp_path):
    folder = canonical(write_adapter(tmp_path / "a", pairs(Q), lora_alpha=7, r=4, use_rslora=True, target_modules=[Q]))
    source = pair(Q)[f"base_model.model.{Q}.lora_B.weight"]
    from lft.adapters.tensors import read_array

    made = read_array(open_adapter(folder).low_rank[0].b)
    assert np.array_equal(made, (source.astype(np.float64) * (7 / math.sqrt(4))).astype(np.float32))


def test_the_file_is_the_librarys_own_byte_for_byte(tmp_path):
    import torch
    from safetensors.torch import save_file

    numbers = np.random.default_rng(0)
    arrays = {f"b.{n}": numbers.standard_normal((n + 1, 3), dtype=np.float32) for n in range(4)}
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    save_file(tensors, tmp_path / "library", metadata={"format": "pt"})
    entries = [Entry(n, "F32", v.shape, lambda v=v: [v.tobytes()]) for n, v in reversed(arrays.items())]
    write_safetensors(tmp_path / "ours", entries)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()


def test_sixteen_bit_factors_become_the_same_as_their_float32(tmp_path):
    values = {name: v.astype(np.float16).astype(np.float32) for name, v in pairs(Q, V).items()}
    halves = [raw(name, v.astype(np.float16)) for name, v in values.items()]
    one = canonical(write_adapter(tmp_path / "half", halves))
    assert both(one) == both(canonical(write_adapter(tmp_path / "full", values)))


def test_whole_tensors_and_rows_keep_their_type_and_rows_their_ids(tmp_path):
    embedding = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = [raw(name, v) for name, v in pairs(Q).items()]
    tensors.append(bfloat16("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", embedding))
    folder = write_adapter(tmp_path / "a", tensors, trainable_token_indices={"embed_tokens": [9, 2, 5]})
    found = open_adapter(canonical(folder)).rows[0]
    from lft.adapters.tensors import read_array

    assert found.tokens == (2, 5, 9)
    assert found.info.dtype == "BF16"
    assert np.array_equal(read_array(found.info), embedding[[1, 2, 0]])


def test_no_path_of_somebodys_disk_is_kept(tmp_path):
    folder = canonical(write_adapter(tmp_path / "a", base_model_name_or_path="/home/me/llama"))
    assert json.loads((folder / CONFIG).read_text())["base_model_name_or_path"] is None


def test_what_belongs_to_the_adapter_goes_with_it_and_nothing_else(tmp_path):
    folder = write_adapter(tmp_path / "a")
    (folder / "README.md").write_text("# mine")
    (folder / "chat_template.jinja").write_text("{{ x }}")
    (folder / "optimizer.pt").write_bytes(b"x")
    made = canonical(folder)
    assert {path.name for path in made.iterdir()} == {
        CONFIG, WEIGHTS, "README.md", "chat_template.jinja", "manifest.json",
    }  # fmt: skip
    assert broken_files(made) == []


def test_an_adapter_that_is_no_sum_or_not_finite_is_not_written(tmp_path):
    with pytest.raises(InputError, match="alora_invocation_tokens"):
        canonical(write_adapter(tmp_path / "a", alora_invocation_tokens=[1]))
    broken = {name: values * np.float32(np.inf) for name, values in pairs(Q).items()}
    with pytest.raises(InputError, match="not finite"):
        canonical(write_adapter(tmp_path / "b", broken))
    huge = {name: np.full_like(values, 1e38) for name, values in pairs(Q).items()}
    with pytest.raises(InputError, match="beyond float32"):
        canonical(write_adapter(tmp_path / "c", huge, lora_alpha=4000))
    assert not list(tmp_path.glob("*-canonical"))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"trainable_token_indices": {"embed_tokens": [7, 5]}},
        {"trainable_token_indices": [385, 5]},
        {"trainable_token_indices": {"embed_tokens": [384, 5], "lm_head": [384, 5]}},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_embeddings_that_were_resized_and_saved_with_the_adapter_go_on_with_it(tmp_path, options, tied):
    """Who adds tokens gets the whole embeddings in the file, and under wrappers some of them twice."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    def base():
        torch.manual_seed(0)
        model = tiny_model("llama", tie_word_embeddings=tied)
        model.resize_token_embeddings(387, mean_resizing=False)
        return model

    tuned = get_peft_model(base(), LoraConfig(**{"r": 4, "target_modules": ["q_proj"], **options})).eval()
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(str(tmp_path / "a"), save_embedding_layers=True)
    folder = canonical(tmp_path / "a")
    again = PeftModel.from_pretrained(base(), str(folder)).eval()
    torch.testing.assert_close(logits(again), logits(tuned), rtol=1e-4, atol=2e-5)
    assert open_adapter(folder).copies == ()


def test_the_way_out_of_a_pickle_is_one(tmp_path):
    """What the refusal tells people to do gives the same adapter."""
    from peft import PeftModel

    tuned = made("plain")
    tuned.save_pretrained(str(tmp_path / "old"), safe_serialization=False, save_embedding_layers=False)
    with pytest.raises(InputError, match="a pickle"):
        open_adapter(tmp_path / "old")
    PeftModel.from_pretrained(tiny_model(), str(tmp_path / "old")).save_pretrained(str(tmp_path / "new"))
    assert both(canonical(tmp_path / "new")) == both(canonical(save(tuned, tmp_path / "direct")))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_the_way_out_of_a_changed_base_is_one(tmp_path, start):
    import torch
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=start)).eval()
    tuned.peft_config["default"].init_lora_weights = True
    tuned.save_pretrained(str(tmp_path / "initial"), save_embedding_layers=False)
    tuned.peft_config["default"].init_lora_weights = start
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(str(tmp_path / "raw"), save_embedding_layers=False)
    with pytest.raises(InputError, match=f"its start \\({start}\\)"):
        open_adapter(tmp_path / "raw")
    wanted = logits(tuned)
    tuned.save_pretrained(str(tmp_path / "plain"), path_initial_model_for_weight_conversion=str(tmp_path / "initial"))
    folder = canonical(tmp_path / "plain")
    torch.testing.assert_close(logits(loaded("plain", folder)), wanted, rtol=1e-4, atol=5e-5)
