"""What was tuned, ready to generate: an adapter put on its base strictly, or a whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.attach import Find, nowhere, put_alone, put_below, put_on, recorded_adapters
from lft.base.binding import Binding
from lft.base.device import device_and_dtype
from lft.base.fingerprint import fingerprint
from lft.base.load import load_model
from lft.base.places import or_remembered, recorded_base
from lft.base.quantize import quantization
from lft.base.resolve import BaseRef, resolve_base
from lft.errors import InputError
from lft.files import require_whole
from lft.recipe.schema import Base


@dataclass(frozen=True, slots=True)
class Adapted:
    """A base with an adapter on it, or a model that was tuned whole, ready to generate."""

    model: Any
    tokenizer: Any
    binding: Binding
    folder: Path


def load_adapted(
    folder: Path,
    cache: Path,
    notify: Callable[[str], None],
    quantized: bool = True,
    find: Find = nowhere,
    base: str | None = None,
) -> Adapted:
    """Load the base that an adapter names, the adapters that it was trained on, and the adapter; or a stack's.

    Args:
        folder: an adapter's or a stack's folder, written by lft.
        cache: where converted bases and fingerprints are kept.
        notify: told what takes long.
        quantized: quantize the base as it was at training (the adapter learned to work with its rounding); False puts
            the adapter on the base as it is stored.
        find: asked for an adapter below it that is not where it was (a registry).
        base: where its base is, if not where it was.

    Raises:
        InputError: the folder is not whole, the base is not the one it was trained on, or an adapter below is gone or
            changed.
        MachineError: the base is quantized and bitsandbytes is missing.
    """
    if not folder.is_dir():
        raise InputError("there is no such adapter", where=str(folder), fix="look under runs/ for an adapter/ folder")
    binding = Binding.load(folder)
    require_whole(folder, "the adapter")
    placement = device_and_dtype("auto")
    named = (base, None) if base else recorded_base(binding, folder, cache)
    wanted = _base(binding, named, quantized, placement.device)
    ref = resolve_base(wanted, cache, notify)
    identity = fingerprint(ref.folder, cache)
    binding.require(identity, where=str(folder))
    ref.remember(cache, identity.weights)
    lowers = recorded_adapters(binding, identity, folder, or_remembered(find, cache))
    stored = quantization(wanted, placement)
    model = load_model(ref, placement.dtype, placement.device, notify=notify, quantization=stored)
    tokenizer = _tokenizer(folder)
    _grow(model, binding, tokenizer)
    floor = put_below(model, lowers, tokenizer)
    return Adapted(put_alone(floor) if binding.stack else put_on(floor, folder), tokenizer, binding, folder)


def load_tuned(folder: Path, notify: Callable[[str], None]) -> Adapted:
    """Load a model of which every weight was trained.

    Args:
        folder: a model's folder, written by lft.
        notify: told what takes long.

    Raises:
        InputError: the folder is not whole.
    """
    binding = Binding.load(folder)
    require_whole(folder, "the model")
    placement = device_and_dtype("auto")
    here = BaseRef(str(folder), "folder", folder, None, False)
    notify(f"loading {folder}")
    model = load_model(here, placement.dtype, placement.device, notify=notify)
    return Adapted(model.eval(), _tokenizer(folder), binding, folder)


def _base(binding: Binding, named: tuple[str, str | None], quantized: bool, device: str) -> Base:
    model, revision = named
    if not quantized:
        return Base(model=model, revision=revision)
    fits = not (device == "cpu" and binding.compute_dtype == "float16")  # what a GPU computed in, a CPU may not
    return Base(
        model=model,
        revision=revision,
        quantize=binding.quantize,
        double_quant=binding.double_quant,
        compute_dtype=binding.compute_dtype if fits else "auto",
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _grow(model: Any, binding: Binding, tokenizer: Any) -> None:
    """The rows of added tokens, filled as at training; the adapters' own rows then replace them."""
    from lft.base.tokens import grow_rows

    rows = model.get_input_embeddings().weight.shape[0]
    if binding.rows > rows:
        grow_rows(model, binding.rows)
    if len(tokenizer) > binding.rows:
        raise InputError(f"its tokenizer has {len(tokenizer):,} tokens for {binding.rows:,} rows", where=binding.base)
