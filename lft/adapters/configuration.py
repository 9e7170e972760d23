"""adapter_config.json as a frozen object: a closed schema over everything that PEFT has written since 2023.

What decides the weights' meaning is kept; what only training needed is checked and dropped; what would import code, or
what no version of PEFT wrote, is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from lft.adapters.patterns import require_cheap
from lft.base.files import read_json
from lft.errors import InputError
from lft.recipe.patterns import matching, pattern_regex
from lft.recipe.peft_options import peft_methods, saved_fault, saved_types
from lft.recipe.problems import nearest, shown

CONFIG_FILE: Final = "adapter_config.json"
CONFIG_BYTES: Final = 2_000_000  # 20,000 modules by their full names are 1.2 MB
RANK_CAP: Final = 65_536
_SHARED: Final[Mapping[str, str]] = {
    "peft_type": "str",
    "task_type": "str|none",
    "auto_mapping": "dict|none",
    "peft_version": "str|none",
    "base_model_name_or_path": "str|none",
    "revision": "str|none",
    "inference_mode": "bool",
}
# Written by earlier versions of PEFT, by ms-swift, or by hand into every method's file; PEFT ignores them.
_ONCE: Final[Mapping[str, str]] = {
    "enable_lora": "none|list[any]",
    "merge_weights": "bool",
    "fan_in_fan_out": "bool",
    "exclude_modules": "list[str]|none|str",
    "rank_pattern": "dict|none",
    "alpha_pattern": "dict|none",
    "lora_dtype": "none|str",
    "lorap_lr_ratio": "none|float",
    "lorap_emb_lr": "none|float",
    "use_qa_lora": "bool",
    "use_merged_linear": "bool",
}
# Where PEFT's own annotation is narrower than what PEFT itself saves.
_WIDER: Final[Mapping[str, str]] = {"lora_alpha": "float", "init_lora_weights": "=lora_ga"}
# Starts that take something out of the base's weights: what was saved is only right on what is left of them.
_CHANGED_BASE: Final = ("pissa", "olora", "corda", "lora_ga", "loftq")
T = TypeVar("T")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What an adapter's files mean.

    ``method`` is PEFT's name in lower case; for other methods than LoRA (and ``trainable_tokens``) only the first six
    fields say anything. Patterns keep their order, which decides when two of them match. ``token_indices`` are by name
    of the embedding, "" where PEFT was to take the model's own. ``start`` is PEFT's word for how A and B began, empty
    for the usual ways. ``also`` names LoRA's options that change what A and B mean, ``dropped`` what was left aside.
    """

    method: str
    base: str | None = None
    revision: str | None = None
    task_type: str | None = None
    peft_version: str | None = None
    modules_to_save: tuple[str, ...] = ()
    r: int = 8
    alpha: float = 8.0
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    bias: str = "none"
    target_modules: tuple[str, ...] | str | None = None
    exclude_modules: tuple[str, ...] | str | None = None
    layers_to_transform: tuple[int, ...] | None = None
    layers_pattern: tuple[str, ...] = ()
    token_indices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    ensure_weight_tying: bool = False
    start: str = ""
    also: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def is_lora(self) -> bool:
        """Whether it is LoRA or one of its variants."""
        return self.method == "lora"

    @property
    def changes_base(self) -> bool:
        """Whether training began by taking A and B out of the base, and nothing turned that back."""
        return self.start.split("_niter_")[0] in _CHANGED_BASE

    @property
    def variant(self) -> str:
        """One word or more for people: "lora", "lora rslora dora", "ia3", "lora pissa"."""
        words = [("rslora", self.use_rslora), ("dora", self.use_dora), ("lora_bias", self.lora_bias)]
        also = [name.removeprefix("use_").removesuffix("_config") for name in self.also]
        return " ".join([self.method, *(word for word, on in words if on), *filter(None, [self.start]), *also])

    @property
    def patterns(self) -> tuple[str, ...]:
        """Everything in it that is used as a regular expression."""
        return _regexes(self)

    def alphas(self, module: str) -> frozenset[float]:
        """Every alpha that a pattern gives to a module.

        Where there are several, the file does not say which one it was trained with (``lft.recipe.patterns``).
        """
        return frozenset(alpha for _, alpha in matching(self.alpha_pattern, module))

    def rank(self, module: str) -> int:
        """The rank of a module: ``rank_pattern``, else ``r``."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """What B·A is multiplied with in a module: alpha/r, with rsLoRA (arXiv 2312.03732) alpha/√r; by patterns."""
        r, alpha = self.rank(module), _by_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r


def _by_pattern(patterns: tuple[tuple[str, T], ...], module: str, otherwise: T) -> T:
    """As ``peft.utils.other.get_pattern_key``: the value of the first pattern that matches."""
    return next((value for _, value in matching(patterns, module)), otherwise)


def layer_pattern(name: str) -> str:
    """Where PEFT looks for the number of a layer in a list of that name; its first group is the number."""
    return rf"(?:^|.*?\.){name}\.(\d+)\."


def read_configuration(file: Path) -> Configuration:
    """The configuration of an adapter.

    Args:
        file: an ``adapter_config.json``.

    Raises:
        InputError: it is not JSON, too large, of an unknown method, has a key or a value that PEFT never wrote, or one
            that would import code.
    """
    where = str(file)
    if file.stat().st_size > CONFIG_BYTES:
        raise InputError(f"{file.stat().st_size:,} bytes; {CONFIG_BYTES:,} are allowed", where=where)
    said = read_json(file)
    if not isinstance(said, dict):
        raise InputError("it does not hold a map", where=where, fix="fetch the file again")
    method = _method(said, where)
    _require_known(method, said, where)
    dropped = _require_no_code(said, where)
    _require_values(method, said, where)
    shared = Configuration(
        method,
        said.get("base_model_name_or_path"),
        said.get("revision"),
        said.get("task_type"),
        said.get("peft_version"),
        _texts(said.get("modules_to_save")),
        dropped=dropped,
    )
    return _lora(shared, said, where) if method in ("lora", "trainable_tokens") else shared


def _method(said: Mapping[str, Any], where: str) -> str:
    written = said.get("peft_type")
    if not isinstance(written, str):
        raise InputError("it has no peft_type, so it is no adapter's configuration", where=where)
    if written.lower() not in peft_methods():
        close = nearest(written.lower(), peft_methods())
        hint = f"; nearest: {close.upper()}" if close else ""
        raise InputError(f"peft_type {shown(written)} is no method that PEFT has{hint}", where=where)
    return written.lower()


def _require_known(method: str, said: Mapping[str, Any], where: str) -> None:
    if "auto_map" in said or "runtime_config" in said:
        key = "auto_map" if "auto_map" in said else "runtime_config"
        raise InputError(
            f"the key {key} is refused: PEFT never saves it, and it can make a loader run code",
            where=where,
            fix="do not use this adapter unless you know its author; if you do, remove the key",
        )
    known = {**_SHARED, **_ONCE, **saved_types(method)}
    for key in said:
        if key not in known:
            close = nearest(key, known)
            hint = f"; nearest: {shown(close)}" if close else ""
            raise InputError(
                f"no version of PEFT writes the key {shown(key)} for {method}{hint}",
                where=where,
                fix="the adapter may not mean what it seems to: ask its author, or remove the key",
            )


def _require_no_code(said: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Refuse what would import a module that the file names; what is harmless is dropped and named."""
    megatron = said.get("megatron_core") or "megatron.core"
    if said.get("megatron_config") or megatron != "megatron.core":
        key = "megatron_config" if said.get("megatron_config") else "megatron_core"
        raise InputError(
            f"the key {key} is refused: it makes PEFT import a module that the file names",
            where=where,
            fix="use an adapter that was saved for transformers",
        )
    mapping = said.get("auto_mapping")
    if not mapping:
        return ()
    if not isinstance(mapping, dict) or not _is_transformers(mapping):
        raise InputError(
            "the key auto_mapping is refused: it makes PEFT import a module that is not part of transformers",
            where=where,
            fix="if you trust the adapter, set auto_mapping to null; nothing here needs it",
        )
    return ("auto_mapping",)


