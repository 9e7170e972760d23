"""Adapters on a base, strictly: every tensor used, right base, and others kept active and frozen underneath.

input ──▶ W·x ──┬──────────────────────────┬──▶ output       W never changes; each adapter adds its own share,
                ├── below: s₁·B₁·A₁·x ─────┤                  so a stack is the sum of what was trained, and
                └── trained: s₂·B₂·A₂·x ───┘                  nothing is rounded by merging
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.base.binding import Below, Binding
from lft.base.fingerprint import Fingerprint
from lft.errors import InputError
from lft.files import require_whole, sha256

WEIGHTS = "adapter_model.safetensors"
TRAINED = "default"  # PEFT's name for the one adapter of a model
_ROWS = ".token_adapter.trainable_tokens_delta"


@dataclass(frozen=True, slots=True)
class Lower:
    """An adapter that stays active and frozen under the one that is trained or asked."""

    folder: Path
    binding: Binding
    digest: str

    def record(self) -> Below:
        """What the adapter above writes down about it."""
        return Below(str(self.folder.resolve()), self.digest)


def adapter_folder(written: str | Path) -> Path:
    """The folder of an adapter, however it is named: itself, or the run that made it.

    Raises:
        InputError: there is no adapter.
    """
    folder = Path(written).expanduser()
    if (folder / "adapter").is_dir():
        return folder / "adapter"
    if not folder.is_dir() or (folder / "recipe.yaml").is_file():
        why = "this run has no finished adapter" if folder.is_dir() else "there is no such adapter"
        raise InputError(why, where=str(written), fix="give the folder of an adapter, or of a finished run")
    return folder


def lower_adapters(written: Sequence[str | Path], identity: Fingerprint) -> tuple[Lower, ...]:
    """The adapters of ``method.on_top_of``, each after those that it was itself trained on.

    Args:
        written: folders of adapters or runs, lowest first.
        identity: fingerprint of the base.

    Raises:
        InputError: one is not whole, was made on another base, is not what it was, or cannot lie under another.
    """
    found: dict[str, Lower] = {}
    for path in written:
        _collect(adapter_folder(path), None, identity, found)
    return tuple(found.values())


def recorded_adapters(binding: Binding, identity: Fingerprint, where: Path) -> tuple[Lower, ...]:
    """The adapters that an adapter was trained on, as it recorded them.

    Raises:
        InputError: one is gone or changed.
    """
    found: dict[str, Lower] = {}
    for below in binding.below:
        _collect(_recorded_folder(below, where), below.weights, identity, found)
    return tuple(found.values())


def _recorded_folder(below: Below, where: Path) -> Path:
    if not Path(below.path).is_dir():
        raise InputError(
            f"it was trained on top of an adapter that is gone: {below.path}",
            where=str(where),
            fix="put that adapter back to its place",
        )
    return Path(below.path)


def _collect(folder: Path, digest: str | None, identity: Fingerprint, found: dict[str, Lower]) -> None:
    binding = Binding.load(folder)
    require_whole(folder, "the adapter below")
    binding.require(identity, where=str(folder))
    for below in binding.below:
        _collect(_recorded_folder(below, folder), below.weights, identity, found)
    there = sha256(folder / WEIGHTS)
    if digest is not None and there != digest:
        raise InputError(
            f"it changed since another adapter was trained on top of it ({digest[:12]} wanted, {there[:12]} found)",
            where=str(folder),
            fix="put back the adapter as it was, or train the upper one again",
        )
    found.setdefault(there, Lower(folder, binding, there))


def put_below(model: Any, lowers: Sequence[Lower], tokenizer: Any) -> Any:
    """Put frozen adapters on a base.

    Rows of added tokens that they trained replace the base's rows (and those of an untied head) for good: a row is
    stored whole, so the one trained above starts from it.

    Returns:
        A PEFT model with the adapters ``below0``, ``below1``, ...; the base itself when there are none.

    Raises:
        InputError: one is no plain LoRA, or has tokens that this tokenizer does not have.
    """
    for number, lower in enumerate(lowers):
        tensors = _tensors(lower.folder)
        config = _frozen_config(lower)
        _replace_rows(model, lower, tensors, config.trainable_token_indices or {}, tokenizer)
        config.trainable_token_indices = None
        model = _with_lower(model, config, f"below{number}", tensors, lower.folder)
    return model


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(folder / WEIGHTS)
    return tensors


def _frozen_config(lower: Lower) -> Any:
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(lower.folder))
    kind = str(config.peft_type.value).lower()
    special = [name for name in ("use_dora", "modules_to_save", "lora_bias") if getattr(config, name, None)]
    if kind != "lora" or special or config.bias != "none":
        raise InputError(
            f"only a plain LoRA can lie under another adapter, this is {kind} {' '.join(special)}".rstrip(),
            where=str(lower.folder),
            fix="merge it into the base, or train the upper one on the base alone",
        )
    config.inference_mode = True
    config.lora_dropout = 0.0  # it is not trained: what it adds must not depend on chance
    config.init_lora_weights = True  # no start that would look at, or change, the base's weights
    return config


def _replace_rows(
    model: Any, lower: Lower, tensors: dict[str, Any], indices: dict[str, list[int]], tokenizer: Any
) -> None:
    """Move trained rows from the adapter's tensors into the base."""
    import torch

    base = model.get_base_model() if hasattr(model, "peft_config") else model
    names = dict(base.named_modules())
    _require_tokens(lower, sorted({number for ids in indices.values() for number in ids}), tokenizer)
    for key in [key for key in tensors if key.endswith(_ROWS)]:
        path = key.removeprefix("base_model.model.").removesuffix(_ROWS)
        numbers = next(ids for name, ids in indices.items() if path == name or path.endswith(f".{name}"))
        with torch.no_grad():
            weight = names[path].weight
            weight[numbers] = tensors.pop(key).to(weight.device, weight.dtype)


