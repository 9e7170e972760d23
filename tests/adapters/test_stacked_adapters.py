"""Adapters on top of adapters: a sum that nothing rounds, a lower part that never moves, a record that is checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

import lft
from lft.adapters.load import load_adapted
from lft.base.attach import Lower, adapter_folder, lower_adapters, nowhere
from lft.base.binding import Below, Binding
from lft.base.fingerprint import Fingerprint, fingerprint
from lft.base.load import load_model, load_tokenizer
from lft.base.places import or_remembered, remember
from lft.base.quantize import Quantization
from lft.base.resolve import resolve_base
from lft.base.tokens import add_tokens, token_training
from lft.errors import InputError
from lft.files import seal
from lft.recipe.schema import Base, Method
from lft.train.attention import isolate, packed_inputs
from lft.train.loss import attach_loss
from lft.train.methods import Tuned, tune
from lft.train.weights import save_weights
from tests.tiny import save_tiny

ROWS = [torch.randint(5, 380, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (9, 14)]


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a lower adapter ``low`` and one on top of it, ``top``."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny(folder / "base", "llama", hidden=64, tie_word_embeddings=request.param)
    adapter(folder, "low", seed=1)
    adapter(folder, "top", seed=2, below=("low",))
    return folder


def identity(folder: Path) -> Fingerprint:
    return fingerprint(folder / "base", folder / "cache")


def below_of(folder: Path, written: Sequence[str | Path]) -> tuple[Lower, ...]:
    """As a run finds them, and keeps where they lie."""
    cache = folder / "cache"
    found = lower_adapters(written, identity(folder), or_remembered(nowhere, cache))
    for one in found:
        remember(cache, one.digest, one.folder)
    return found


def fresh(folder: Path, tokens: tuple[str, ...] = ("[EOI]",), kind: Quantization | None = None) -> tuple[Any, Any, Any]:
    ref = resolve_base(Base(model=str(folder / "base")), folder / "cache", lambda _: None)
    model, tokenizer = load_model(ref, torch.float32, "cpu", quantization=kind), load_tokenizer(ref)
    return model, tokenizer, add_tokens(tokenizer, model, tokens)


def trained(folder: Path, lowers: tuple[Lower, ...], seed: int, method: Method, **also: Any) -> tuple[Tuned, Any]:
    model, tokenizer, added = fresh(folder, **also)
    isolate(model, len(tokenizer))
    torch.manual_seed(seed)
    rows = token_training(model, added) if added.ids else {}
    tuned = tune(model, method, rows, below=lowers, tokenizer=tokenizer)
    attach_loss(tuned.model.get_base_model())
    optimizer = torch.optim.AdamW([p for p in tuned.model.parameters() if p.requires_grad], lr=2e-2)
    inputs = packed_inputs([[*row, *added.ids[:1], 7] for row in ROWS], "cpu")
    tuned.model.train()
    for _ in range(3):
        tuned.model(**inputs, labels=inputs["input_ids"], supervised=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return tuned, tokenizer


def adapter(
    folder: Path, name: str, seed: int, below: tuple[str, ...] = (), method: Method | None = None, **also: Any
) -> Tuned:
    lowers = below_of(folder, [folder / path for path in below])
    tuned, tokenizer = trained(folder, lowers, seed, method or Method(r=4, alpha=8.0, dropout=0.3), **also)
    draft = folder / name
    draft.mkdir()
    save_weights(tuned.model, draft, tuned.initial, checkpoint=False)
    tokenizer.save_pretrained(draft)
    kind = also.get("kind")
    Binding(
        base=str(folder / "base"), revision=None, weights=identity(folder).weights,
        tokenizer=identity(folder).tokenizer, rows=len(tokenizer), recipe=name, tags={}, lft=lft.__version__,
        below=tuple(lower.record() for lower in lowers), quantize=kind.kind if kind else None,
    ).save(draft)  # fmt: skip
    seal(draft)
    return tuned


def logits(model: Any, eoi: int) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[*ROWS[0], eoi, 7]]), use_cache=False).logits


def test_a_stack_computes_what_merging_one_after_the_other_computes(world: Path) -> None:
    stacked = load_adapted(world / "top", world / "cache", lambda _: None)
    eoi = stacked.tokenizer.convert_tokens_to_ids("[EOI]")
    merged, _, _ = fresh(world)
    for name in ("low", "top"):
        merged = PeftModel.from_pretrained(merged, str(world / name)).merge_and_unload()
    assert torch.allclose(logits(stacked.model, eoi), logits(merged, eoi), rtol=0, atol=2e-6)
    alone = load_adapted(world / "low", world / "cache", lambda _: None)
    assert not torch.allclose(logits(stacked.model, eoi), logits(alone.model, eoi), atol=1e-3)


def test_what_was_trained_is_what_is_loaded(world: Path) -> None:
    tuned = adapter(world, "again", seed=4, below=("low",))
    loaded = load_adapted(world / "again", world / "cache", lambda _: None)
    eoi = loaded.tokenizer.convert_tokens_to_ids("[EOI]")
    assert torch.equal(logits(loaded.model, eoi), logits(tuned.model, eoi))
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_only_the_top_is_trained_and_the_lower_one_draws_no_dropout(world: Path) -> None:
    from safetensors.torch import load_file

    lowers = lower_adapters([world / "low"], identity(world))
    tuned, _ = trained(world, lowers, 3, Method(r=8, alpha=8.0))
    assert all(".default" in name for name, p in tuned.model.named_parameters() if p.requires_grad)
    saved = load_file(world / "low" / "adapter_model.safetensors")
    now = dict(tuned.model.named_parameters())
    low = {name: tensor for name, tensor in saved.items() if "lora_" in name}
    assert low
    for name, tensor in low.items():
        assert torch.equal(now[name.replace(".weight", ".below0.weight")], tensor)
    tuned.model.train()
    ids = torch.tensor([ROWS[0]])
    with torch.no_grad():
        assert torch.equal(tuned.model(input_ids=ids).logits, tuned.model(input_ids=ids).logits)


def test_the_row_of_an_added_token_starts_where_the_lower_adapter_left_it(world: Path) -> None:
    from safetensors.torch import load_file

    lowers = lower_adapters([world / "low"], identity(world))
    model, tokenizer, added = fresh(world)
    tuned = tune(model, Method(r=4), token_training(model, added), below=lowers, tokenizer=tokenizer)
    saved = load_file(world / "low" / "adapter_model.safetensors")
    rows = {name: p for name, p in tuned.model.named_parameters() if "trainable_tokens_delta" in name}
    assert rows
    for name, row in rows.items():
        assert torch.equal(row, saved[name.removesuffix(".default")])


def test_three_layers_load_in_the_order_they_were_made(world: Path) -> None:
    tuned = adapter(world, "third", seed=5, below=("top",), method=Method(kind="rslora", r=2, alpha=4.0))
    binding = Binding.load(world / "third")
    assert [Path(below.path).name for below in binding.below] == ["low", "top"]
    loaded = load_adapted(world / "third", world / "cache", lambda _: None)
    eoi = loaded.tokenizer.convert_tokens_to_ids("[EOI]")
    assert torch.equal(logits(loaded.model, eoi), logits(tuned.model, eoi))


def copied(world: Path, tmp_path: Path) -> Path:
    """``top`` in another folder, recorded as standing on a copy of ``low`` that a test may spoil."""
    for name in ("low", "top"):
        shutil.copytree(world / name, tmp_path / name)
    binding = Binding.load(tmp_path / "top")
    replace(binding, below=(Below(str(tmp_path / "low"), binding.below[0].weights),)).save(tmp_path / "top")
    seal(tmp_path / "top")
    return tmp_path


def test_a_lower_adapter_that_changed_or_is_gone_is_an_error(world: Path, tmp_path: Path) -> None:
    folder = copied(world, tmp_path)
    load_adapted(folder / "top", world / "cache", lambda _: None)
    weights = folder / "low" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"the adapter below is not whole: adapter_model\.safetensors is damaged"):
        load_adapted(folder / "top", world / "cache", lambda _: None)
    seal(folder / "low")
    with pytest.raises(InputError, match="it changed since another adapter was trained on top of it"):
        load_adapted(folder / "top", world / "cache", lambda _: None)
    shutil.rmtree(folder / "low")
    with pytest.raises(InputError, match="on top of an adapter that is gone"):
        load_adapted(folder / "top", tmp_path / "cache", lambda _: None)
    load_adapted(folder / "top", world / "cache", lambda _: None)  # the same is still where it was last seen


def test_a_lower_adapter_of_another_base_is_an_error(world: Path) -> None:
    other = replace(identity(world), weights="0" * 64)
    with pytest.raises(InputError, match="was trained on another base"):
        lower_adapters([world / "low"], other)


def test_only_a_plain_lora_can_lie_below(world: Path) -> None:
    adapter(world, "dora", seed=1, method=Method(kind="dora", r=4))
    with pytest.raises(InputError, match="only a plain LoRA can lie under another adapter, this is lora use_dora"):
        adapter(world, "over", seed=2, below=("dora",))


def test_a_lower_adapter_with_a_token_that_this_run_does_not_have_is_an_error(world: Path) -> None:
    lowers = lower_adapters([world / "low"], identity(world))
    model, tokenizer, _ = fresh(world, tokens=("[SEP]",))
    with pytest.raises(InputError, match=r"with the token \[EOI\], which this run does not have"):
        tune(model, Method(r=4), {}, below=lowers, tokenizer=tokenizer)


def test_a_run_stands_for_its_adapter(tmp_path: Path) -> None:
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    assert adapter_folder(tmp_path / "run") == tmp_path / "run" / "adapter"
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match="this run has no finished adapter"):
        adapter_folder(tmp_path / "half")
    with pytest.raises(InputError, match="there is no such adapter"):
        adapter_folder(tmp_path / "nothing")


def test_an_adapter_of_a_quantized_base_is_put_on_the_same_base(world: Path) -> None:
    pytest.importorskip("bitsandbytes")
    name = "qlora"
    tuned = adapter(world, name, seed=1, below=("low",), kind=Quantization("nf4", True, "float32"))
    loaded = load_adapted(world / name, world / "cache", lambda _: None)
    eoi = loaded.tokenizer.convert_tokens_to_ids("[EOI]")
    assert torch.equal(logits(loaded.model, eoi), logits(tuned.model, eoi))
    whole = load_adapted(world / name, world / "cache", lambda _: None, quantized=False)
    assert not any(p.dtype == torch.uint8 for p in whole.model.parameters())


def test_an_adapter_of_the_first_format_still_loads(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "low", tmp_path / "old")
    saved = json.loads((tmp_path / "old" / "lft.json").read_text())
    for key in ("below", "quantize", "double_quant", "compute_dtype"):
        del saved[key]
    (tmp_path / "old" / "lft.json").write_text(json.dumps({**saved, "format": 1}))
    seal(tmp_path / "old")
    loaded = load_adapted(tmp_path / "old", world / "cache", lambda _: None)
    assert loaded.binding.below == ()
    assert loaded.binding.quantize is None


def test_a_binding_of_the_second_format_says_nothing_of_weights(world: Path, tmp_path: Path) -> None:
    saved = json.loads((world / "top" / "lft.json").read_text())
    below = [{key: one[key] for key in ("path", "weights")} for one in saved["below"]]
    del saved["stack"]
    (tmp_path / "lft.json").write_text(json.dumps({**saved, "below": below, "format": 2}))
    assert Binding.load(tmp_path) == Binding.load(world / "top")
    assert [one.share for one in Binding.load(tmp_path).below] == ["1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 5}, "has format 5\n  fix: use a newer version"),
        ({"colour": "red"}, "has other keys"),
        ({"below": [{"path": "x"}]}, "does not say what is below"),
        ({"below": [{"path": "x", "weights": "a" * 64, "weight": "much"}]}, "does not say what is below"),
        ({"below": [{"path": "x", "weights": "a" * 64, "layers": "9-1"}]}, "does not say what is below"),
    ],
)
def test_a_binding_that_is_not_understood_is_an_error(world: Path, tmp_path: Path, change: Any, message: str) -> None:
    saved = json.loads((world / "low" / "lft.json").read_text())
    (tmp_path / "lft.json").write_text(json.dumps({**saved, **change}))
    with pytest.raises(InputError, match=message):
        Binding.load(tmp_path)