def _is_transformers(mapping: Mapping[str, Any]) -> bool:
    """Whether it is PEFT's note on a class of transformers (Unsloth adds a flag of its own)."""
    library, name = mapping.get("parent_library"), mapping.get("base_model_class")
    flags = {key: value for key, value in mapping.items() if key not in ("parent_library", "base_model_class")}
    return (
        isinstance(library, str)
        and isinstance(name, str)
        and _WORD.fullmatch(name) is not None
        and library.split(".")[0] == "transformers"
        and all(_WORD.fullmatch(part) for part in library.split("."))
        and all(key.startswith("unsloth") and isinstance(value, bool | str) for key, value in flags.items())
    )


def _require_values(method: str, said: Mapping[str, Any], where: str) -> None:
    types = {**_ONCE, **saved_types(method), **_SHARED}
    for key, value in said.items():
        if value is None and method != "lora":  # a default that PEFT fills in when it sees the model
            continue
        wider = f"{types[key]}|{_WIDER[key]}" if key in _WIDER else types[key]
        if fault := saved_fault(key, wider, value):
            raise InputError(fault, where=where, fix="fetch the file again, or ask the adapter's author")
    if said.get("enable_lora"):
        raise InputError(
            "enable_lora is of PEFT before 0.3: A and B of several projections lie in one tensor, which no PEFT reads "
            "since",
            where=where,
            fix="train it again; the adapter cannot be converted",
        )


