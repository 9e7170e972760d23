"""The same merges by mergekit, on whole models: task arithmetic, TIES, breadcrumbs, Model Stock; magnitude.

mergekit is no dependency; without it these tests are skipped. They ran against 0.1.5:

    pip install --no-deps --target DIR mergekit immutables
    PYTHONPATH=DIR pytest tests/adapters/test_merge_mergekit.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lft.adapters.algebra.sparse import Breadcrumbs, Magnitude, Ties
from lft.adapters.deltas import Delta, Factors
from lft.adapters.merge import merge
from tests.merging import distance, factors, plan, sources
from tests.tiny import save_tiny

pytest.importorskip("mergekit")

NAMES = {
    "model.layers.0.self_attn.q_proj.weight": (32, 32),
    "model.layers.1.mlp.up_proj.weight": (64, 32),
    "model.layers.1.mlp.down_proj.weight": (32, 64),
}


def low(seed: int) -> Delta:
    """Of its own, and a part that all share, so that the angles are acute."""
    made = {}
    for n, (name, shape) in enumerate(NAMES.items()):
        own, shared = factors(seed * 10 + n, shape, 4), factors(90 + n, shape, 2)
        made[name] = Factors(torch.cat([own.b, shared.b], dim=1), torch.cat([own.a, shared.a]))
    return Delta(made)


DELTAS = {ref: low(n) for n, ref in enumerate("abc", start=1)}
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}


def load(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of zeros where adapters work (so that nothing is lost in adding), and a tuned model for each adapter."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("mergekit")
    for ref in ("base", *DELTAS):
        save_tiny(folder / ref)
        state = load(folder / ref)
        for name, shape in NAMES.items():
            one = DELTAS[ref].factors[name] if ref in DELTAS else None
            state[name] = torch.zeros(shape) if one is None else one.b @ one.a
        save_file(state, folder / ref / "model.safetensors", metadata={"format": "pt"})
    return folder


def theirs(models: Path, out: Path, method: str, each: dict[str, Any], **parameters: Any) -> dict[str, torch.Tensor]:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    inputs = [
        {"model": str(models / ref), "parameters": {"weight": WEIGHTS[ref], **each}}
        if method != "model_stock" else {"model": str(models / ref)}
        for ref in DELTAS
    ]  # fmt: skip
    config = MergeConfiguration.model_validate({
        "merge_method": method, "base_model": str(models / "base"), "models": inputs, "parameters": parameters,
        "dtype": "float32",
    })  # fmt: skip
    run_merge(config, str(out), MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False))
    return load(out)


def require_same(found: dict[str, torch.Tensor], ours: Any) -> None:
    for name in NAMES:
        assert distance(ours.tensor(name), found[name]) < 1e-5, name
        assert found[name].any()


def test_task_arithmetic_is_mergekits(models: Path, tmp_path: Path) -> None:
    found = theirs(models, tmp_path, "task_arithmetic", {}, normalize=False)
    require_same(found, merge(plan("cat", WEIGHTS), sources(**DELTAS)))


@pytest.mark.parametrize("density", [0.25, 0.6])
def test_ties_is_mergekits_when_weights_sum_to_one(models: Path, tmp_path: Path, density: float) -> None:
    found = theirs(models, tmp_path, "ties", {"density": density}, normalize=True)
    require_same(found, merge(plan("ties", WEIGHTS, Ties(density=density)), sources(**DELTAS)))


def test_breadcrumbs_is_mergekits(models: Path, tmp_path: Path) -> None:
    found = theirs(models, tmp_path, "breadcrumbs", {"density": 0.5, "gamma": 0.1}, normalize=False)
    require_same(found, merge(plan("breadcrumbs", WEIGHTS, Breadcrumbs(density=0.5, gamma=0.1)), sources(**DELTAS)))


def test_model_stock_is_mergekits(models: Path, tmp_path: Path) -> None:
    found = theirs(models, tmp_path, "model_stock", {})
    require_same(found, merge(plan("model-stock", dict.fromkeys(DELTAS)), sources(**DELTAS)))


def test_magnitude_is_mergekits_first_step() -> None:
    from mergekit.sparsify import SparsificationMethod, sparsify

    ours = merge(plan("magnitude", {"a": 1.0}, Magnitude(density=0.4)), sources(a=DELTAS["a"]))
    for name in NAMES:
        whole = DELTAS["a"].factors[name].b @ DELTAS["a"].factors[name].a
        assert torch.equal(ours.tensor(name), sparsify(whole, 0.4, SparsificationMethod.magnitude))
