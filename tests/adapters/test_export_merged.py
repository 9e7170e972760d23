"""A merged model is base + change, rounded once: PEFT's bits, the adapter's answers, and nothing but a whole folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import Delta, Factors, read_delta
from lft.adapters.export.merged import Merged, export_merged
from lft.adapters.export.quantized import seen_by
from lft.adapters.stack import stacked
from lft.base.binding import Binding
from lft.base.headers import INDEX, read_headers
from lft.base.load import load_model
from lft.base.quantize import Quantization
from lft.base.resolve import resolve_base
from lft.errors import InputError, MachineError, RecipeError
from lft.files import broken_files
from lft.recipe.schema import Base
from tests.tiny import save_tiny

IDS = torch.randint(5, 300, (2, 17), generator=torch.Generator().manual_seed(0))
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()


def saved_base(folder: Path, family: str = "llama", dtype: str = "F32", **kw: Any) -> Path:
    shard = kw.pop("shard", "1GB")
    save_tiny(folder, family, **kw)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = loaded(folder, DTYPES[dtype])
    for file in folder.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def saved_adapter(base: Path, folder: Path, seed: int = 1, rows: int = 0, **kw: Any) -> Path:
    """A LoRA whose B is not zero, saved by PEFT; ``rows`` tokens are added first."""
    model = loaded(base)
    if rows:
        model.resize_token_embeddings(model.get_input_embeddings().weight.shape[0] + rows)
    config = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **kw}
    peft = get_peft_model(model, LoraConfig(**config))
    torch.manual_seed(seed)
    for name, parameter in peft.named_parameters():
        if "lora_" in name or "trainable_tokens_delta" in name:
            parameter.data = torch.randn_like(parameter) * 0.05
    peft.save_pretrained(folder, save_embedding_layers=False)
    return folder


def merge(base: Path, adapter: Path, out: Path, **kw: Any) -> Merged:
    return export_merged(base, read_delta(open_adapter(adapter)), out, **kw)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def with_adapter(base: Path, adapter: Path, rows: int = 0) -> Any:
    model = loaded(base)
    if rows:
        model.resize_token_embeddings(model.get_input_embeddings().weight.shape[0] + rows)
    return PeftModel.from_pretrained(model, adapter).eval()


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_merging_gives_the_bits_of_peft(tmp_path: Path, dtype: str) -> None:
    base = saved_base(tmp_path / "base", dtype=dtype, hidden=64)
    adapter = saved_adapter(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[dtype])
    theirs = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    ours = loaded(tmp_path / "out", DTYPES[dtype]).state_dict()
    assert ours.keys() == theirs.keys()
    assert not [name for name, tensor in theirs.items() if not torch.equal(tensor, ours[name])]


@pytest.mark.parametrize(
    ("family", "also"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("mistral", {}),
        ("qwen2", {}),
        ("gemma", {}),
        ("opt", {}),
        ("gpt2", {}),
        ("gpt_neox", {}),
    ],
)
def test_a_merged_model_answers_as_base_and_adapter(tmp_path: Path, family: str, also: dict[str, Any]) -> None:
    base = saved_base(tmp_path / "base", family, **also)
    adapter = saved_adapter(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "out")
    before, wanted, found = (logits(m) for m in (loaded(base), with_adapter(base, adapter), loaded(tmp_path / "out")))
    assert (before - wanted).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_a_change_of_the_embedding_alone_unties_the_head(tmp_path: Path, tied: bool) -> None:
    base = saved_base(tmp_path / "base", tie_word_embeddings=tied)
    adapter = saved_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    merge(base, adapter, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in {tensor.name for tensor in read_headers(tmp_path / "out")}
    torch.testing.assert_close(
        logits(loaded(tmp_path / "out")), logits(with_adapter(base, adapter)), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("tied", [False, True])
def test_rows_of_added_tokens_are_in_the_merged_model(tmp_path: Path, tied: bool) -> None:
    base = saved_base(tmp_path / "base", tie_word_embeddings=tied)
    count = loaded(base).get_input_embeddings().weight.shape[0]
    indices = {"embed_tokens": [count]} if tied else {"embed_tokens": [count], "lm_head": [count]}
    adapter = saved_adapter(base, tmp_path / "adapter", rows=1, trainable_token_indices=indices)
    merge(base, adapter, tmp_path / "out", rows=count + 2)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vocab_size"] == count + 2
    model = loaded(tmp_path / "out")
    peft = with_adapter(base, adapter, rows=1)
    weights = open_adapter(adapter).rows
    values = {one.module: read_delta(open_adapter(adapter)).rows[f"{one.module}.weight"].values for one in weights}
    assert torch.equal(model.get_input_embeddings().weight[count], values["model.embed_tokens"][0])
    if tied:
        assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)
    torch.testing.assert_close(logits(model)[..., : count + 1], logits(peft), atol=2e-5, rtol=1e-5)
    filler = model.get_input_embeddings().weight[count + 1]
    torch.testing.assert_close(filler, loaded(base).get_input_embeddings().weight.mean(0))


def test_a_stack_is_rounded_once(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", dtype="BF16", hidden=64)
    deltas = [read_delta(open_adapter(saved_adapter(base, tmp_path / f"a{n}", seed=n))) for n in range(4)]
    export_merged(base, stacked(deltas, [0.5, 1.0, 0.25, 2.0]), tmp_path / "out")
    weights = {n: t for n, t in loaded(base, torch.bfloat16).state_dict().items() if n in deltas[0].factors}
    found = loaded(tmp_path / "out", torch.bfloat16).state_dict()
    for name, weight in weights.items():
        change = sum(
            w * (d.factors[name].b.double() @ d.factors[name].a.double())
            for w, d in zip((0.5, 1.0, 0.25, 2.0), deltas, strict=True)
        )
        exact = weight.double() + change
        nearest = (exact - exact.to(torch.bfloat16).double()).abs()
        assert bool(((found[name].double() - exact).abs() <= nearest + 1e-7).all())


def test_shards_are_those_of_the_base_and_the_index_counts_bytes(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", shard="40KB")
    adapter = saved_adapter(base, tmp_path / "adapter")
    made = merge(base, adapter, tmp_path / "out", workers=2)
    index, theirs = (json.loads((folder / INDEX).read_text()) for folder in (tmp_path / "out", base))
    assert len(made.files) > 2
    assert index["weight_map"] == theirs["weight_map"]
    sizes = sum(tensor.end - tensor.start for tensor in read_headers(tmp_path / "out"))
    assert index["metadata"]["total_size"] == sizes
    assert broken_files(tmp_path / "out") == []


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_another_precision_is_told_in_the_config_and_in_what_was_lost(tmp_path: Path, dtype: str) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    exact, rounded = merge(base, adapter, tmp_path / "f32"), merge(base, adapter, tmp_path / "out", dtype=dtype)
    assert {tensor.dtype for tensor in read_headers(tmp_path / "out")} == {dtype}
    assert getattr(torch, json.loads((tmp_path / "out/config.json").read_text())["dtype"]) == DTYPES[dtype]
    assert exact.lost < 1e-5 < rounded.lost
    before, after = loaded(tmp_path / "f32").state_dict(), loaded(tmp_path / "out").state_dict()
    name = rounded.retained[0].tensor
    assert rounded.retained[0].lost == pytest.approx(float((after[name] - before[name]).norm()), rel=1e-3)


def test_the_same_merge_has_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", shard="40KB")
    adapter = saved_adapter(base, tmp_path / "adapter")
    one, two = (merge(base, adapter, tmp_path / f"w{n}", workers=n) for n in (1, 3))
    assert [file.sha256 for file in one.files] == [file.sha256 for file in two.files]


def test_blocks_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    whole = merge(base, adapter, tmp_path / "whole")
    monkeypatch.setattr("lft.adapters.export.stream.BLOCK", 100)
    monkeypatch.setattr("lft.adapters.export.stream.AT_ONCE", 1000)
    assert [f.sha256 for f in merge(base, adapter, tmp_path / "parts").files] == [f.sha256 for f in whole.files]


def test_a_folder_that_stands_there_is_not_overwritten(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    with pytest.raises(RecipeError, match="exists already"):
        merge(base, adapter, tmp_path / "out")


def test_a_change_that_has_no_tensor_in_the_base_is_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    stray = Factors(torch.ones(32, 1), torch.ones(1, 32))
    with pytest.raises(InputError, match="no such tensor"):
        export_merged(base, Delta({"model.layers.9.self_attn.q_proj.weight": stray}), tmp_path / "out")
    with pytest.raises(InputError, match=r"\[32, 32\], the base's tensor \[64, 32\]"):
        export_merged(base, Delta({"model.layers.0.mlp.up_proj.weight": stray}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_not_finite_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    huge = Factors(torch.full((64, 1), 1e5), torch.ones(1, 32))
    with pytest.raises(InputError, match=r"up_proj.weight holds numbers that are not finite in F16"):
        export_merged(base, Delta({"model.layers.0.mlp.up_proj.weight": huge}), tmp_path / "out", dtype="F16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_byte_that_the_disk_changed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    flush = os.fsync

    def and_damage(handle: int) -> None:
        flush(handle)
        file = Path(f"/proc/self/fd/{handle}").resolve()
        if file.suffix == ".safetensors":
            data = bytearray(file.read_bytes())
            data[-5] ^= 1
            file.write_bytes(data)

    monkeypatch.setattr("lft.adapters.export.sink.os.fsync", and_damage)
    with pytest.raises(InputError, match="does not hold what was written"):
        merge(base, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_sum_is_found_by_reading_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    monkeypatch.setattr("lft.adapters.export.stream._Buffers.summed", _one_row_off)
    with pytest.raises(InputError, match="is not base \\+ change"):
        merge(base, adapter, tmp_path / "out")


def _one_row_off(self: Any, base: torch.Tensor, factors: Any, dense: Any, start: int) -> Any:
    from lft.adapters.export.stream import _Block

    change = factors.b[start : start + len(base)].roll(1, 0) @ factors.a if factors else dense or 0
    return _Block((base + change).to(self._rounded.dtype), 1.0, 0.0)


def test_a_full_disk_is_one_message_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    free = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(MachineError, match="the merged model needs"):
        merge(base, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from lft.adapters.export import sink
left = int(sys.argv[4])
write = sink.Sink.write
def dying(self, data):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, data)
sink.Sink.write = dying
from tests.adapters.test_export_merged import merge
merge(*map(Path, sys.argv[1:4]))
"""


