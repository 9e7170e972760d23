"""Bit patterns: differences that are undone exactly, and conversions that agree with torch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.diff_bits import FLOATS, added, converted, pieces, restored, subtracted, word_bytes
from lft.base.headers import TensorInfo
from lft.errors import InputError
from tests.raw_safetensors import Raw, write_tensors

INTEGERS = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
ODD32 = [0, 1, 0x80000000, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0x7F7FFFFF, 0x477FE000]
# Halfway cases of both 16-bit formats, the largest half, the smallest halves, denormals.
ODD32 += [0x3F808000, 0x3F818000, 0x3F801000, 0x3F803000, 0x477FF000, 0x33000000, 0x33000001, 0x387FC000, 0x00400000]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_difference_is_undone_exactly_for_any_bits_and_any_growth(data):
    width = data.draw(st.sampled_from([1, 2, 4, 8]))
    values = st.integers(0, 2 ** (8 * width) - 1)
    base = np.array(data.draw(st.lists(values, max_size=40)), INTEGERS[width])
    extra = data.draw(st.lists(values, max_size=5))
    tuned = np.array([*data.draw(st.lists(values, min_size=len(base), max_size=len(base))), *extra], INTEGERS[width])
    difference = subtracted(tuned, base)
    assert np.array_equal(restored(difference, base), tuned)
    assert np.array_equal(difference[len(base) :], tuned[len(base) :])


def bits_of(kind: str, seed: int) -> np.ndarray:
    """Every pattern of a 16-bit format, or many of float32."""
    if kind != "F32":
        return np.arange(2**16, dtype="<u2")
    random = np.random.default_rng(seed).integers(0, 2**32, 200_000, dtype=np.uint64).astype("<u4")
    return np.concatenate([np.array(ODD32, "<u4"), random])


def as_torch(bits: np.ndarray, kind: str):
    import torch

    signed, dtype = {"F16": ("<i2", torch.float16), "BF16": ("<i2", torch.bfloat16), "F32": ("<i4", torch.float32)}[
        kind
    ]
    return torch.from_numpy(bits.view(signed).copy()).view(dtype)


def same_values(ours: np.ndarray, theirs, kind: str) -> bool:
    """Equal bit for bit, where it is a number; a NaN for each NaN."""
    mine = as_torch(ours, kind)
    nan = theirs.isnan()
    signed = {"F16": "int16", "BF16": "int16", "F32": "int32"}[kind]
    import torch

    width = getattr(torch, signed)
    return bool((mine.isnan() == nan).all()) and bool((mine.view(width) == theirs.view(width))[~nan].all())


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
def test_conversions_agree_with_torch_for_every_pattern(source, target):
    bits = bits_of(source, 0)
    ours = converted(bits, source, target)
    assert same_values(ours, as_torch(bits, source).to(as_torch(ours, target).dtype), target)
    if source != target:
        single = as_torch(bits, source).isnan().numpy()
        assert len(set(ours[single].tolist())) == 1


@pytest.mark.parametrize("base", FLOATS)
@pytest.mark.parametrize("kind", FLOATS)
def test_float_sums_agree_with_the_releases_own_instructions(kind, base):
    upper = np.random.default_rng(1).permutation(bits_of(kind, 1))
    lower = np.random.default_rng(2).permutation(bits_of(base, 2))
    size = min(len(upper), len(lower))
    ours = added(upper[:size], kind, lower[:size], base)
    # base.float() + diff.float(), stored in the difference's format
    total = as_torch(lower[:size], base).float() + as_torch(upper[:size], kind).float()
    assert same_values(ours, total.to(as_torch(upper, kind).dtype), kind)


def test_rows_that_the_base_has_not_are_taken_whole():
    upper = np.array([1.0, 2.0, 3.0], "<f4").view("<u4")
    lower = np.array([10.0], "<f4").view("<u4")
    assert added(upper, "F32", lower, "F32").view("<f4").tolist() == [11.0, 2.0, 3.0]


def test_pieces_are_the_tensor_and_a_file_that_ends_early_is_an_error(tmp_path):
    file = write_tensors(tmp_path / "t.safetensors", [Raw("w", "BF16", (5,), bytes(range(10)))])
    start = file.stat().st_size - 10
    whole = TensorInfo("w", "BF16", (5,), file, start, start + 10)
    found = list(pieces(whole, 2))
    assert [len(piece) for piece in found] == [2, 2, 1]
    assert np.concatenate(found).tobytes() == bytes(range(10))
    for cut in (1, 2):
        file.write_bytes(file.read_bytes()[:-cut])
        with pytest.raises(InputError, match="was cut while tensor 'w'"):
            list(pieces(whole, 2))


def test_formats_below_a_byte_are_taken_byte_by_byte():
    assert [word_bytes(kind) for kind in ("F4", "U8", "BF16", "F32", "F64")] == [1, 1, 2, 4, 8]
