"""How LoRA's matrices begin, where it is not at random: PiSSA, OLoRA, CorDA, EVA, LoftQ.

PiSSA, OLoRA, CorDA   W  =  (W - s·B₀·A₀) + s·B₀·A₀     the base loses what the adapter begins with; what is saved
                                                       in the end is B·A - B₀·A₀, right on the untouched W
EVA                   A₀ from the layer's inputs, B₀ = 0
LoftQ                 s·B₀·A₀ ≈ W - Q(W)               what quantization lost
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lft.base.attach import TRAINED, activate
from lft.errors import InputError, RecipeError
from lft.recipe.kinds import CALIBRATED, CHANGES_BASE
from lft.train.calibrate import corda_pass, eva_batches
from lft.train.peft_config import peft_errors

Initial = Mapping[str, torch.Tensor]


def wrapped(model: Any, config: Any) -> Any:
    """A PEFT model with a new adapter on a base, or over adapters that are frozen under it."""
    from peft import get_peft_model

    if not hasattr(model, "peft_config"):
        return get_peft_model(model, config)
    lower = list(model.peft_config)
    model.add_adapter(TRAINED, config)
    return activate(model, lower)


def begin(model: Any, kind: str, config: Any, rows: Sequence[Sequence[int]]) -> tuple[Any, Initial]:
    """A PEFT model whose new adapter begins as its kind says, and the matrices it began with where those matter.

    Args:
        model: the base.
        kind: the recipe's ``method.kind``.
        config: from ``peft_config``.
        rows: sequences of token ids that EVA and CorDA look at.

    Raises:
        RecipeError: there are too few rows, the base is no decoder, or the adapter does not begin as the base.
    """
    if kind in CALIBRATED and model.config.is_encoder_decoder:
        raise RecipeError(f"method.kind {kind} looks at rows of a decoder, this base has an encoder", fix="use pissa")
    if kind == "loftq":
        tuned = wrapped(model, config)
        _begin_loftq(tuned)
        return tuned, {}
    if kind == "eva":
        tuned = _begin_eva(model, config, rows)
    elif kind in CHANGES_BASE:
        tuned = _begin_changed(model, kind, config, rows)
    else:
        return wrapped(model, config), {}
    # From here on it is a plain LoRA: nothing may look at the weights again.
    tuned.peft_config[TRAINED].init_lora_weights = True
    return tuned, initial_of(tuned) if kind in CHANGES_BASE else {}


def begin_again(model: Any, config: Any, initial: Initial) -> Any:
    """The PEFT model that ``begin`` made once, from what was saved then, bit for bit and without looking at rows."""
    tuned = wrapped(model, config)
    for name, layer in _layers(tuned):
        if initial:
            a, b = initial[f"{name}.lora_A"], initial[f"{name}.lora_B"]
            _subtract(layer, a, b)
    return tuned


def initial_of(tuned: Any) -> dict[str, torch.Tensor]:
    """Copies of the adapter's matrices, by the full name of their layer."""
    found = {}
    for name, layer in _layers(tuned):
        found[f"{name}.lora_A"] = layer.lora_A[TRAINED].weight.detach().cpu().clone()
        found[f"{name}.lora_B"] = layer.lora_B[TRAINED].weight.detach().cpu().clone()
    return found


def _layers(tuned: Any) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, module in tuned.named_modules():
        if isinstance(module, LoraLayer) and TRAINED in module.lora_A:
            yield name, module


