"""Float differences as LongForm-LLaMA-7B-diff is one: float32, [EOI] as one added row, no tokenizer beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.base.diff import apply_diff, check_diff
from lft.base.fingerprint import weights_fingerprint
from lft.base.headers import INDEX, SINGLE, read_headers
from lft.base.resolve import BaseRef, check_folder
from lft.errors import InputError, RecipeError
from lft.files import broken_files
from tests.raw_safetensors import Raw, write_tensors
from tests.tiny import save_tiny, tiny_model

ROWS = 384


def ref(folder: Path) -> BaseRef:
    return BaseRef(str(folder), "folder", folder, None, False)


def apply(base: Path, diff: Path, out: Path, said: list[str] | None = None, **kw):
    return apply_diff(ref(base), diff, out, out.parent / "cache", (said if said is not None else []).append, **kw)


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, Path]:
    """A base in float16 and a release made as the card says: base resized by one row, difference in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    base = save_tiny(tmp_path / "base", "llama", vocab=ROWS)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16).save_pretrained(base)
    rows = len(json.loads((base / "tokenizer.json").read_text())["model"]["vocab"])
    diff = tiny_model("llama", rows + 1, seed=7)
    diff.save_pretrained(tmp_path / "diff", max_shard_size="60KB")
    return base, tmp_path / "diff"


def test_the_sum_is_what_the_card_computes_and_the_token_has_its_row(tmp_path, release):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, diff = release
    said: list[str] = []
    summary = apply(base, diff, tmp_path / "tuned", said, token="[EOI]")
    assert broken_files(tmp_path / "tuned") == []
    assert any("does not record its base" in line for line in said)
    assert any("the base's is taken" in line for line in said)
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tuned", local_files_only=True)
    below = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True).state_dict()
    step = AutoModelForCausalLM.from_pretrained(diff, local_files_only=True).state_dict()
    for name, value in tuned.state_dict().items():
        rows = below[name].shape[0]
        assert torch.equal(value[:rows], below[name] + step[name][:rows]), name
        assert torch.equal(value[rows:], step[name][rows:]), name
    (eoi,) = tokenizer("[EOI]", add_special_tokens=False)["input_ids"]
    assert eoi == tuned.get_input_embeddings().weight.shape[0] - 1
    assert summary.grown == ("lm_head.weight", "model.embed_tokens.weight")
    assert summary.result == weights_fingerprint(tmp_path / "tuned", None)
    check_folder(tmp_path / "tuned", "tuned")


def test_an_added_row_without_a_token_is_said(tmp_path, release):
    base, diff = release
    said: list[str] = []
    apply(base, diff, tmp_path / "tuned", said)
    assert any("--add-token" in line for line in said)
    assert (tmp_path / "tuned" / INDEX).exists()


def test_a_published_fingerprint_is_checked_and_nothing_is_left_when_it_is_another(tmp_path, release):
    base, diff = release
    result = apply(base, diff, tmp_path / "tuned").result
    apply(base, diff, tmp_path / "again", expect=result)
    with pytest.raises(InputError, match="the sum has weights"):
        apply(base, diff, tmp_path / "other", expect="0" * 64)
    assert not list(tmp_path.glob("*other*"))


def model(folder: Path, *tensors: Raw) -> Path:
    folder.mkdir()
    write_tensors(folder / SINGLE, tensors)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1, "c": 2, "d": 3}}}')
    return folder


def ones(name: str, *shape: int, value: bytes = b"\0\0\x80\x3f") -> Raw:
    size = 1
    for length in shape:
        size *= length
    return Raw(name, "F32", shape, value * size)


TWO = b"\0\0\0\x40"


def test_buffers_are_the_bases_and_are_not_added(tmp_path):
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    base = model(tmp_path / "base", ones("w", 4), ones(buffer, 2))
    diff = model(tmp_path / "diff", ones("w", 4), ones(buffer, 2), ones("model.layers.1.rotary_emb.inv_freq", 2))
    summary = apply(base, diff, tmp_path / "tuned")
    found = {
        t.name: (tmp_path / "tuned" / SINGLE).read_bytes()[t.start : t.end] for t in read_headers(tmp_path / "tuned")
    }
    assert found == {"w": TWO * 4, buffer: b"\0\0\x80\x3f" * 2}
    assert summary.left_out == ("model.layers.1.rotary_emb.inv_freq",)


def test_a_tied_head_that_the_base_saves_twice_is_not_missed(tmp_path):
    base = model(tmp_path / "base", ones("embed", 4, 2), ones("lm_head.weight", 4, 2))
    summary = apply(base, model(tmp_path / "diff", ones("embed", 4, 2)), tmp_path / "tuned")
    assert summary.left_out == ("lm_head.weight",)


WRONG = {
    "missing": ((ones("w", 4),), r"the base has tensor 'v', the difference has not"),
    "extra": ((ones("w", 4), ones("v", 2, 2), ones("u", 2)), r"the difference has tensor 'u', the base has not"),
    "shape": ((ones("w", 4), ones("v", 2, 3)), r"'v' has shape \(2, 3\), the base's has \(2, 2\)"),
    "fewer rows": ((ones("w", 4), ones("v", 1, 2)), r"'v' has shape \(1, 2\)"),
    "dtype": ((ones("w", 4), Raw("v", "F64", (2, 2), bytes(32))), "'v' is F64; sums are made in F16, BF16 or F32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_difference_of_another_model_is_refused_before_anything_is_written(tmp_path, case):
    tensors, says = WRONG[case]
    base, diff = model(tmp_path / "base", ones("w", 4), ones("v", 2, 2)), model(tmp_path / "diff", *tensors)
    with pytest.raises(InputError, match=says):
        apply(base, diff, tmp_path / "tuned")
    with pytest.raises(InputError, match=says):
        check_diff(diff, ref(base), tmp_path / "cache", lambda _: None)
    assert {p.name for p in tmp_path.iterdir()} == {"base", "diff"}


def test_a_token_needs_a_row(tmp_path, release):
    base, diff = release
    plain = save_tiny(tmp_path / "plain", "llama", vocab=ROWS, seed=3)
    with pytest.raises(InputError, match="adds no row for"):
        apply(base, plain, tmp_path / "tuned", token="[EOI]")
    assert not (tmp_path / "tuned").exists()
    assert check_diff(diff, ref(base), tmp_path / "cache", lambda _: None) is None


def test_an_exact_difference_brings_its_own_tokenizer(tmp_path):
    from lft.base.diff import make_diff

    base, tuned = model(tmp_path / "base", ones("w", 4)), model(tmp_path / "tuned", ones("w", 4, value=TWO))
    make_diff(ref(base), ref(tuned), tmp_path / "diff", tmp_path / "cache", lambda _: None)
    with pytest.raises(RecipeError, match="its own tokenizer"):
        apply(base, tmp_path / "diff", tmp_path / "again", token="[EOI]")