def _lora(shared: Configuration, said: Mapping[str, Any], where: str) -> Configuration:
    start = said.get("init_lora_weights")
    found = replace(
        shared,
        r=said.get("r", 8),
        alpha=float(said.get("lora_alpha", 8)),
        rank_pattern=tuple((said.get("rank_pattern") or {}).items()),
        alpha_pattern=tuple((said.get("alpha_pattern") or {}).items()),
        use_rslora=said.get("use_rslora", False),
        use_dora=said.get("use_dora", False),
        fan_in_fan_out=said.get("fan_in_fan_out", False),
        lora_bias=said.get("lora_bias", False),
        bias=said.get("bias", "none"),
        target_modules=_choice(said.get("target_modules")),
        exclude_modules=_choice(said.get("exclude_modules")) or None,
        layers_to_transform=_layers(said.get("layers_to_transform")),
        layers_pattern=_texts(said.get("layers_pattern")),
        token_indices=_tokens(said, where),
        ensure_weight_tying=said.get("ensure_weight_tying", False),
        start=start if isinstance(start, str) and start != "gaussian" else "",
        also=tuple(name for name in _MEANING if said.get(name)),
    )
    _require_numbers(found, where)
    for pattern in _regexes(found):
        require_cheap(pattern, where)
    return found


# Options of LoRA by which A and B are not simply what is added to a weight.
_MEANING: Final = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
    "use_qa_lora",
    "use_merged_linear",
)


def _require_numbers(found: Configuration, where: str) -> None:
    for name, rank in (("r", found.r), *(("rank_pattern", rank) for _, rank in found.rank_pattern)):
        if type(rank) is not int or not 1 <= rank <= RANK_CAP:
            raise InputError(f"{name}: {shown(str(rank))} is no rank", where=where)
    for name, alpha in (("lora_alpha", found.alpha), *(("alpha_pattern", alpha) for _, alpha in found.alpha_pattern)):
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise InputError(f"{name}: {shown(str(alpha))} is no finite number", where=where)


def _regexes(found: Configuration) -> tuple[str, ...]:
    """Everything of the file that is used as a regular expression."""
    chosen = [one for one in (found.target_modules, found.exclude_modules) if isinstance(one, str)]
    ends = [pattern_regex(pattern) for pattern, _ in (*found.rank_pattern, *found.alpha_pattern)]
    return (*chosen, *ends, *map(layer_pattern, found.layers_pattern))


def _choice(value: Any) -> tuple[str, ...] | str | None:
    return tuple(value) if isinstance(value, list) else value


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _layers(value: Any) -> tuple[int, ...] | None:
    if value is None or value == []:
        return None
    return (value,) if isinstance(value, int) else tuple(value)


def _tokens(said: Mapping[str, Any], where: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Embeddings and the rows of them that are the adapter's own."""
    value = said.get("trainable_token_indices")
    if shared := said.get("token_indices"):  # the method trainable_tokens
        names = _texts(said.get("target_modules")) or ("",)
        value = dict.fromkeys(names, shared)
    if not value:
        return ()
    by_name = value if isinstance(value, dict) else {"": value}
    for name, numbers in by_name.items():
        whole = isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
        if not whole or len(set(numbers)) != len(numbers):
            raise InputError(f"the token indices of {shown(name)} are no list of different ids", where=where)
    return tuple((name, tuple(numbers)) for name, numbers in by_name.items())
