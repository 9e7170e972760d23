"""What is saved of an adapter: in a checkpoint the training state to the bit, in the end what is right on the base.

checkpoint   adapter_model.safetensors as it is in memory · adapter_config.json
             training.safetensors: every trained tensor by its full name (PEFT's file holds p-tuning's prompts
             without the network that makes them, and AdaLoRA's matrices without the ranks that are masked)
             initial.safetensors: A₀ and B₀ of PiSSA, OLoRA, CorDA, by which the base was changed
end          adapter_model.safetensors · adapter_config.json, for plain `peft` on the untouched base
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lft.base.attach import TRAINED, WEIGHTS
from lft.errors import InputError, TrainingError

TRAINING = "training.safetensors"
INITIAL = "initial.safetensors"
CONFIG = "adapter_config.json"
_ALLOCATOR = "rank_allocator"
_SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")

Tensors = dict[str, torch.Tensor]


def save_weights(model: Any, folder: Path, initial: Mapping[str, torch.Tensor], *, checkpoint: bool) -> None:
    """Write the trained adapter (never those below it) and read it back.

    Args:
        model: the PEFT model.
        folder: an existing folder (a draft; the caller renames it).
        initial: ``Tuned.initial``.
        checkpoint: keep what going on needs; False writes what is used, PiSSA and its like turned into plain LoRA.

    Raises:
        TrainingError: what was read back is not what was in memory, or holds non-finite numbers.
    """
    config = copy.deepcopy(model.peft_config[TRAINED])
    tensors = adapter_state(model)
    if initial and not checkpoint:
        tensors, config = as_plain_lora(tensors, config, initial)
    if not checkpoint and getattr(config, "tokenizer_name_or_path", None):
        _forget_text(config)
    _write(folder / WEIGHTS, tensors)
    config.inference_mode = True
    config.save_pretrained(str(folder))
    if checkpoint:
        _write(folder / TRAINING, training_state(model))
        if initial:
            _write(folder / INITIAL, dict(initial))


def _forget_text(config: Any) -> None:
    """Leave out the text that prompts began as, and the tokenizer that read it: only training needs them."""
    from peft import PromptTuningInit

    config.prompt_tuning_init = PromptTuningInit.RANDOM
    config.prompt_tuning_init_text = config.tokenizer_name_or_path = config.tokenizer_kwargs = None


def adapter_state(model: Any) -> Tensors:
    """The adapter's tensors by PEFT's names, on the CPU, none sharing memory with another."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}


def as_plain_lora(tensors: Tensors, config: Any, initial: Mapping[str, torch.Tensor]) -> tuple[Tensors, Any]:
    """An adapter of a changed base as a LoRA of twice the rank on the untouched one.

    W - s·B₀·A₀ + s·B·A  =  W + s·[B, -B₀]·[A; A₀]. Everything else in the adapter (rows of added tokens, which PEFT's
    own conversion loses) stays as it is; the scale stays too, so alpha grows with the rank.
    """
    config = copy.deepcopy(config)
    made = dict(tensors)
    for name, tensor in tensors.items():
        stem, _, end = name.rpartition(".lora_")
        if end == "A.weight":
            made[name] = torch.cat([tensor, initial[f"{stem}.lora_A"].to(tensor.dtype)], dim=0)
        elif end == "B.weight":
            made[name] = torch.cat([tensor, -initial[f"{stem}.lora_B"].to(tensor.dtype)], dim=1)
    growth = 2**0.5 if config.use_rslora else 2
    config.r *= 2
    config.lora_alpha *= growth
    config.rank_pattern = {key: 2 * value for key, value in (config.rank_pattern or {}).items()}
    config.alpha_pattern = {key: growth * value for key, value in (config.alpha_pattern or {}).items()}
    config.init_lora_weights = True
    return made, config


def training_state(model: Any) -> Tensors:
    """Every trained tensor by its name in the model, and AdaLoRA's importance scores."""
    found = {name: one.detach().cpu().clone().contiguous() for name, one in _trained(model).items()}
    allocator = getattr(model.base_model, "rankallocator", None)
    for kind in _SCORES if allocator is not None else ():
        for name, tensor in getattr(allocator, kind).items():
            found[f"{_ALLOCATOR}.{kind}.{name}"] = tensor.detach().cpu().clone().contiguous()
    return found


def _trained(model: Any) -> dict[str, Any]:
    """Trained parameters, and all of a prompt encoder: Cartridge's frozen first tokens are of chance."""
    every = model.named_parameters()
    return {name: one for name, one in every if one.requires_grad or name.startswith("prompt_encoder.")}


def restore(model: Any, folder: Path) -> None:
    """Give a model made for the same recipe the training state of a checkpoint.

    Raises:
        InputError: the checkpoint is of another adapter.
    """
    from safetensors.torch import load_file

    saved = load_file(folder / TRAINING)
    scores = {name: saved.pop(name) for name in [name for name in saved if name.startswith(f"{_ALLOCATOR}.")]}
    trained = _trained(model)
    wanted = {name: tuple(parameter.shape) for name, parameter in trained.items()}
    there = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    if odd := sorted(set(wanted.items()) ^ set(there.items())):
        raise InputError(f"the checkpoint is of another adapter, first at {odd[0][0]}", where=str(folder))
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name].to(parameter.device, parameter.dtype))
    _restore_allocator(model, scores, folder)


def _restore_allocator(model: Any, scores: Tensors, folder: Path) -> None:
    allocator = getattr(model.base_model, "rankallocator", None)
    if allocator is None:
        return
    device = next(model.parameters()).device
    for kind in _SCORES:
        prefix = f"{_ALLOCATOR}.{kind}."
        found = {key.removeprefix(prefix): t.to(device) for key, t in scores.items() if key.startswith(prefix)}
        setattr(allocator, kind, found)
    saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model.peft_config[TRAINED].rank_pattern = saved["rank_pattern"]


def load_initial(folder: Path) -> Tensors:
    """What ``begin_again`` needs of a checkpoint; empty where the base was not changed."""
    from safetensors.torch import load_file

    tensors: Tensors = load_file(folder / INITIAL) if (folder / INITIAL).is_file() else {}
    return tensors


def _write(path: Path, tensors: Tensors) -> None:
    """Save, read back, compare bit by bit."""
    from safetensors.torch import load_file, save_file

    save_file(tensors, path, metadata={"format": "pt"})
    saved = load_file(path)
    for name, tensor in tensors.items():
        if not torch.equal(saved[name].view(torch.uint8), tensor.view(torch.uint8)):
            raise TrainingError(f"what was saved differs from the model in {name}", where=str(path))
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TrainingError(f"the adapter holds non-finite numbers in {name}", where=str(path))