def _subtract(layer: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """W - s·B·A, computed in float32 and rounded once."""
    weight = layer.get_base_layer().weight
    a, b = a.to(weight.device, torch.float32), b.to(weight.device, torch.float32)
    full = weight.data.to(torch.float32)
    full = (full.T if layer.fan_in_fan_out else full) - layer.scaling[TRAINED] * b @ a
    layer.get_base_layer().weight.data = (full.T if layer.fan_in_fan_out else full).to(weight.dtype)


def _begin_changed(model: Any, kind: str, config: Any, rows: Sequence[Sequence[int]]) -> Any:
    before = _probe(model)
    # PEFT subtracts before it rounds B and A to the base's dtype, so with 16-bit weights the two do not cancel.
    # Subtracting what the adapter really holds from the weights as they were does, and can be done again bit for bit.
    # It costs one more copy of the adapted weights while it lasts.
    original = {name: model.get_submodule(name).weight.detach().cpu().clone() for name in config.target_modules}
    with peft_errors(kind):
        if kind == "corda":
            from peft.tuners.lora.config import CordaConfig
            from peft.tuners.lora.corda import preprocess_corda

            config.corda_config = config.corda_config or CordaConfig()
            with corda_pass(model, rows) as run:
                preprocess_corda(model, config, run_model=run)
        tuned = wrapped(model, config)
    for name, layer in _layers(tuned):
        if kind == "olora" and layer.fan_in_fan_out:
            raise RecipeError(
                f"method.kind olora takes transposed layers ({name.rsplit('.', 1)[-1]}) the wrong way round",
                fix="use pissa",
            )
        weight = layer.get_base_layer().weight
        weight.data = original[name.removeprefix("base_model.model.")].to(weight.device)
        _subtract(layer, layer.lora_A[TRAINED].weight.data, layer.lora_B[TRAINED].weight.data)
    for module in model.modules():
        if hasattr(module, "eigens"):
            del module.eigens
    config.corda_config = None
    _require_same_start(kind, before, _probe(tuned))
    return tuned


def _probe(model: Any) -> torch.Tensor:
    ids = torch.tensor([[1, 2, 3]], device=model.device)
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    training = model.training
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False, **decoder).logits.float()
    model.train(training)
    return logits


def _require_same_start(kind: str, before: torch.Tensor, after: torch.Tensor) -> None:
    """Base without what was taken out, and the adapter, must give the base."""
    measured = float((after - before).abs().max() / before.abs().max().clamp(min=1e-12))
    if not measured <= 3e-2:  # rounding of bfloat16 weights; a wrong start is off by ones
        raise RecipeError(
            f"method.kind {kind} does not begin as the base on this model (logits differ by {measured:.0%})",
            fix="choose another method.kind",
        )


def _begin_eva(model: Any, config: Any, rows: Sequence[Sequence[int]]) -> Any:
    from peft import get_eva_state_dict, initialize_lora_eva_weights
    from peft.tuners.lora.config import EvaConfig

    config.eva_config = config.eva_config or EvaConfig()
    with peft_errors("eva"):
        # On the base and not on the PEFT model: there it takes the embedding of an added token for a linear layer.
        with eva_batches(model, rows, round(config.r * config.eva_config.rho)) as batches:
            found = get_eva_state_dict(model, batches, config, show_progress_bar=False, gather_distributed_inputs=False)
        tuned = wrapped(model, config)
        named = {f"base_model.model.{name}": directions for name, directions in found.items()}
        initialize_lora_eva_weights(tuned, eva_state_dict=named)
    tuned.peft_config[TRAINED].eva_config = None
    return tuned


def _begin_loftq(tuned: Any) -> None:
    """LoftQ (arXiv 2310.08659) with one step: the best matrices of rank r for what quantization lost.

    PEFT 0.21's own needs CUDA and leaves out the scale s, so it is right for alpha = r only.
    """
    import bitsandbytes.functional as bnb
    from safetensors import safe_open

    folder = Path(tuned.config.name_or_path)
    files = _tensor_files(folder, tuned.get_base_model().base_model_prefix)
    for name, layer in _layers(tuned):
        weight = layer.get_base_layer().weight
        key = name.removeprefix("base_model.model.") + ".weight"
        if key not in files:
            raise InputError(f"the checkpoint has no tensor {key}, so LoftQ cannot compare", where=str(folder))
        path, stored = files[key]
        with safe_open(path, "pt") as tensors:
            lost = tensors.get_tensor(stored).to(weight.device, torch.float32)
        lost = lost - bnb.dequantize_4bit(weight.data, weight.quant_state).to(torch.float32)
        left, values, right = torch.linalg.svd(lost, full_matrices=False)
        rank = layer.r[TRAINED]
        roots = (values[:rank] / layer.scaling[TRAINED]).sqrt()
        layer.lora_A[TRAINED].weight.data = (roots[:, None] * right[:rank]).contiguous()
        layer.lora_B[TRAINED].weight.data = (left[:, :rank] * roots).contiguous()


def _tensor_files(folder: Path, prefix: str) -> dict[str, tuple[Path, str]]:
    """File and stored name of each tensor; some checkpoints leave out the name of the inner model."""
    from lft.base.headers import read_header

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        for info in read_header(path):
            found[info.name] = (path, info.name)
            found.setdefault(f"{prefix}.{info.name}", (path, info.name))
    return found
