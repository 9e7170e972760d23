"""A quantized base is what its rounded weights say, stays so while it is used, and carries a float32 adapter."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from lft.base.device import Placement
from lft.base.fingerprint import fingerprint
from lft.base.load import load_model
from lft.base.quantize import Quantization, kept_precision, quantization, settle
from lft.base.resolve import resolve_base
from lft.base.tokens import add_tokens, token_training
from lft.errors import InputError, MachineError, RecipeError
from lft.recipe.schema import Base, Method
from lft.train.attention import isolate, packed_inputs
from lft.train.loss import attach_loss
from lft.train.methods import Tuned, tune
from lft.train.weights import save_weights
from tests.tiny import save_tiny, tiny_tokenizer

pytest.importorskip("bitsandbytes")
CPU = Placement("cpu", torch.float32, "")
NF4 = Quantization("nf4", True, "float32")
KINDS = [NF4, Quantization("fp4", False, "float32"), Quantization("int8", True, "auto")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    save_tiny(folder / "llama", "llama", hidden=64)
    save_tiny(folder / "tied", "llama", hidden=64, tie_word_embeddings=True)
    save_tiny(folder / "opt", "opt", extra_rows=8)
    save_tiny(folder / "gpt2", "gpt2")
    return folder


def loaded(bases: Path, name: str, kind: Quantization | None) -> Any:
    ref = resolve_base(Base(model=str(bases / name)), bases / "cache", lambda _: None)
    return load_model(ref, torch.float32, "cpu", quantization=kind)


def logits(model: Any, length: int = 17) -> torch.Tensor:
    ids = torch.randint(5, 300, (1, length), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model.eval()(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("name", ["llama", "tied", "opt", "gpt2"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_forward_is_that_of_the_dequantized_base(bases: Path, name: str, kind: Quantization) -> None:
    model = loaded(bases, name, kind)
    quantized = logits(model)
    plain = logits(copy.deepcopy(model).dequantize(torch.float32))
    # Measured: 0 for nf4 and fp4; int8 rounds the inputs of each layer too, 0.003 to 0.02.
    bound = 4e-2 if kind.kind == "int8" else 1e-5
    assert float((quantized - plain).abs().max() / plain.abs().max()) < bound
    assert not torch.allclose(quantized, logits(loaded(bases, name, None)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_only_linear_layers_are_quantized_and_the_head_is_not(bases: Path, kind: Quantization) -> None:
    model = loaded(bases, "llama", kind)
    small = {name for name, p in model.named_parameters() if p.dtype in (torch.uint8, torch.int8)}
    assert len(small) == 14
    assert all("proj" in name for name in small)
    assert model.get_output_embeddings().weight.dtype == torch.float32


def test_the_fingerprint_is_that_of_the_files(bases: Path) -> None:
    before = fingerprint(bases / "llama", bases / "cache")
    logits(loaded(bases, "llama", NF4))
    assert fingerprint(bases / "llama", bases / "cache") == before


def test_an_evaluation_does_not_change_the_weights_on_any_cpu(bases: Path) -> None:
    model = loaded(bases, "llama", NF4)
    layers = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    for layer in layers:  # as bitsandbytes sets it on a CPU with AVX512-BF16
        layer.support_avx512bf16_for_cpu = True
    settle(model)
    bytes_before = [layer.weight.data.clone() for layer in layers]
    logits(model)
    assert all(torch.equal(layer.weight.data, was) for layer, was in zip(layers, bytes_before, strict=True))


def test_a_model_without_linear_layers_to_quantize_is_an_error(bases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BitsAndBytesConfig

    class Nothing(Quantization):
        def config(self) -> BitsAndBytesConfig:
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["model", "lm_head"])

    with pytest.raises(InputError, match="no layer of LlamaForCausalLM could be quantized to int8"):
        loaded(bases, "llama", Nothing("int8", True, "auto"))


def test_the_recipe_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quantization(Base(model="x"), CPU) is None
    assert quantization(Base(model="x", quantize="nf4"), CPU) == NF4
    written = Base(model="x", quantize="fp4", double_quant=False, compute_dtype="bfloat16")
    assert str(quantization(written, CPU)) == "fp4, computed in bfloat16"
    gpu = Placement("cuda", torch.bfloat16, "")
    half = Base(model="x", quantize="nf4", compute_dtype="float16")
    assert quantization(half, gpu) == Quantization("nf4", True, "float16")
    with pytest.raises(RecipeError, match="32 times slower"):
        quantization(half, CPU)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(MachineError, match=r"base\.quantize nf4 needs bitsandbytes\n  fix: pip install"):
        quantization(Base(model="x", quantize="nf4"), CPU)


def with_adapter(bases: Path, name: str, kind: Quantization, method: Method) -> tuple[Tuned, Any, int]:
    model, tokenizer = loaded(bases, name, kind), tiny_tokenizer()
    added = add_tokens(tokenizer, model, ["[EOI]"])
    isolate(model, len(tokenizer))
    torch.manual_seed(0)
    tuned = tune(model, method, token_training(model, added), steps=9, rows=[list(range(5, 40))] * 4)
    attach_loss(tuned.model.get_base_model())
    return tuned, tokenizer, added.ids[0]


@pytest.mark.parametrize("name", ["llama", "tied", "opt"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_float32_adapter_with_a_token_row_trains_on_it(
    bases: Path, name: str, kind: Quantization, tmp_path: Path
) -> None:
    tuned, _, eoi = with_adapter(bases, name, kind, Method(r=4, alpha=8.0))
    rows = [[5, 6, 7, eoi, 9, 10, 11], [30, 31, eoi, 33, 34]]
    inputs = packed_inputs(rows, "cpu")
    inputs["labels"] = inputs["input_ids"].clone()
    trained = {n: p for n, p in tuned.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = tuned.model(**inputs, supervised=True).loss
        losses.append(loss.item())
        loss.backward()
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in trained.values())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    save_weights(tuned.model, tmp_path, tuned.initial, checkpoint=False)
    again = loaded(bases, name, kind)
    add_tokens(tiny_tokenizer(), again, ["[EOI]"])
    from lft.base.attach import put_on

    assert torch.equal(logits(put_on(again, tmp_path)), logits(tuned.model))


@pytest.mark.parametrize("kind", ["dora", "rslora", "eva", "adalora", "ia3", "randlora", "hira", "road", "ln_tuning"])
def test_other_methods_that_peft_has_for_quantized_layers_begin_and_learn(bases: Path, kind: str) -> None:
    options: dict[str, Any] = {
        "adalora": {"target_r": 2},
        "road": {"group_size": 8},
        "eva": {"eva_config": {"rho": 1.0}},
    }
    tuned, _, _ = with_adapter(bases, "llama", NF4, Method(kind=kind, r=4, alpha=8.0, options=options.get(kind, {})))
    inputs = packed_inputs([[5, 6, 7, 8, 9, 10, 11]], "cpu")
    inputs["labels"] = inputs["input_ids"].clone()
    trained = [p for p in tuned.model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=1e-2), []
    for _ in range(4):
        loss = tuned.model(**inputs, supervised=True).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_a_method_without_quantized_layers_is_refused(bases: Path) -> None:
    with pytest.raises(RecipeError, match="oft cannot be put on a quantized base"):
        tune(loaded(bases, "llama", NF4), Method(kind="oft"), {})


def test_loftq_takes_back_part_of_what_quantization_lost(bases: Path) -> None:
    whole = logits(loaded(bases, "llama", None))
    quantized = logits(loaded(bases, "llama", NF4))
    errors = []
    for alpha in (8.0, 32.0):  # the scale s must not matter; PEFT's own leaves it out
        tuned = tune(loaded(bases, "llama", NF4), Method(kind="loftq", r=16, alpha=alpha), {})
        errors.append(float((logits(tuned.model) - whole).norm()))
    assert errors[0] < 0.8 * float((quantized - whole).norm())
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_loftq_needs_four_bits(bases: Path) -> None:
    with pytest.raises(RecipeError, match="loftq needs a base in 4 bit"):
        tune(loaded(bases, "llama", None), Method(kind="loftq"), {})


def test_trl_does_not_round_the_adapter(bases: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    def built(protected: bool) -> set[torch.dtype]:
        tuned, tokenizer, _ = with_adapter(bases, "llama", NF4, Method(r=4, alpha=8.0))
        before = {name: p.detach().clone() for name, p in tuned.model.named_parameters() if p.requires_grad}
        arguments = SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=None,
        )  # fmt: skip
        keywords = {"args": arguments, "processing_class": tokenizer, "data_collator": list,
                    "train_dataset": Dataset.from_dict({"row": [1]})}  # fmt: skip
        if not protected:
            SFTTrainer(model=tuned.model, **keywords)
        else:
            with kept_precision(tuned.model):
                SFTTrainer(model=tuned.model, **keywords)
            assert all(torch.equal(p, before[n]) for n, p in tuned.model.named_parameters() if n in before)
        return {p.dtype for p in tuned.model.parameters() if p.requires_grad}

    assert torch.bfloat16 in built(protected=False)  # what TRL does by itself
    assert built(protected=True) == {torch.float32}
