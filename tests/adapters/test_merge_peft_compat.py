"""compat:peft-* are PEFT's own numbers, bit for bit; when PEFT changes them, these tests say so."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lft.adapters.algebra.peft import PeftAdapter, PeftModule, as_delta, natural
from lft.adapters.algebra.table import METHODS
from lft.errors import InputError
from tests.merging import distance
from tests.tiny import tiny_model

COMPAT = sorted(name.removeprefix("compat:peft-") for name in METHODS if name.startswith("compat:"))
EXPECTED = {
    "linear", "cat", "svd", "magnitude_prune", "magnitude_prune_svd", "ties", "ties_svd", "dare_linear",
    "dare_linear_svd", "dare_ties", "dare_ties_svd",
}  # fmt: skip


def peft_model(configs: dict[str, LoraConfig], family: str = "llama") -> Any:
    """A tiny model with adapters whose A and B are random."""
    first, *rest = configs
    model = get_peft_model(tiny_model(family, 120), copy.deepcopy(configs[first]), adapter_name=first)
    for name in rest:
        model.add_adapter(name, copy.deepcopy(configs[name]))
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    return model


def seen(model: Any, name: str) -> PeftAdapter:
    """An adapter of a PEFT model."""
    modules = {}
    for path, layer in model.base_model.model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        if name in layer.lora_A:
            a, b, embedding = layer.lora_A[name].weight, layer.lora_B[name].weight, False
        elif name in layer.lora_embedding_A:
            a, b, embedding = layer.lora_embedding_A[name], layer.lora_embedding_B[name], True
        else:
            continue
        transposed = bool(getattr(layer, "fan_in_fan_out", False)) and not embedding
        modules[path] = PeftModule(a.data.clone(), b.data.clone(), layer.scaling[name], embedding, transposed)
    config = model.peft_config[name]
    order = tuple(path for path, _ in model.base_model.model.named_modules())
    return PeftAdapter(modules, max(config.r, *config.rank_pattern.values(), 1), config.use_rslora, order)


def lora(r: int = 4, alpha: float = 8, targets: list[str] | None = None, **also: Any) -> LoraConfig:
    return LoraConfig(r=r, lora_alpha=alpha, target_modules=targets or ["q_proj", "v_proj", "embed_tokens"], **also)


CASES = {
    "plain": {"a": lora(), "b": lora(alpha=3)},
    "three": {"a": lora(), "b": lora(alpha=3), "c": lora(alpha=1)},
    "one": {"a": lora()},
    "rslora": {"a": lora(use_rslora=True), "b": lora(use_rslora=True)},
    "other targets": {"a": lora(targets=["q_proj", "k_proj"]), "b": lora(targets=["q_proj", "up_proj"])},
    "other ranks": {"a": lora(r=2), "b": lora(r=6)},
    "rank pattern": {"a": lora(rank_pattern={"q_proj": 6}), "b": lora(r=6)},
}
WEIGHTS = {"a": 0.7, "b": -0.4, "c": 1.2}
SAME_RANK = {"linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"}


def ours(combination: str, adapters: list[PeftAdapter], weights: list[float], **settings: Any) -> PeftAdapter:
    method = METHODS[f"compat:peft-{combination}"]
    found: PeftAdapter = method.run(adapters, weights, method.parameters(**settings))
    return found


def theirs(model: Any, combination: str, refs: list[str], weights: list[float], **settings: Any) -> PeftAdapter:
    seed = settings.pop("seed", None)
    if seed is not None:
        torch.manual_seed(seed)
    inject = model.base_model.inject_adapter
    state: dict[str, torch.Tensor] = {}

    def keeping_the_generator(*args: Any, **kwargs: Any) -> None:
        state["was"] = torch.random.get_rng_state()
        inject(*args, **kwargs)
        torch.random.set_rng_state(state["was"])  # the new adapter's own start draws numbers first

    model.base_model.inject_adapter = keeping_the_generator
    model.add_weighted_adapter(refs, weights, "merged", combination, **settings)
    return seen(model, "merged")


def settings_of(combination: str) -> dict[str, Any]:
    keys = METHODS[f"compat:peft-{combination}"].keys
    return {key: value for key, value in {"density": 0.4, "seed": 11}.items() if key in keys}


def require_equal(found: PeftAdapter, wanted: PeftAdapter) -> None:
    assert set(found.modules) == set(wanted.modules)
    for name, one in wanted.modules.items():
        mine = found.modules[name]
        assert torch.equal(mine.a, one.a), name
        assert torch.equal(mine.b, one.b), name
        assert mine.scaling == one.scaling, name


def test_all_of_pefts_combinations_are_here() -> None:
    import inspect
    from typing import get_args, get_type_hints

    from peft.tuners.lora.model import LoraModel

    hints = get_type_hints(LoraModel.add_weighted_adapter)
    assert set(get_args(hints["combination_type"])) == EXPECTED == set(COMPAT)
    assert "svd_full_matrices" in inspect.signature(LoraModel.add_weighted_adapter).parameters


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("combination", COMPAT)
def test_the_numbers_are_pefts_bit_for_bit(combination: str, case: str) -> None:
    model = peft_model(CASES[case])
    refs = list(CASES[case])
    adapters, weights = [seen(model, ref) for ref in refs], [WEIGHTS[ref] for ref in refs]
    settings = settings_of(combination)
    if combination in SAME_RANK and len({one.rank for one in adapters}) > 1:
        with pytest.raises(InputError, match="wants one rank"):
            ours(combination, adapters, weights, **settings)
        with pytest.raises(ValueError, match="same r value"):
            theirs(model, combination, refs, weights, **settings)
        return
    if combination in SAME_RANK and case == "rank pattern":  # PEFT looks at the largest rank alone and fails later
        with pytest.raises(InputError, match="wants one rank"):
            ours(combination, adapters, weights, **settings)
        with pytest.raises(RuntimeError, match="equal size"):
            theirs(model, combination, refs, weights, **settings)
        return
    require_equal(
        ours(combination, adapters, weights, **settings), theirs(model, combination, refs, weights, **settings)
    )


@pytest.mark.parametrize("combination", ["linear", "cat", "svd", "ties_svd"])
def test_conv1d_is_pefts_too(combination: str) -> None:
    configs = {
        ref: LoraConfig(r=4, lora_alpha=a, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
        for ref, a in (("a", 8), ("b", 2))
    }
    model = peft_model(configs, "gpt2")
    adapters = [seen(model, "a"), seen(model, "b")]
    assert all(one.transposed for one in adapters[0].modules.values())
    settings = settings_of(combination)
    found = ours(combination, adapters, [0.5, 0.5], **settings)
    require_equal(found, theirs(model, combination, ["a", "b"], [0.5, 0.5], **settings))
    delta = as_delta(found)
    for path, layer in model.base_model.model.named_modules():
        if hasattr(layer, "lora_A"):
            low = delta.factors[f"{path}.weight"]
            assert distance(low.b @ low.a, layer.get_delta_weight("merged").detach()) < 1e-5


def test_without_the_models_order_random_numbers_fall_on_other_modules() -> None:
    model = peft_model(CASES["other targets"])
    adapters = [seen(model, ref) for ref in "ab"]
    wanted = theirs(model, "dare_linear", ["a", "b"], [0.5, 0.5], density=0.5, seed=1)
    found = ours("dare_linear", [replace(one, order=()) for one in adapters], [0.5, 0.5], density=0.5, seed=1)
    assert any(not torch.equal(found.modules[name].a, one.a) for name, one in wanted.modules.items())


def test_the_svd_rank_and_the_frequency_vote_are_passed_on() -> None:
    model = peft_model(CASES["three"])
    adapters = [seen(model, ref) for ref in "abc"]
    found = ours("ties_svd", adapters, [1.0, 1.0, 1.0], density=0.5, majority_sign_method="frequency", svd_rank=3)
    wanted = theirs(
        model, "ties_svd", ["a", "b", "c"], [1.0, 1.0, 1.0], density=0.5, majority_sign_method="frequency", svd_rank=3
    )
    require_equal(found, wanted)
    assert found.rank == 3


def product(adapter: PeftAdapter) -> torch.Tensor:
    return torch.cat([one.delta.flatten().double() for one in adapter.modules.values()])


def test_known_fault_linear_has_cross_terms() -> None:
    """peft#3004: registry.md 2.2 states sqrt(T - 1) for independent adapters and T times for equal ones."""
    model = peft_model({ref: lora(targets=["q_proj", "v_proj"]) for ref in "ab"})
    a, b = seen(model, "a"), seen(model, "b")
    wrong = product(theirs(model, "linear", ["a", "b"], [0.5, 0.5]))
    assert distance(wrong, 0.5 * product(a) + 0.5 * product(b)) == pytest.approx(1.0, abs=0.25)
    assert distance(product(ours("linear", [a, a], [0.5, 0.5])), 2 * product(a)) < 1e-5


def test_known_fault_rslora_scales_the_result_again() -> None:
    """peft#3761: the result is sqrt(r) too large."""
    model = peft_model(CASES["rslora"])
    wanted = 0.5 * product(seen(model, "a")) + 0.5 * product(seen(model, "b"))
    found = product(theirs(model, "cat", ["a", "b"], [0.5, 0.5]))
    assert distance(found, math.sqrt(8) * wanted) < 1e-5


def test_numbers_in_names_sort_by_value() -> None:
    names = ["h.10.attn", "h.2.attn", "h.2", "wte"]
    assert sorted(names, key=natural) == ["h.2", "h.2.attn", "h.10.attn", "wte"]
