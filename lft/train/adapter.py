"""Saving an adapter: a PEFT folder that plain `peft` loads, with the prompt format and the base's identity inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lft.base.binding import Binding
from lft.data.prompts import PROMPT_FILE, PromptFormat
from lft.files import write_text
from lft.train.methods import Tuned
from lft.train.weights import save_weights


def save_adapter(
    tuned: Tuned, tokenizer: Any, binding: Binding, form: PromptFormat, folder: Path, *, checkpoint: bool = False
) -> None:
    """Write an adapter and read it back.

    Args:
        tuned: the PEFT model.
        tokenizer: with the added tokens.
        binding: base and recipe.
        form: the prompt format it was trained in.
        folder: an existing folder (a draft; the caller renames it).
        checkpoint: keep what going on needs (``lft.train.weights``).

    Raises:
        TrainingError: what was read back is not what was in memory, or holds non-finite numbers.
    """
    save_weights(tuned.model, folder, tuned.initial, checkpoint=checkpoint)
    tokenizer.save_pretrained(folder)
    binding.save(folder)
    write_text(folder / PROMPT_FILE, form.to_json() + "\n")