def _require_tokens(lower: Lower, numbers: Sequence[int], tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    if not numbers:
        return
    own = AutoTokenizer.from_pretrained(lower.folder, local_files_only=True)
    wanted, there = own.convert_ids_to_tokens(list(numbers)), tokenizer.convert_ids_to_tokens(list(numbers))
    if odd := [token for token, here in zip(wanted, there, strict=True) if token != here]:
        raise InputError(
            f"it was trained with the token {odd[0]}, which this run does not have",
            where=str(lower.folder),
            fix="use the same data.prompt and data.eoi for both",
        )


def _with_lower(model: Any, config: Any, name: str, tensors: dict[str, Any], folder: Path) -> Any:
    from peft import PeftModel, set_peft_model_state_dict

    if hasattr(model, "peft_config"):
        model.add_adapter(name, config)
    else:
        model = PeftModel(model, config, adapter_name=name)
    _require_same(model, name, {key: tuple(tensor.shape) for key, tensor in tensors.items()}, folder)
    set_peft_model_state_dict(model, tensors, adapter_name=name)
    return model


def put_on(model: Any, folder: Path) -> Any:
    """Put the adapter of a folder on a base, or over the adapters that ``put_below`` put there.

    Raises:
        InputError: it does not fit: a tensor is missing, left over or of another shape.
    """
    from peft import PeftModel

    from lft.base.headers import read_header

    stacked = hasattr(model, "peft_config")
    if stacked:
        lower = list(model.peft_config)
        model.load_adapter(str(folder), TRAINED, is_trainable=False, local_files_only=True)
        model = activate(model, lower)
    else:
        model = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
    saved = {info.name: tuple(info.shape) for info in read_header(folder / WEIGHTS)}
    _require_same(model, TRAINED, saved, folder)
    if model.peft_config[TRAINED].peft_type.value == "ADALORA":  # its forward adds to a loss what only training has
        inner = model.base_model
        inner.forward = lambda *args, **kwargs: inner.model.forward(*args, **kwargs)
    return model.requires_grad_(False).eval()


def activate(model: Any, lower: Sequence[str]) -> Any:
    """Make the adapter on top and all below it take part; only the top one keeps its gradients."""
    model.set_adapter(TRAINED)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if lower:
        model.base_model.set_adapter([*lower, TRAINED])
    keep = {id(parameter) for parameter in trained}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in keep)
    return model


def _require_same(model: Any, name: str, saved: dict[str, tuple[int, ...]], folder: Path) -> None:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    wanted = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if saved != wanted:
        odd = sorted(set(saved.items()) ^ set(wanted.items()))
        raise InputError(f"the adapter does not fit its base, first at {odd[0][0]}", where=str(folder))
