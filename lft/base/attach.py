"""Adapters on a base, strictly: every tensor used, right base, and others kept active and frozen underneath.

input ──▶ W·x ──┬──────────────────────────┬──▶ output       W never changes; each adapter adds its own share,
                ├── below: s₁·B₁·A₁·x ─────┤                  so a stack is the sum of what was trained, and
                └── trained: s₂·B₂·A₂·x ───┘                  nothing is rounded by merging
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lft.base.binding import Below, Binding
from lft.base.fingerprint import Fingerprint
from lft.base.identity import WEIGHTS as WEIGHTS
from lft.base.identity import Identity, identity
from lft.base.places import folder_name
from lft.base.rows import Rows, put_rows
from lft.errors import InputError
from lft.files import require_whole

TRAINED = "default"  # PEFT's name for the one adapter of a model
_ROWS = ".token_adapter.trainable_tokens_delta"
_WHOLE = Below("", "")
Find = Callable[[str], Path | None]
"""The folder of an adapter by its identity (a registry); None where it is not known."""


def nowhere(adapter: str) -> Path | None:  # noqa: ARG001
    """No registry at hand."""
    return None


@dataclass(frozen=True, slots=True)
class Lower:
    """An adapter that stays active and frozen under the one that is trained or asked; ``share`` says how much of it."""

    folder: Path
    binding: Binding
    identity: Identity
    share: Below = _WHOLE

    @property
    def name(self) -> str:
        """What others may call it: the name it was trained under, else that of its folder."""
        return folder_name(self.binding.name or self.folder)

    @property
    def digest(self) -> str:
        """The adapter's identity."""
        return self.identity.digest

    def record(self) -> Below:
        """What the adapter above writes down about it."""
        return replace(self.share, path=self.name, weights=self.digest)


def adapter_folder(written: str | Path) -> Path:
    """The folder of an adapter, however it is named: itself, or the run that made it.

    Raises:
        InputError: there is no adapter.
    """
    folder = Path(os.path.expanduser(written))  # Path.expanduser fails for a user that is not there
    if (folder / "adapter").is_dir():
        return folder / "adapter"
    if not folder.is_dir() or (folder / "recipe.yaml").is_file():
        why = "this run has no finished adapter" if folder.is_dir() else "there is no such adapter"
        raise InputError(why, where=str(written), fix="give the folder of an adapter, or of a finished run")
    return folder


def lower_adapters(written: Sequence[str | Path], base: Fingerprint, find: Find = nowhere) -> tuple[Lower, ...]:
    """The adapters of ``method.on_top_of``, each after those that it was itself trained on.

    Args:
        written: folders of adapters, stacks or runs, lowest first.
        base: fingerprint of the base.
        find: asked by its identity for one below them that is not where it was.

    Raises:
        InputError: one is not whole, was made on another base, is not what it was, or cannot lie under another.
    """
    found = _Collected(base, find)
    for path in written:
        found.ask(adapter_folder(path))
    return tuple(found.lowers.values())


def recorded_adapters(binding: Binding, base: Fingerprint, where: Path, find: Find = nowhere) -> tuple[Lower, ...]:
    """The adapters that an adapter was trained on, or that a stack is made of, as it recorded them.

    Args:
        binding: of the adapter or stack.
        base: fingerprint of the base.
        where: its folder.
        find: asked by its identity for one that is not where it was.

    Raises:
        InputError: one is gone or changed.
    """
    found = _Collected(base, find)
    found.recorded(binding.below, where, asked=True)
    return tuple(found.lowers.values())


def recorded_folder(below: Below, where: Path, find: Find) -> Path:
    """Where a recorded adapter is now. Raises InputError where it is gone."""
    there = Path(os.path.normpath(where / below.path))
    if there.is_dir():
        return there
    folder = find(below.weights)
    if folder is None:
        raise InputError(
            f"it was trained on top of an adapter that is gone: {below.path}",
            where=str(where),
            fix="add it to the registry where it lies now: lft adapters add FOLDER",
        )
    return folder


