from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base import fingerprint as room
from lft.base.binding import Binding
from lft.base.fingerprint import fingerprint, tokenizer_fingerprint, weights_fingerprint
from lft.base.headers import SINGLE, read_headers
from lft.errors import InputError
from tests.raw_safetensors import Raw, write_sharded, write_tensors
from tests.tiny import save_tiny


@st.composite
def tensors(draw):
    names = draw(st.lists(st.text("abc.0", min_size=1, max_size=4), min_size=1, max_size=6, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for name in names:
        dtype, size = draw(st.sampled_from([("F32", 4), ("BF16", 2), ("U8", 1)]))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
        found.append(Raw(name, dtype, shape, rng.bytes(int(np.prod(shape)) * size)))
    return found


@settings(max_examples=60, deadline=None)
@given(content=tensors(), data=st.data())
def test_resharding_and_reordering_do_not_change_the_weights_fingerprint(tmp_path_factory, content, data):
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    write_tensors(whole / SINGLE, content)
    shuffled = data.draw(st.permutations(content))
    cut = data.draw(st.integers(0, len(shuffled)))
    write_sharded(parts, [part for part in (shuffled[:cut], shuffled[cut:]) if part])
    assert weights_fingerprint(whole, None) == weights_fingerprint(parts, None)


@settings(max_examples=60, deadline=None)
@given(content=tensors(), data=st.data())
def test_one_flipped_bit_changes_the_weights_fingerprint(tmp_path_factory, content, data):
    folder, cache = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("cache")
    file = write_tensors(folder / SINGLE, content)
    before = weights_fingerprint(folder, cache)
    begin = min(t.start for t in read_headers(folder))
    raw = bytearray(file.read_bytes())
    if len(raw) == begin:
        return
    raw[data.draw(st.integers(begin, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(raw)
    assert weights_fingerprint(folder, cache) != before


@pytest.mark.parametrize(
    "other",
    [Raw("b", "F32", (2,), bytes(8)), Raw("a", "I32", (2,), bytes(8)), Raw("a", "F32", (2, 1), bytes(8))],
    ids=["name", "dtype", "shape"],
)
def test_name_dtype_and_shape_belong_to_the_fingerprint(tmp_path, other):
    write_tensors(tmp_path / "one" / SINGLE, [Raw("a", "F32", (2,), bytes(8))])
    write_tensors(tmp_path / "two" / SINGLE, [other])
    assert weights_fingerprint(tmp_path / "one", None) != weights_fingerprint(tmp_path / "two", None)


def test_a_library_resharding_keeps_the_fingerprint(tmp_path):
    one = save_tiny(tmp_path / "one", "llama")
    many = save_tiny(tmp_path / "many", "llama", max_shard_size="40KB")
    assert len(list(many.glob("*.safetensors"))) > 1
    assert fingerprint(one, None) == fingerprint(many, None)
    assert fingerprint(one, None) != fingerprint(save_tiny(tmp_path / "seed", "llama", seed=1), None)


def _settle(folder):
    """Give every file the same old time."""
    for file in folder.iterdir():
        os.utime(file, ns=(10**18, 10**18))


def test_digests_of_an_unchanged_file_are_not_computed_again(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model", "llama")
    monkeypatch.setattr("lft.base.files._RACY_NS", -(10**18))
    first = weights_fingerprint(folder, tmp_path / "cache")
    monkeypatch.setattr(room, "_tensor_digests", lambda tensors: pytest.fail("read again"))
    assert weights_fingerprint(folder, tmp_path / "cache") == first


def test_a_file_changed_behind_its_old_time_and_size_is_read_again(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model", "llama")
    monkeypatch.setattr("lft.base.files._RACY_NS", -(10**18))
    _settle(folder)
    first = weights_fingerprint(folder, tmp_path / "cache")
    file = folder / SINGLE
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    _settle(folder)
    assert weights_fingerprint(folder, tmp_path / "cache") != first


def test_a_damaged_memo_is_ignored(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model", "llama")
    monkeypatch.setattr("lft.base.files._RACY_NS", -(10**18))
    first = weights_fingerprint(folder, tmp_path / "cache")
    for memo in (tmp_path / "cache/digests").iterdir():
        memo.write_text("{")
    assert weights_fingerprint(folder, tmp_path / "cache") == first


def test_tokenizer_formatting_padding_and_merge_notation_do_not_count(llama, tmp_path):
    shutil.copytree(llama, tmp_path / "model")
    file = tmp_path / "model/tokenizer.json"
    content = json.loads(file.read_text())
    content["padding"], content["truncation"] = {"strategy": "BatchLongest"}, {"max_length": 3}
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    content["model"]["vocab"] = dict(reversed(content["model"]["vocab"].items()))
    file.write_text(json.dumps(content))
    assert tokenizer_fingerprint(tmp_path / "model") == tokenizer_fingerprint(llama)


def test_vocabulary_merge_order_normalizer_added_and_special_tokens_count(llama, tmp_path):
    def changed(name, change):
        folder = tmp_path / name
        shutil.copytree(llama, folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            content = json.loads((folder / file).read_text())
            change(file, content)
            (folder / file).write_text(json.dumps(content))
        return tokenizer_fingerprint(folder)

    def in_json(edit):
        return lambda file, content: edit(content) if file == "tokenizer.json" else None

    def in_config(edit):
        return lambda file, content: edit(content) if file == "tokenizer_config.json" else None

    seen = {tokenizer_fingerprint(llama)}
    changes = {
        "vocab": in_json(lambda c: c["model"]["vocab"].update(new=999)),
        "merges": in_json(lambda c: c["model"]["merges"].reverse()),
        "normalizer": in_json(lambda c: c.update(normalizer={"type": "Lowercase"})),
        "added": in_json(lambda c: c["added_tokens"].pop()),
        "eos": in_config(lambda c: c.update(eos_token="<s>")),
        "bos": in_config(lambda c: c.update(add_bos_token=True)),
        "extra": in_config(lambda c: c.update(additional_special_tokens=["<|user|>"])),
    }
    for name, change in changes.items():
        seen.add(changed(name, change))
    assert len(seen) == len(changes) + 1


def test_sentencepiece_and_plain_bpe_files_have_a_fingerprint_too(tmp_path):
    found = set()
    for name in ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text('{"a": 0}')
        found.add(tokenizer_fingerprint(folder))
    assert len(found) == 3  # the two sentencepiece names are the same model
    (tmp_path / "vocab.json/merges.txt").write_text("#version: 0.2\na b\n")
    assert tokenizer_fingerprint(tmp_path / "vocab.json") not in found


def test_a_folder_without_a_tokenizer_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no tokenizer"):
        tokenizer_fingerprint(tmp_path)


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model", "llama")
    monkeypatch.setattr("lft.base.files._RACY_NS", -(10**18))
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "full")))
    assert weights_fingerprint(folder, tmp_path / "cache") == weights_fingerprint(folder, None)


def _with(folder, copy, name, change):
    """A copy of a folder with a change in one of its JSON files, made if it is not there."""
    shutil.copytree(folder, copy)
    file = copy / name
    content = json.loads(file.read_text()) if file.exists() else {}
    change(content)
    file.write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"900": {"content": "<|new|>", "special": True}}}),
        ("added_tokens.json", {"<|new|>": 900}),
        ("special_tokens_map.json", {"eos_token": "<|user|>"}),
        ("special_tokens_map.json", {"additional_special_tokens": ["<|user|>"]}),
    ],
)
def test_tokens_of_every_file_that_can_add_them_count(llama, tmp_path, name, change):
    other = _with(llama, tmp_path / "other", name, lambda content: content.update(change))
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(llama)


def test_a_flag_of_an_added_token_counts(llama, tmp_path):
    def strip(content):
        content["added_tokens"][0]["lstrip"] = True

    other = _with(llama, tmp_path / "other", "tokenizer.json", strip)
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(llama)


def test_what_older_files_say_again_does_not_count(llama, tmp_path):
    """Hub folders list their tokens in up to four files; a copy saved by transformers 5 in one."""
    listed = json.loads((llama / "tokenizer.json").read_text())["added_tokens"]
    names = json.loads((llama / "tokenizer_config.json").read_text())
    roles = {key: names[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
    decoder = {str(t["id"]): {key: value for key, value in t.items() if key != "id"} for t in listed}
    old = _with(llama, tmp_path / "old", "tokenizer_config.json", lambda c: c.update(added_tokens_decoder=decoder))
    (old / "special_tokens_map.json").write_text(json.dumps({key: {"content": text} for key, text in roles.items()}))
    (old / "added_tokens.json").write_text(json.dumps({t["content"]: t["id"] for t in listed}))
    assert tokenizer_fingerprint(old) == tokenizer_fingerprint(llama)


def _bound(folder):
    found = fingerprint(folder, None)
    return Binding("base", None, found.weights, found.tokenizer, 384, "r", {}, "0", config=found.config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "gelu"), ("rms_norm_eps", 1e-5), ("rope_parameters", {"rope_theta": 5e5, "rope_type": "default"})],
)
def test_a_configuration_that_computes_something_else_is_another_base(llama, tmp_path, key, value):
    other = _with(llama, tmp_path / "other", "config.json", lambda content: content.update({key: value}))
    with pytest.raises(InputError, match=f"config.json differs in {key}"):
        _bound(llama).require(fingerprint(other, None), "adapter")


def test_where_a_configuration_comes_from_and_how_it_is_run_does_not_count(llama, tmp_path):
    def change(content):
        content |= {"_name_or_path": "a/b", "transformers_version": "4.30.0", "torch_dtype": "float16"}
        content |= {"use_cache": False, "attention_dropout": 0.1, "pad_token_id": 7, "architectures": ["Other"]}
        del content["dtype"]

    other = _with(llama, tmp_path / "other", "config.json", change)
    assert fingerprint(other, None) == fingerprint(llama, None)


def test_defaults_and_names_of_other_versions_are_the_same_base(llama, tmp_path):
    """The hub's LLaMA says rope_theta or nothing; transformers 5 writes every default and rope_parameters."""

    def as_once(content):
        for key in ("attention_bias", "mlp_bias", "head_dim", "rope_parameters"):
            del content[key]
        content["rope_theta"] = 10000.0

    older = _with(llama, tmp_path / "older", "config.json", as_once)
    assert fingerprint(older, None) != fingerprint(llama, None)
    _bound(llama).require(fingerprint(older, None), "adapter")
    _bound(older).require(fingerprint(llama, None), "adapter")


def test_a_model_that_the_library_does_not_know_is_compared_word_for_word(llama, tmp_path):
    def of(name, eps):
        change = {"model_type": "unheard-of", "rms_norm_eps": eps}
        return _with(llama, tmp_path / name, "config.json", lambda content: content.update(change))

    one, same, other = of("one", 1e-6), of("same", 1e-6), of("other", 1e-5)
    _bound(one).require(fingerprint(same, None), "adapter")
    with pytest.raises(InputError, match="rms_norm_eps"):
        _bound(one).require(fingerprint(other, None), "adapter")


def test_an_adapter_carries_its_name_and_what_its_base_computes(llama, tmp_path):
    bound = replace(_bound(llama), name="longform/tiny")
    bound.save(tmp_path)
    saved = json.loads((tmp_path / "lft.json").read_text())
    assert saved["name"] == "longform/tiny"
    assert saved["config"]["hidden_act"] == "silu"
    assert Binding.load(tmp_path) == bound
