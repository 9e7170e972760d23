from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.headers import INDEX, SINGLE, read_header, read_headers
from lft.errors import InputError
from tests.raw_safetensors import Raw, header_of, write_raw, write_sharded, write_tensors

A = Raw("a", "F32", (2, 3), bytes(24))
B = Raw("b", "BF16", (4,), bytes(8))


def test_names_shapes_and_byte_ranges_agree_with_the_library(llama):
    from safetensors import safe_open

    file = llama / SINGLE
    content = file.read_bytes()
    with safe_open(file, "np") as library:
        assert {t.name for t in read_headers(llama)} == set(library.keys())
        for t in read_headers(llama):
            expected = library.get_tensor(t.name)
            assert t.shape == expected.shape
            assert content[t.start : t.end] == expected.tobytes()


def test_a_sharded_model_lists_every_tensor_with_its_shard(tmp_path):
    found = read_headers(write_sharded(tmp_path, [[A], [B]]))
    assert [(t.name, t.file.name) for t in found] == [
        ("a", "model-00001-of-00002.safetensors"),
        ("b", "model-00002-of-00002.safetensors"),
    ]


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 200), data=st.data())
def test_a_file_cut_anywhere_is_never_read_as_whole(tmp_path_factory, cut, data):
    file = write_tensors(tmp_path_factory.mktemp("cut") / SINGLE, [A, B])
    content = file.read_bytes()
    file.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(InputError):
        read_header(file)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_an_input_error_and_nothing_else(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("random") / SINGLE
    file.write_bytes(content)
    with pytest.raises(InputError):
        read_header(file)


def test_a_git_lfs_pointer_is_named_as_such(tmp_path):
    file = tmp_path / SINGLE
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match="git-lfs pointer, not the weights"):
        read_header(file)


WRONG = {
    "gap": ({"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"123", "gap"),
    "overlap": (header_of([A]) | {"b": {"dtype": "U8", "shape": [8], "data_offsets": [16, 24]}}, bytes(24), "overlaps"),
    "past the end": ({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}, b"1234", "truncated"),
    "trailing": (header_of([B]), bytes(9), "after the last tensor"),
    "size": ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8), "do not hold"),
    "dtype": ({"a": {"dtype": "F12", "shape": [1], "data_offsets": [0, 2]}}, bytes(2), "unknown dtype 'F12'"),
    "negative": ({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, -1]}}, b"", "non-negative"),
    "boolean": ({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"1", "non-negative"),
    "three offsets": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"1", "non-negative"),
    "entry": ({"a": 3}, b"", "unknown dtype"),
    "list": ("[]", b"", "not a map"),
    "not json": ("{", b"", "not valid JSON"),
    "nested": ("[" * 100_000, b"", "not valid JSON"),
    "twice": ('{"a": {}, "a": {}}', b"", "'a' occurs twice"),
    "huge": ({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, bytes(4), "do not hold"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_header_says_what_is_wrong_with_it(tmp_path, case):
    header, data, says = WRONG[case]
    with pytest.raises(InputError, match=says):
        read_header(write_raw(tmp_path / SINGLE, header, data))


def test_a_header_larger_than_the_cap_is_not_read(tmp_path):
    file = tmp_path / SINGLE
    with file.open("wb") as sparse:
        sparse.write((200_000_000).to_bytes(8, "little"))
        sparse.truncate(300_000_000)
    with pytest.raises(InputError, match="100000000 are allowed"):
        read_header(file)


def test_an_index_cannot_lead_out_of_its_folder(tmp_path):
    write_tensors(tmp_path / "secret.safetensors", [A])
    for name in ("../secret.safetensors", str(tmp_path / "secret.safetensors"), "..\\secret.safetensors"):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(InputError, match="not a plain"):
            read_headers(folder)


def test_missing_shards_are_counted_and_named(tmp_path):
    folder = write_sharded(tmp_path, [[A], [B]])
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"1 of 2 shards are missing: model-00002-of-00002"):
        read_headers(folder)


def test_a_tensor_that_only_the_index_knows_is_an_error(tmp_path):
    folder = write_sharded(tmp_path, [[A], [B]])
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["c"] = "model-00001-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="'c' is not in"):
        read_headers(folder)


def test_a_tensor_that_the_index_does_not_know_is_an_error(tmp_path):
    folder = write_sharded(tmp_path, [[A], [B]])
    write_tensors(folder / "model-00001-of-00002.safetensors", [A, Raw("c", "U8", (1,), b"1")])
    with pytest.raises(InputError, match=r"'c' in .* is not named by the index"):
        read_headers(folder)


def test_a_tensor_in_two_shards_is_an_error(tmp_path):
    folder = write_sharded(tmp_path, [[A], [B]])
    write_tensors(folder / "model-00002-of-00002.safetensors", [A, B])
    with pytest.raises(InputError, match="'a' is in"):
        read_headers(folder)


def test_a_folder_with_pickles_only_says_that_they_are_never_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="pickle"):
        read_headers(tmp_path)
