"""What an adapter belongs to: its base by content and the adapters below it, saved beside the adapter and checked
before it is put on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lft.base.configuration import canonical, differences
from lft.base.files import read_json
from lft.base.fingerprint import Fingerprint
from lft.base.shares import layer_ranges, within
from lft.errors import InputError, RecipeError
from lft.files import write_text

BINDING_FILE = "lft.json"
FORMAT = 4
BY_IDENTITY = 4  # the first format in which adapters below are named by identity, not by their weights alone
# What format 1 did not have yet, with the values that it meant.
_SINCE_2: dict[str, Any] = {
    "below": (),
    "quantize": None,
    "double_quant": True,
    "compute_dtype": "auto",
    "config": {},
    "name": "",
}
_SINCE_3: dict[str, Any] = {"stack": ""}


@dataclass(frozen=True, slots=True)
class Below:
    """An adapter under another: what it was, and ``path``: its name for people (./name), in a registry's stack the
    folder beside it.

    ``weights`` is its identity (``lft.base.identity``); in formats 1 to 3 it was the sha256 of its tensors alone.

    What it adds is multiplied with ``weight`` in its ``layers`` ("0-11,16"; empty for all). ``sum`` numbers the
    weighted sum that it is part of, 0 for none: of a sum the rows of tokens are summed too, as the weights say where
    those of a row sum to 1 (``rows`` exact) or divided by their sum (mean); else they lie over those before it.
    """

    path: str
    weights: str
    weight: float = 1.0
    layers: str = ""
    sum: int = 0
    rows: Literal["exact", "mean"] = "exact"

    @property
    def share(self) -> str:
        """Weight and layers in words that a person could write: ``0.7``, ``0.7[0-11]``."""
        number = repr(float(self.weight)).removesuffix(".0")
        return f"{number}[{self.layers}]" if self.layers else number

    def at(self, name: str) -> float:
        """The weight in a module or tensor."""
        return self.weight if within(self.layers, name) else 0.0


@dataclass(frozen=True, slots=True)
class Binding:
    """An adapter's base and origin.

    ``base`` is a hub id, ``package://name`` or ``./name`` of a folder or file, which is no place of the machine that
    trained it (``lft.base.places``). ``weights`` and ``tokenizer`` are the base's content fingerprints (of the base as
    it is stored, whether it was quantized in memory or not); ``rows`` are the embedding rows that the adapter was
    trained with (more than the base's where a token was added); ``tags`` are the recipe's. ``below`` lists adapters
    that it was trained on, lowest first. ``quantize``, ``double_quant`` and ``compute_dtype`` are the recipe's: an
    adapter learned to work with the rounding of that base, so it is put on the same by default. ``config`` is what the
    base's config.json says about its function (``lft.base.configuration``; empty where it was not recorded), and
    ``name`` the adapter's own, from ``output.adapter``. A ``stack`` (a weighted sum; a chain: the order means
    something) has no weights of its own, only the adapters ``below``.
    """

    base: str
    revision: str | None
    weights: str
    tokenizer: str
    rows: int
    recipe: str
    tags: dict[str, tuple[str, ...]]
    lft: str
    below: tuple[Below, ...] = ()
    quantize: Literal["nf4", "fp4", "int8"] | None = None
    double_quant: bool = True
    compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    config: str = ""
    name: str = ""
    stack: Literal["", "stack", "chain"] = ""
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write ``lft.json`` into an adapter's folder."""
        saved = {**asdict(self), "config": json.loads(self.config or "{}")}
        write_text(folder / BINDING_FILE, json.dumps(saved, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Binding:
        """Read ``lft.json``, also of earlier formats.

        Raises:
            InputError: the folder is no adapter made by lft, or the file is not one this version knows.
        """
        if not (folder / BINDING_FILE).is_file():
            raise InputError(
                f"no adapter made by lft: it has no {BINDING_FILE}",
                where=str(folder),
                fix="give the adapter/ folder of a run, or the run with --run",
            )
        saved = read_json(folder / BINDING_FILE)
        if isinstance(saved, dict) and saved.get("format", 0) not in range(1, FORMAT + 1):
            raise InputError(
                f"{BINDING_FILE} has format {saved.get('format')}", where=str(folder), fix="use a newer version of lft"
            )
        if isinstance(saved, dict) and saved["format"] < FORMAT:
            saved = {**(_SINCE_2 if saved["format"] == 1 else {}), **_SINCE_3, **saved, "format": FORMAT}
        if not isinstance(saved, dict) or set(saved) != {field.name for field in fields(cls)}:
            raise InputError(f"{BINDING_FILE} has other keys than this version knows", where=str(folder))
        config = canonical(saved["config"]) if saved["config"] else ""
        found = cls(**{**saved, "below": _below(saved["below"], folder), "config": config})
        if found.stack not in ("", "stack", "chain") or (found.stack and not found.below):
            raise InputError(f"{BINDING_FILE} does not say what the stack is made of", where=str(folder))
        return found

    def require(self, found: Fingerprint, where: str) -> None:
        """Raise InputError unless a base is the one that the adapter was trained on: bit for bit in its weights, and
        of the same function by its configuration."""
        parts = {"weights": (self.weights, found.weights), "tokenizer": (self.tokenizer, found.tokenizer)}
        odd = [name for name, (wanted, there) in parts.items() if wanted != there]
        if odd:
            wanted, there = parts[odd[0]]
            raise InputError(
                f"this adapter was trained on another base: {' and '.join(odd)} differ "
                f"({odd[0]} {wanted[:12]} wanted, {there[:12]} found)",
                where=where,
                fix=self._same_base,
            )
        if self.config and found.config and (keys := differences(self.config, found.config)):
            raise InputError(
                f"the base computes something else than the one this adapter was trained on: its config.json differs "
                f"in {', '.join(keys[:5])}",
                where=where,
                fix=self._same_base,
            )

    @property
    def over(self) -> str:
        """How the base was rounded in training: "nf4", "nf4 (single)"; empty where it was not."""
        if self.quantize is None or self.quantize == "int8":
            return self.quantize or ""
        return self.quantize if self.double_quant else f"{self.quantize} (single)"

    @property
    def _same_base(self) -> str:
        return f"use {self.base}{'@' + self.revision if self.revision else ''} as it was at training"


def is_stack(folder: Path) -> bool:
    """Whether a folder holds a stack of adapters, and no tensors of its own."""
    return (folder / BINDING_FILE).is_file() and bool(Binding.load(folder).stack)


def _below(saved: Any, folder: Path) -> tuple[Below, ...]:
    try:
        found = tuple(Below(**entry) for entry in saved)
        sound = all(_is_sound(one) for one in found)
    except (TypeError, RecipeError):
        sound = False
    if not sound:
        raise InputError(f"{BINDING_FILE} does not say what is below this adapter", where=str(folder))
    return found


def _is_sound(one: Below) -> bool:
    """Whether weight, layers and sum can be meant; layers that cannot raise RecipeError."""
    layer_ranges(one.layers)
    number = type(one.weight) in (float, int) and math.isfinite(one.weight)
    return number and type(one.sum) is int and one.sum >= 0 and one.rows in ("exact", "mean")
