"""Saving an adapter: a PEFT folder that plain `peft` loads, with the prompt format and the base's identity inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lft.base.binding import Binding
from lft.data.prompts import PROMPT_FILE, PromptFormat
from lft.errors import TrainingError
from lft.files import write_text


def save_adapter(model: Any, tokenizer: Any, binding: Binding, form: PromptFormat, folder: Path) -> None:
    """Write an adapter and read it back.

    Args:
        model: the PEFT model.
        tokenizer: with the added tokens.
        binding: base and recipe.
        form: the prompt format it was trained in.
        folder: an existing folder (a draft; the caller renames it).

    Raises:
        TrainingError: what was read back is not what was in memory, or holds non-finite numbers.
    """
    # save_embedding_layers=False: added rows travel as trainable tokens, not as the whole embedding matrix.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card template says nothing that is true of this run
    tokenizer.save_pretrained(folder)
    binding.save(folder)
    write_text(folder / PROMPT_FILE, form.to_json() + "\n")
    verify_adapter(model, folder)


def verify_adapter(model: Any, folder: Path) -> None:
    """Compare the saved tensors with the model's: same names and bits, all finite."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    if saved.keys() != wanted.keys():
        odd = sorted(saved.keys() ^ wanted.keys())
        raise TrainingError(f"the saved adapter lacks or adds tensors: {', '.join(odd[:3])}", where=str(folder))
    for name, tensor in wanted.items():
        if not torch.equal(saved[name], tensor.detach().cpu()):
            raise TrainingError(f"the saved adapter differs from the model in {name}", where=str(folder))
        if not torch.isfinite(tensor).all():
            raise TrainingError(f"the adapter holds non-finite numbers in {name}", where=str(folder))
