from __future__ import annotations

import pytest

from lft.base.device import device_and_dtype
from lft.errors import RecipeError


@pytest.fixture
def cuda(monkeypatch):
    """Pretend to have a card; `fast` says whether it computes bfloat16."""

    def pretend(present, fast=True):
        monkeypatch.setattr("torch.cuda.is_available", lambda: present)
        monkeypatch.setattr(
            "torch.cuda.is_bf16_supported", lambda including_emulation=True: fast or including_emulation
        )
        monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Card")

    return pretend


def test_auto_is_bfloat16_only_where_it_is_fast(cuda):
    import torch

    for present, fast, device, dtype in (
        (True, True, "cuda", torch.bfloat16),
        (True, False, "cuda", torch.float32),
        (False, False, "cpu", torch.float32),
    ):
        cuda(present, fast)
        found = device_and_dtype("auto")
        assert (found.device, found.dtype) == (device, dtype)
        assert found.reason


def test_a_written_dtype_is_honoured(cuda):
    import torch

    cuda(False)
    assert device_and_dtype("bfloat16").dtype == torch.bfloat16
    cuda(True, fast=False)
    assert device_and_dtype("float16").dtype == torch.float16
    found = device_and_dtype("bfloat16")
    assert found.dtype == torch.bfloat16
    assert "slow" in found.reason


def test_float16_on_a_cpu_is_refused(cuda):
    cuda(False)
    with pytest.raises(RecipeError, match="float16"):
        device_and_dtype("float16")
