"""From folders to a merged folder: read by scale and layout, bound to the common base, loaded by plain PEFT."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from lft.adapters.adapter import open_adapter
from lft.adapters.base_tensors import base_tensors
from lft.adapters.certificate import CERTIFICATE_FILE, Certificate
from lft.adapters.deltas import read_delta
from lft.adapters.expression import MergePlan
from lft.adapters.merge import Merged, merge
from lft.adapters.merge_folder import save_merged
from lft.adapters.peft_folder import Named
from lft.adapters.plan_file import plan_of_expression
from lft.adapters.sources import Source, source_of
from lft.base.binding import Below, Binding
from lft.errors import InputError
from lft.files import broken_files
from tests.merging import delta, dense, distance, plan, source, sources
from tests.tiny import save_tiny, tiny_model

INPUT = torch.tensor([[5, 9, 33, 70, 8, 2]])


def make(folder: Path, config: LoraConfig, seed: int, family: str = "llama", **model: Any) -> Path:
    """A PEFT folder whose A and B are random."""
    tuned = get_peft_model(tiny_model(family, 120, **model), copy.deepcopy(config))
    torch.manual_seed(seed)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            parameter.data = torch.randn_like(parameter) * 0.1
        elif "magnitude" in name:
            parameter.data = parameter.data * (1 + 0.1 * torch.randn_like(parameter))
        elif "modules_to_save.default" in name or "trainable_tokens_delta" in name:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return folder


def logits(folder: Path, family: str = "llama", **model: Any) -> torch.Tensor:
    tuned = PeftModel.from_pretrained(tiny_model(family, 120, **model), str(folder)).eval()
    with torch.no_grad():
        return tuned(INPUT).logits


def merged_logits(merged: Merged, family: str = "llama", **model: Any) -> torch.Tensor:
    """Of the base with the deltas added to its weights."""
    base = tiny_model(family, 120, **model)
    state = base.state_dict()
    for name in merged.names():
        state[name] += merged.tensor(name)
    for name, tensor in merged.delta.whole.items():
        state[name] = tensor
    for name, rows in merged.delta.rows.items():
        state[name][list(rows.tokens)] = rows.values
    base.load_state_dict(state)
    with torch.no_grad():
        return base(INPUT).logits


def run(expression: str, folders: dict[str, Path], *settings: str, base: Any = None) -> tuple[Merged, list[Named]]:
    found = {ref: source_of(ref, open_adapter(folder), base) for ref, folder in folders.items()}
    named = [Named(ref, open_adapter(folder)) for ref, folder in folders.items()]
    return merge(plan_of_expression(expression, settings), found, base), named


CONFIGS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "embed_tokens"]),
    "rslora": LoraConfig(r=9, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "down_proj"]),
    "patterns": LoraConfig(
        r=2,
        lora_alpha=3,
        rank_pattern={"o_proj": 5},
        alpha_pattern={"v_proj": 1.5},
        target_modules=["o_proj", "v_proj"],
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_one_adapter_at_weight_one_answers_as_before(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "a", CONFIGS[name], 1)
    merged, named = run("a", {"a": folder})
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out), logits(folder), atol=1e-5)
    assert torch.allclose(merged_logits(merged), logits(folder), atol=1e-4)


def test_a_sum_of_all_kinds_is_loaded_by_plain_peft(tmp_path: Path) -> None:
    folders = {name: make(tmp_path / name, config, n) for n, (name, config) in enumerate(CONFIGS.items())}
    merged, named = run("0.7*plain - 0.4*rslora + 2*patterns", folders)
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out), merged_logits(merged), atol=1e-4)
    assert not torch.allclose(logits(out), logits(folders["plain"]), atol=1e-2)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == max(f.rank for f in merged.delta.factors.values())
    assert not config["use_rslora"]
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
    assert broken_files(out) == []
    again = read_delta(open_adapter(out))
    assert all(distance(dense(again, n), merged.tensor(n)) < 1e-6 for n in merged.names())


def test_conv1d_is_merged_in_the_orientation_of_the_base(tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    folders = {ref: make(tmp_path / ref, config, n, "gpt2") for n, ref in enumerate("ab")}
    merged, named = run("0.5*a + 0.5*b", folders)
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out, "gpt2"), merged_logits(merged, "gpt2"), atol=1e-4)
    assert merged.delta.shape("transformer.h.0.attn.c_attn.weight") == (32, 96)


@pytest.mark.parametrize("method", ["ties", "dare", "knots", "core-space", "tsv-m", "model-stock", "magnitude"])
def test_each_kind_of_method_gives_a_folder_that_peft_loads(tmp_path: Path, method: str) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}
    merged, named = run("0.5*a + 0.5*b", folders, f"method={method}", "rank=6")
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out), merged_logits(merged), atol=1e-4)


def test_full_matrices_are_not_saved_as_an_adapter(tmp_path: Path) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}
    merged, named = run("0.5*a + 0.5*b", folders, "method=ties")
    with pytest.raises(InputError, match="full matrices, which are no adapter"):
        save_merged(merged, named, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bias_of_b_is_scaled_and_kept(tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=8, lora_bias=True, target_modules=["c_attn"], fan_in_fan_out=True)
    folders = {ref: make(tmp_path / ref, config, n, "gpt2") for n, ref in enumerate("ab")}
    alone, own = run("a", {"a": folders["a"]})
    again = save_merged(alone, own, tmp_path / "again")
    assert torch.allclose(logits(again, "gpt2"), logits(folders["a"], "gpt2"), atol=1e-4)
    assert torch.allclose(merged_logits(alone, "gpt2"), logits(folders["a"], "gpt2"), atol=1e-4)
    merged, named = run("a - 0.5*b", folders)
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out, "gpt2"), merged_logits(merged, "gpt2"), atol=1e-4)


def test_whole_modules_and_token_rows_travel(tmp_path: Path) -> None:
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head"],
        trainable_token_indices={"embed_tokens": [5, 70]},
    )  # fmt: skip
    folders = {ref: make(tmp_path / ref, config, n) for n, ref in enumerate("ab")}
    merged, named = run("0.7*a + 0.3*b", folders)
    out = save_merged(merged, named, tmp_path / "out")
    assert torch.allclose(logits(out), merged_logits(merged), atol=1e-4)
    alone, own = run("a", {"a": folders["a"]})
    again = save_merged(alone, own, tmp_path / "again")
    assert torch.allclose(logits(again), logits(folders["a"]), atol=1e-4)


def test_a_dora_is_refused_by_name_and_is_a_full_matrix_with_its_base(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", vocab=120)
    config = LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "up_proj"])
    model = get_peft_model(_load(tmp_path / "base"), config)
    torch.manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    model.save_pretrained(tmp_path / "dora")
    with pytest.raises(InputError, match=r"it is a DoRA \(4 modules, first model.layers.0.mlp.up_proj\)"):
        source_of("a", open_adapter(tmp_path / "dora"))
    merged, named = run("a", {"a": tmp_path / "dora"}, base=base_tensors(tmp_path / "base"))
    plain = _load(tmp_path / "base")
    merged_model = model.merge_and_unload()
    for name in merged.names():
        wanted = merged_model.state_dict()[name] - plain.state_dict()[name]
        assert distance(merged.tensor(name), wanted) < 1e-4
    with pytest.raises(InputError, match="no adapter"):
        save_merged(merged, named, tmp_path / "out")
    cut, named = run("a", {"a": tmp_path / "dora"}, "rank=8", base=base_tensors(tmp_path / "base"))
    save_merged(cut, named, tmp_path / "out")
    assert "rank-8{err=" in cut.certificate.exactness


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_an_adapter_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make(tmp_path / "a", CONFIGS["plain"], 1)
    state = load_file(folder / "adapter_model.safetensors")
    next(iter(state.values()))[0, 0] = float("nan")
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not finite"):
        source_of("a", open_adapter(folder))


def test_a_weight_that_leaves_float32_is_refused() -> None:
    with pytest.raises(InputError, match="beyond float32"):
        merge(plan("cat", {"a": 1e39}), sources(a=delta(1)))


HEX = "ab" * 32
BOUND = Binding("org/base", None, HEX, HEX, 120, "r", {"lang": ("de",)}, "0.1.0", name="de")


def bound(ref: str, binding: Binding | None) -> Source:
    return replace(source(ref, delta(len(ref))), binding=binding)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(BOUND, weights="cd" * 32), "a and bb were trained on different bases: weights differ"),
        (replace(BOUND, tokenizer="cd" * 32), "a and bb were trained on different bases: tokenizer differ"),
        (replace(BOUND, below=(Below("/x", HEX),)), "a and bb were trained on top of different adapters"),
        (None, "a is bound to org/base and bb to no base"),
    ],
)
def test_adapters_of_different_bases_are_refused_by_name(other: Binding | None, said: str) -> None:
    with pytest.raises(InputError) as raised:
        merge(plan("cat", {"a": 1.0, "bb": 1.0}), {"a": bound("a", BOUND), "bb": bound("bb", other)})
    assert said in str(raised.value)


def test_an_adapter_and_the_one_below_it_merge_into_one_on_the_base(tmp_path: Path) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}
    BOUND.save(folders["a"])
    lower = open_adapter(folders["a"]).digest
    replace(BOUND, name="a first", below=(Below(str(folders["a"]), lower),)).save(folders["b"])
    merged, named = run("a + b", folders)
    assert Binding.load(save_merged(merged, named, tmp_path / "both")).below == ()
    alone, named = run("2*b", {"b": folders["b"]})
    assert [one.weights for one in Binding.load(save_merged(alone, named, tmp_path / "alone")).below] == [lower]


def test_the_result_is_bound_to_the_common_base(tmp_path: Path) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}
    BOUND.save(folders["a"])
    replace(BOUND, tags={"lang": ("en",), "domain": ("x",)}, rows=121).save(folders["b"])
    merged, named = run("0.5*a + 0.5*b", folders)
    out = save_merged(merged, named, tmp_path / "out", "me/both")
    found = Binding.load(out)
    assert (found.weights, found.rows, found.name, found.recipe, found.quantize) == (
        HEX,
        121,
        "me/both",
        "merge:cat",
        None,
    )
    assert found.tags == {"lang": ("de", "en"), "domain": ("x",)} or found.tags == {
        "lang": ["de", "en"],
        "domain": ["x"],
    }
    assert merged.certificate.base == (HEX, HEX)


def test_files_that_differ_between_parents_need_a_word(tmp_path: Path) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}
    (folders["a"] / "prompt_format.json").write_text("{}")
    (folders["b"] / "prompt_format.json").write_text('{"x": 1}')
    merged, named = run("0.5*a + 0.5*b", folders)
    with pytest.raises(InputError, match=r"prompt_format\.json differs between a and b"):
        save_merged(merged, named, tmp_path / "out")
    out = save_merged(merged, named, tmp_path / "out", files_of="b")
    assert (out / "prompt_format.json").read_text() == '{"x": 1}'
    with pytest.raises(InputError, match="c is not among the parents"):
        save_merged(merged, named, tmp_path / "out", files_of="c")


def test_the_order_of_inputs_changes_no_byte(tmp_path: Path) -> None:
    folders = {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("abc")}
    written = []
    for n, order in enumerate(("abc", "cab", "bca")):
        weights = {"a": "0.5", "b": "0.3", "c": "0.9"}
        merged, named = run(
            " + ".join(f"{weights[r]}*{r}" for r in order),
            {r: folders[r] for r in order},
            "method=dare",
            "rank=5",
            "seed=3",
        )
        out = save_merged(merged, named, tmp_path / str(n))
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1] == written[2]


def test_a_certificate_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = merge(plan("dare", {"a": 0.5, "b": 0.25}, rank=3), sources(a=delta(1), b=delta(2))).certificate
    found.save(tmp_path)
    assert Certificate.load(tmp_path) == found
    text = (tmp_path / CERTIFICATE_FILE).read_text()
    content = json.loads(text, parse_float=lambda number: pytest.fail(f"a float: {number}"))
    assert list(content) == sorted(content)
    assert content["parents"] == sorted(content["parents"], key=lambda p: p["digest"])
    assert {p["weight"] for p in content["parents"]} == {"0.5", "0.25"}
    assert (content["seed"], content["method"], content["result"] is None) == (0, "dare", False)
    assert dict(map(tuple, content["parameters"])) == {"density": "0.5", "lambda": "1.0", "seed": "0"}


NF4 = replace(BOUND, quantize="nf4", compute_dtype="bfloat16", name="nf4")


def saved(folders: dict[str, Path], *bindings: Binding) -> tuple[Merged, list[Named]]:
    for folder, binding in zip(folders.values(), bindings, strict=True):
        binding.save(folder)
    return run(" + ".join(f"0.5*{ref}" for ref in folders), folders)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    return {ref: make(tmp_path / ref, CONFIGS["plain"], n) for n, ref in enumerate("ab")}


def test_a_merge_of_qloras_says_what_it_was_trained_over(tmp_path: Path, two: dict[str, Path]) -> None:
    merged, named = saved(two, NF4, replace(NF4, compute_dtype="float32"))
    found = Binding.load(save_merged(merged, named, tmp_path / "out"))
    assert (found.over, found.compute_dtype) == ("nf4", "auto")
    assert {parent.over for parent in merged.certificate.parents} == {"nf4"}


@pytest.mark.parametrize("other", [BOUND, replace(NF4, double_quant=False), replace(NF4, quantize="int8")])
def test_bases_of_different_rounding_need_a_word(tmp_path: Path, two: dict[str, Path], other: Binding) -> None:
    merged, named = saved(two, NF4, other)
    with pytest.raises(InputError, match=r"(?s)a was trained on the base rounded to nf4 and b on .* --base-of a"):
        save_merged(merged, named, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for ref, binding in (("a", NF4), ("b", other)):
        found = Binding.load(save_merged(merged, named, tmp_path / f"on {ref}", base_of=ref))
        assert found.over == binding.over
    assert {parent.over for parent in Certificate.load(tmp_path / "on b").parents} == {"nf4", other.over}
    with pytest.raises(InputError, match="c is not among the parents"):
        save_merged(merged, named, tmp_path / "out", base_of="c")


def test_a_certificate_of_the_first_format_is_read(tmp_path: Path) -> None:
    merged = merge(plan("cat", {"a": 0.5}), sources(a=delta(1))).certificate
    merged.save(tmp_path)
    file = tmp_path / CERTIFICATE_FILE
    content = json.loads(file.read_text())
    parents = [{key: value for key, value in one.items() if key != "over"} for one in content["parents"]]
    file.write_text(json.dumps({**content, "format": 1, "parents": parents}))
    assert Certificate.load(tmp_path) == merged


@pytest.mark.parametrize("change", [{"format": 3}, {"more": 1}, {"parents": [{"digest": "x"}]}])
def test_a_certificate_of_another_form_is_refused(tmp_path: Path, change: dict) -> None:
    merge(plan("cat", {"a": 0.5}), sources(a=delta(1))).certificate.save(tmp_path)
    file = tmp_path / CERTIFICATE_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=r"merge.json has"):
        Certificate.load(tmp_path)


def test_a_plan_with_an_unknown_adapter_names_the_nearest() -> None:
    from lft.errors import RecipeError

    unknown: MergePlan = plan_of_expression("recipe")
    with pytest.raises(RecipeError, match="unknown adapter 'recipe'"):
        merge(unknown, sources(recipes=delta(1)))
