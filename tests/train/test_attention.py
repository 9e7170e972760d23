"""Packed sequences never see each other: shown for every family that ships a recipe, refused where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.errors import MachineError
from lft.train.attention import ATTENTION, isolate, packed_inputs
from tests.tiny import FAMILIES, tiny_model

VOCABULARY = 384
SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED = {"intermediate_size": 128, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def sequences(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def alone(model: Any, rows: list[list[int]]) -> torch.Tensor:
    return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows], dim=1)


@torch.no_grad()
def packed(model: Any, rows: list[list[int]]) -> torch.Tensor:
    return model(**packed_inputs(rows, "cpu"), use_cache=False).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_logits_equal_unpacked_ones(family: str) -> None:
    model, rows = tiny_model(family, VOCABULARY), sequences(13, 40, 1, 7)
    wanted = alone(model, rows)
    isolate(model, VOCABULARY)
    assert model.config._attn_implementation == ATTENTION
    assert (packed(model, rows) - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_packed_gradients_equal_unpacked_ones(family: str) -> None:
    rows = sequences(9, 21, 4)

    def gradient(one_row: bool) -> torch.Tensor:
        model = tiny_model(family, VOCABULARY)
        isolate(model, VOCABULARY)
        batches = [rows] if one_row else [[row] for row in rows]
        for batch in batches:
            model(**packed_inputs(batch, "cpu"), use_cache=False).logits.square().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    together, apart = gradient(True), gradient(False)
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-5 * float(apart.abs().max()))


def test_the_measure_sees_the_leak_of_opt_under_plain_attention() -> None:
    """The test above can fail: without our attention OPT leaks."""
    model, rows = tiny_model("opt", VOCABULARY), sequences(13, 40, 7)
    with torch.no_grad():
        inputs = packed_inputs(rows, "cpu")
        del inputs["segment_lengths"]
        leaking = model(**inputs, use_cache=False).logits
    assert (leaking - alone(model, rows)).abs().max() > 1e-4


@pytest.mark.parametrize(
    "config",
    [
        transformers.MistralConfig(**SMALL, **GATED, sliding_window=8),
        transformers.Gemma2Config(**SMALL, **GATED, head_dim=16, sliding_window=8, attn_logit_softcapping=5.0),
        transformers.Gemma3TextConfig(**SMALL, **GATED, head_dim=16, sliding_window=8),
    ],
    ids=lambda config: config.model_type,
)
def test_sliding_windows_and_score_caps_are_honoured(config: Any) -> None:
    torch.manual_seed(0)
    model, rows = transformers.AutoModelForCausalLM.from_config(config).eval(), sequences(13, 40, 7)
    wanted = alone(model, rows)
    isolate(model, VOCABULARY)
    assert (packed(model, rows) - wanted).abs().max() <= 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize(
    "config",
    [
        transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4),
        transformers.FalconConfig(**SMALL),
        transformers.MptConfig(vocab_size=VOCABULARY, d_model=64, n_layers=2, n_heads=4),
        transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2),
    ],
    ids=lambda config: config.model_type,
)
def test_a_family_that_would_leak_is_refused(config: Any) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(MachineError, match=r"see each other|cannot take packed"):
        isolate(model, VOCABULARY)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=2, max_size=6), changed=st.integers(0, 5), token=st.integers(5, 300)
)
def test_changing_one_sequence_changes_no_other(lengths: list[int], changed: int, token: int) -> None:
    model = _MODEL
    rows = sequences(*lengths)
    changed %= len(rows)
    other = [row if index != changed else [token] * len(row) for index, row in enumerate(rows)]
    before, after = packed(model, rows), packed(model, other)
    start = sum(lengths[:changed])
    stop = start + lengths[changed]
    kept = torch.tensor([place < start or place >= stop for place in range(sum(lengths))])
    assert torch.equal(before[:, kept], after[:, kept])


_MODEL = tiny_model("llama", VOCABULARY)
_MODEL.set_attn_implementation(ATTENTION)