@pytest.mark.parametrize("writes", [0, 7, 19])
def test_a_merge_that_is_killed_leaves_no_model(tmp_path: Path, writes: int) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    command = [sys.executable, "-c", _KILLED, str(base), str(adapter), str(tmp_path / "out"), str(writes)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert not (tmp_path / "out").exists()
    merge(base, adapter, tmp_path / "out")
    assert broken_files(tmp_path / "out") == []


_MEASURED = """
import json, sys, threading, time
from pathlib import Path
import torch
from lft.adapters.deltas import Delta, Factors
from lft.adapters.export.merged import export_merged
from lft.adapters.merge import merge
from tests.merging import plan, sources
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
names = [f"model.layers.{n}.weight" for n in range(int(sys.argv[4]))]
rows = int(sys.argv[5])
def change(seed):
    random = torch.Generator().manual_seed(seed)
    return Delta({n: Factors(torch.randn(rows, 8, generator=random), torch.randn(8, 2048)) for n in names})
delta, dense = change(1), {}
if sys.argv[3] == "ties":
    made = merge(plan("ties", {"a": 0.5, "b": 0.5}), sources(a=delta, b=change(2)))
    delta, dense = made.delta, made.dense
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], anonymous())
threading.Thread(target=watch).start()
export_merged(Path(sys.argv[1]), delta, Path(sys.argv[2]), dense=dense, workers=1 if dense else 2)
done.set()
print(json.dumps([before, peak[0]]))
"""


@pytest.mark.parametrize(
    ("method", "count", "rows", "most"),
    [("cat", 24, 4096, 32), pytest.param("ties", 12, 2048, 144, marks=pytest.mark.slow)],
)
def test_memory_does_not_grow_with_the_model(tmp_path: Path, method: str, count: int, rows: int, most: int) -> None:
    """24 tensors of 16 MB: less than two of them beside what it was given. Of full matrices (201 MB) the tiles in work,
    which are as many for 6 tensors as for 24."""
    from safetensors.torch import save_file

    base = tmp_path / "base"
    base.mkdir()
    shards = {f"m{number}.safetensors": range(number * count // 3, (number + 1) * count // 3) for number in range(3)}
    for file, numbers in shards.items():
        tensors = {f"model.layers.{n}.weight": torch.zeros(rows, 2048, dtype=torch.bfloat16) for n in numbers}
        save_file(tensors, base / file, metadata={"format": "pt"})
    weight_map = {f"model.layers.{n}.weight": file for file, numbers in shards.items() for n in numbers}
    (base / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    command = [sys.executable, "-c", _MEASURED, str(base), str(tmp_path / "out"), method, str(count), str(rows)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    before, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak - before < most * 2**20


@pytest.mark.parametrize(("kind", "double"), [("nf4", True), ("nf4", False), ("fp4", True), ("int8", True)])
def test_the_base_is_quantized_as_training_saw_it(tmp_path: Path, kind: Any, double: bool) -> None:
    """Layer by layer, and only those: what bitsandbytes' layers of a loaded model dequantize to."""
    import bitsandbytes as bits

    base = saved_base(tmp_path / "base", hidden=64)
    ref = resolve_base(Base(model=str(base)), tmp_path / "cache", lambda _: None)
    model = load_model(ref, torch.float32, "cpu", quantization=Quantization(kind, double, "float32"))
    layers = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, bits.nn.Linear4bit | bits.nn.Linear8bitLt)
    }
    binding = Binding("b", None, "", "", 0, "", {}, "", quantize=kind, double_quant=double)
    seen = seen_by(binding, base)
    assert seen is not None
    assert seen.names == layers.keys()
    weights = loaded(base).state_dict()
    for name, layer in layers.items():
        if kind == "int8":
            wanted = bits.functional.int8_vectorwise_dequant(layer.weight.CB, layer.weight.SCB)
        else:
            wanted = bits.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        assert not torch.equal(wanted.float(), weights[name])
        assert torch.equal(seen.matrix(weights[name]), wanted.float().view(weights[name].shape))


def test_an_adapter_merged_into_the_base_of_its_training_answers_as_in_training(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", hidden=64)
    adapter = saved_adapter(base, tmp_path / "adapter")
    binding = Binding("b", None, "", "", 0, "", {}, "", quantize="nf4")
    made = merge(base, adapter, tmp_path / "out", seen=seen_by(binding, base))
    ref = resolve_base(Base(model=str(base)), tmp_path / "cache", lambda _: None)
    trained = load_model(ref, torch.float32, "cpu", quantization=Quantization("nf4", True, "float32"))
    wanted = logits(PeftModel.from_pretrained(trained, adapter).eval())
    torch.testing.assert_close(logits(loaded(tmp_path / "out")), wanted, atol=1e-4, rtol=1e-4)
    assert (logits(with_adapter(base, adapter)) - wanted).abs().max() > 1e-3
    other = merge(base, adapter, tmp_path / "other", seen=seen_by(binding, base, "original"))
    assert [f.quantized for f in other.retained] == [f.quantized for f in made.retained]
    assert all(found.quantized > 0 for found in made.retained)
    torch.testing.assert_close(
        logits(loaded(tmp_path / "other")), logits(with_adapter(base, adapter)), atol=2e-5, rtol=1e-5
    )


def store_head_too(base: Path, by: float = 0.0) -> None:
    """As checkpoints that store a tied head a second time."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    head = tensors["model.embed_tokens.weight"] + by
    save_file({**tensors, "lm_head.weight": head}, base / "model.safetensors", {"format": "pt"})


# What the adapter trains of the embedding or of the head, whether the two are one afterwards, and whether PEFT's own
# merging gives what its adapter computes.
TIED: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "rows of the embedding": ({"trainable_token_indices": {"embed_tokens": [7, 9]}}, True, True),
    "rows of the head": ({"trainable_token_indices": {"lm_head": [7, 9]}}, False, False),
    "other rows of both": ({"trainable_token_indices": {"embed_tokens": [7], "lm_head": [9]}}, False, False),
    "a LoRA of the embedding": ({"target_modules": ["embed_tokens", "q_proj"]}, False, False),
    "a LoRA of the head": ({"target_modules": ["lm_head", "q_proj"]}, False, False),
}


@pytest.mark.parametrize("twice", [False, True], ids=["stored once", "stored twice"])
@pytest.mark.parametrize("name", TIED)
def test_what_is_trained_of_a_tied_embedding_answers_as_in_training(tmp_path: Path, name: str, twice: bool) -> None:
    also, tied, peft_agrees = TIED[name]
    base = saved_base(tmp_path / "base", tie_word_embeddings=True)
    adapter = saved_adapter(base, tmp_path / "adapter", **also)
    if twice:
        store_head_too(base)
    made = merge(base, adapter, tmp_path / "out")
    model, peft = loaded(tmp_path / "out"), with_adapter(base, adapter)
    ids = torch.tensor([[5, 7, 9, 40, 7, 9]])
    with torch.no_grad():
        wanted, found = peft(ids).logits, model(ids).logits
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
        theirs = peft.merge_and_unload()(ids).logits
    assert torch.allclose(theirs, wanted, atol=1e-4) is peft_agrees
    weights = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    assert torch.equal(*weights) is tied
    assert model.config.tie_word_embeddings is tied
    assert made.untied is not tied


@pytest.mark.parametrize("twice", [False, True], ids=["stored once", "stored twice"])
def test_a_tied_embedding_that_grows_stays_tied(tmp_path: Path, twice: bool) -> None:
    base = saved_base(tmp_path / "base", tie_word_embeddings=True)
    count = loaded(base).get_input_embeddings().weight.shape[0]
    adapter = saved_adapter(base, tmp_path / "a", rows=1, trainable_token_indices={"embed_tokens": [count]})
    if twice:
        store_head_too(base)
    merge(base, adapter, tmp_path / "out", rows=count + 1)
    model = loaded(tmp_path / "out")
    assert model.config.tie_word_embeddings is True
    torch.testing.assert_close(logits(model), logits(with_adapter(base, adapter, rows=1)), atol=2e-5, rtol=1e-5)


def test_copies_of_an_embedding_that_differ_are_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", tie_word_embeddings=True)
    adapter = saved_adapter(base, tmp_path / "adapter", trainable_token_indices={"embed_tokens": [7]})
    store_head_too(base, by=1.0)
    with pytest.raises(InputError, match=r"stores more than once .* and not alike"):
        merge(base, adapter, tmp_path / "out")


def test_a_narrower_format_is_refused_where_an_untouched_weight_does_not_fit(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    file = base / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e5
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"up_proj.weight holds numbers that are not finite in F16"):
        merge(base, adapter, tmp_path / "out", dtype="F16")


MINE = "{% for m in messages %}mine:{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("form", ["in the config", "by name in the config", "a file", "a file alone"])
def test_the_adapters_chat_template_wins_over_the_bases(tmp_path: Path, form: str) -> None:
    base = saved_base(tmp_path / "base")
    assert (base / "chat_template.jinja").is_file()
    adapter = saved_adapter(base, tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    (adapter / "chat_template.jinja").unlink()
    config = json.loads((adapter / "tokenizer_config.json").read_text())
    if form == "in the config":
        config["chat_template"] = MINE
    elif form == "by name in the config":
        config["chat_template"] = [{"name": "default", "template": MINE}, {"name": "tool_use", "template": "x"}]
    else:
        (adapter / "chat_template.jinja").write_text(MINE)
    (adapter / "tokenizer_config.json").write_text(json.dumps(config))
    if form == "a file alone":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (adapter / name).unlink()
    merge(base, adapter, tmp_path / "out", tokenizer=adapter)
    asked = [{"role": "user", "content": "hello"}]
    found = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(asked, tokenize=False)
    assert found == "mine:hello"


def test_the_bases_chat_template_stays_where_the_adapter_has_none(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(base, tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    (adapter / "chat_template.jinja").unlink()
    merge(base, adapter, tmp_path / "out", tokenizer=adapter)
    assert (tmp_path / "out/chat_template.jinja").read_text() == (base / "chat_template.jinja").read_text()
