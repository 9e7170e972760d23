"""Saving a fully tuned model: a folder that plain `transformers` loads, read back before it counts as saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lft.base.binding import Binding
from lft.base.headers import read_headers
from lft.data.prompts import PROMPT_FILE, PromptFormat
from lft.errors import InputError, TrainingError
from lft.files import write_text


def save_full(
    model: Any, state: Mapping[str, torch.Tensor], tokenizer: Any, binding: Binding, form: PromptFormat, folder: Path
) -> None:
    """Write a model and read it back.

    Args:
        model: the model, for its configuration; its parameters may be shards.
        state: its whole weights by name; tied ones may appear under each of their names.
        tokenizer: with the added tokens.
        binding: base and recipe.
        form: the prompt format it was trained in.
        folder: an existing folder (a draft; the caller renames it).

    Raises:
        TrainingError: what was read back is not what was in memory, or holds non-finite numbers.
    """
    model.save_pretrained(folder, state_dict=dict(state))
    tokenizer.save_pretrained(folder)
    binding.save(folder)
    write_text(folder / PROMPT_FILE, form.to_json() + "\n")
    verify_full(model, state, folder)


def verify_full(model: Any, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Compare the saved tensors with those in memory: every parameter there, in its whole shape, bit for bit."""
    saved = saved_tensors(model, folder)
    _require_complete(model, saved, folder)
    for name, read in saved.items():
        there, wanted = read(), state[name].detach().cpu()
        if there.shape != wanted.shape or not torch.equal(there, wanted):
            raise TrainingError(f"the saved model differs from the trained one in {name}", where=str(folder))
        if not torch.isfinite(there).all():
            raise TrainingError(f"the model holds non-finite numbers in {name}", where=str(folder))
        if there.ndim > 1 and not torch.count_nonzero(there):
            raise TrainingError(f"{name} was saved as nothing but zeros", where=str(folder))


def saved_tensors(model: Any, folder: Path) -> dict[str, Callable[[], torch.Tensor]]:
    """What a folder holds, by the model's names, each read when it is asked for.

    transformers writes some families (GPT-NeoX) under the names of their first release; those are read back whole.
    """
    files = {info.name: info.file for info in read_headers(folder)}
    if files.keys() <= model.state_dict().keys():
        return {name: partial(_tensor, file, name) for name, file in files.items()}
    with _whole_models():
        again = type(model).from_pretrained(folder, dtype=model.dtype, local_files_only=True)
    own = dict(again.named_parameters(remove_duplicate=True))
    return {name: partial(torch.Tensor.detach, tensor) for name, tensor in own.items()}


@contextmanager
def _whole_models() -> Iterator[None]:
    """While the block runs, transformers loads a model for this process alone; under ZeRO-3 it would wait for the other
    processes to take their parts, and only the first one reads back.
    """
    from transformers.integrations import deepspeed

    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference


def _tensor(file: Path, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stream:
        tensor: torch.Tensor = stream.get_tensor(name)
    return tensor


def _require_complete(model: Any, saved: Mapping[str, Callable[[], torch.Tensor]], folder: Path) -> None:
    """Each parameter under one of its names (tied ones have several), in its whole shape (a shard has ``ds_shape``)."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    shapes = {id(p): tuple(getattr(p, "ds_shape", p.shape)) for p in model.parameters()}
    for number, alike in names.items():
        there = [name for name in alike if name in saved]
        if not there:
            raise TrainingError(f"the saved model lacks {alike[0]}", where=str(folder))
        if (shape := tuple(saved[there[0]]().shape)) != shapes[number]:
            raise TrainingError(f"{there[0]} was saved as {shape}, not {shapes[number]}", where=str(folder))


def load_full(model: Any, folder: Path) -> None:
    """Give a model, changed in place, the weights of a checkpoint.

    Raises:
        InputError: the checkpoint is of another model.
    """
    own, saved = model.state_dict(), saved_tensors(model, folder)
    tied = set(model.all_tied_weights_keys or ())
    parameters = dict(model.named_parameters())
    if odd := sorted((saved.keys() - own.keys()) | (parameters.keys() - saved.keys() - tied)):
        raise InputError(f"the checkpoint is of another model, first at {odd[0]}", where=str(folder))
    with torch.no_grad():
        for name, read in saved.items():
            tensor = read()
            if tensor.shape != own[name].shape or tensor.dtype != own[name].dtype:
                raise InputError(f"the checkpoint is of another model, first at {name}", where=str(folder))
            own[name].copy_(tensor)
