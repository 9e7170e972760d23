"""An adapter put on its base, strictly: right base, right rows, every tensor used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.binding import Binding
from lft.base.device import device_and_dtype
from lft.base.fingerprint import fingerprint
from lft.base.load import load_model
from lft.base.resolve import resolve_base
from lft.errors import InputError
from lft.files import require_whole
from lft.recipe.schema import Base


@dataclass(frozen=True, slots=True)
class Adapted:
    """A base with an adapter on it, ready to generate."""

    model: Any
    tokenizer: Any
    binding: Binding
    folder: Path


def load_adapted(folder: Path, cache: Path, notify: Callable[[str], None]) -> Adapted:
    """Load the base that an adapter names and put the adapter on it.

    Args:
        folder: an adapter's folder, written by lft.
        cache: where converted bases and fingerprints are kept.
        notify: told what takes long.

    Raises:
        InputError: the folder is not whole, or the base is not the one it was trained on.
    """
    if not folder.is_dir():
        raise InputError("there is no such adapter", where=str(folder), fix="look under runs/ for an adapter/ folder")
    binding = Binding.load(folder)
    require_whole(folder, "the adapter")
    base = resolve_base(Base(model=binding.base, revision=binding.revision), cache, notify)
    binding.require(fingerprint(base.folder, cache), where=str(folder))
    placement = device_and_dtype("auto")
    model = load_model(base, placement.dtype, placement.device, notify=notify)
    tokenizer = _tokenizer(folder)
    _grow(model, binding, tokenizer)
    return Adapted(_with_adapter(model, folder), tokenizer, binding, folder)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _grow(model: Any, binding: Binding, tokenizer: Any) -> None:
    """The rows of added tokens, filled as at training; the adapter's own rows then replace them."""
    from lft.base.tokens import grow_rows

    rows = model.get_input_embeddings().weight.shape[0]
    if binding.rows > rows:
        grow_rows(model, binding.rows)
    if len(tokenizer) > binding.rows:
        raise InputError(f"its tokenizer has {len(tokenizer):,} tokens for {binding.rows:,} rows", where=binding.base)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    from lft.base.headers import read_header

    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
    saved = {info.name: tuple(info.shape) for info in read_header(folder / "adapter_model.safetensors")}
    if saved != wanted:
        odd = sorted(set(saved.items()) ^ set(wanted.items()))
        raise InputError(f"the adapter does not fit its base, first at {odd[0][0]}", where=str(folder))
    return adapted.eval()