@dataclass(slots=True)
class _Collected:
    """Adapters by their identity, lowest first; ``implied`` are those that nobody asked for by name."""

    base: Fingerprint
    find: Find
    lowers: dict[str, Lower] = field(default_factory=dict)
    implied: set[str] = field(default_factory=set)

    def ask(self, folder: Path) -> None:
        """One that was asked for, with all that it needs under it."""
        binding = Binding.load(folder)
        if not binding.stack:
            self.one(folder, _WHOLE, asked=True)
            return
        require_whole(folder, "the stack")
        binding.require(self.base, where=str(folder))
        self.recorded(binding.below, folder, asked=True)

    def recorded(self, belows: Sequence[Below], where: Path, *, asked: bool) -> None:
        """Those that an adapter or a stack recorded; what was asked for by name stays as it was asked for."""
        before = max((one.share.sum for one in self.lowers.values()), default=0)
        for below in belows:
            share = replace(below, sum=below.sum + before) if below.sum else below
            known = next((one for one in self.lowers.values() if one.identity.is_meant(below.weights)), None)
            if known is None or asked:
                self.one(recorded_folder(below, where, self.find), share, asked=asked)
            elif known.digest in self.implied and not _alike(known.share, share):
                raise self.torn(known, share)

    def one(self, folder: Path, share: Below, *, asked: bool) -> None:
        """One adapter after those that it was trained on."""
        binding = Binding.load(folder)
        require_whole(folder, "the adapter below")
        binding.require(self.base, where=str(folder))
        self.recorded(binding.below, folder, asked=False)
        found = identity(folder)
        there = found.digest
        if share.weights and not found.is_meant(share.weights):
            raise InputError(
                f"it changed since another adapter was trained on top of it, in its tensors or in what its "
                f"configuration makes of them ({share.weights[:12]} wanted, {there[:12]} found)",
                where=str(folder),
                fix="put back the adapter as it was, or train the upper one again",
            )
        known = self.lowers.get(there)
        if known is None or (asked and there in self.implied):
            self.lowers[there] = Lower(folder, binding, found, share)
        elif not _alike(known.share, share):
            raise self.torn(known, share)
        (self.implied.discard if asked else self.implied.add)(there)

    def torn(self, known: Lower, other: Below) -> InputError:
        """One adapter in two places."""
        return InputError(
            f"it is asked for twice, as {known.share.share} and as {other.share} of itself",
            where=str(known.folder),
            fix="name it once, with the weight that it is to have",
        )


def _alike(one: Below, other: Below) -> bool:
    return (one.weight, one.layers) == (other.weight, other.layers)


def put_below(model: Any, lowers: Sequence[Lower], tokenizer: Any) -> Any:
    """Put frozen adapters on a base, each with its weight.

    Rows of added tokens that they trained replace the base's rows (and those of an untied head) for good: a row is
    stored whole, so the one trained above starts from it.

    Returns:
        A PEFT model with the adapters ``below0``, ``below1``, ...; the base itself when there are none. The names are
        never those that people gave: PEFT looks for its own words in them (huggingface/peft#2252).

    Raises:
        InputError: one is no plain LoRA, has tokens that this tokenizer does not have, or replaces rows by halves.
    """
    parts = [_part(lower, tokenizer) for lower in lowers]
    put_rows(model, [(lower, rows) for lower, (_, _, rows) in zip(lowers, parts, strict=True)])
    for number, (lower, (config, tensors, _)) in enumerate(zip(lowers, parts, strict=True)):
        model = _with_lower(model, config, f"below{number}", tensors, lower.folder)
        _weigh(model, f"below{number}", lower.share)
    return model


def _part(lower: Lower, tokenizer: Any) -> tuple[Any, dict[str, Any], list[Rows]]:
    """Configuration and tensors of a lower adapter, and apart from them the rows that it replaces."""
    tensors = _tensors(lower.folder)
    config = _frozen_config(lower)
    indices = config.trainable_token_indices or {}
    _require_tokens(lower, sorted({number for ids in indices.values() for number in ids}), tokenizer)
    rows = []
    for key in [key for key in tensors if key.endswith(_ROWS)]:
        path = key.removeprefix("base_model.model.").removesuffix(_ROWS)
        numbers = next(ids for name, ids in indices.items() if path == name or path.endswith(f".{name}"))
        rows.append(Rows(path, tuple(numbers), tensors.pop(key)))
    config.trainable_token_indices = None
    return config, tensors, rows


def _weigh(model: Any, name: str, share: Below) -> None:
    """Multiply what an adapter adds with its weight, layer by layer."""
    from peft.tuners.lora import LoraLayer

    for path, module in model.named_modules():
        if isinstance(module, LoraLayer) and name in module.scaling:
            module.scaling[name] *= share.at(path)


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


def put_alone(model: Any) -> Any:
    """Make all that ``put_below`` put on a base take part, with nothing on top: a stack as it is asked."""
    model.base_model.set_adapter(list(model.peft_config))  # PEFT's outer set_adapter takes one name only
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
