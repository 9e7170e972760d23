"""Keys and values in buffers are what the library's own cache holds."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from lft.base.roomy_cache import RoomyLayer


@settings(max_examples=30)
@given(st.lists(st.sampled_from([1, 1, 1, 5, 127, 128, 129, 200]), min_size=1, max_size=8), st.integers(0, 7))
def test_a_buffer_holds_what_joining_would_hold_however_it_grows_and_whoever_leaves(steps: list[int], at: int) -> None:
    ours, theirs = RoomyLayer(), DynamicLayer()
    for number, columns in enumerate(steps):
        rows = 1 if number > at else 3
        keys, values = torch.randn(rows, 2, columns, 4), torch.randn(rows, 2, columns, 6)
        found, wanted = ours.update(keys, values), theirs.update(keys, values)
        assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length() == sum(steps[: number + 1])
        if number == at:
            ours.hold(ours.keys[1:2], ours.values[1:2])
            theirs.keys, theirs.values = theirs.keys[1:2], theirs.values[1:2]


def test_a_token_more_is_written_in_its_place_without_a_copy_of_the_rest() -> None:
    layer = RoomyLayer()
    first, _ = layer.update(torch.randn(2, 1, 9, 4), torch.randn(2, 1, 9, 4))
    later, _ = layer.update(torch.randn(2, 1, 1, 4), torch.randn(2, 1, 1, 4))
    assert later.data_ptr() == first.data_ptr()
