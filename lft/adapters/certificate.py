"""What a merge was: enough to judge it, and to do it again bit for bit. Lies beside the result as ``merge.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lft.base.files import read_json
from lft.errors import InputError
from lft.files import write_text

CERTIFICATE_FILE = "merge.json"
FORMAT = 2
_SINCE_2: dict[str, Any] = {"over": ""}  # what a parent of format 1 did not have yet
Written = str | tuple[Any, ...]
"""A weight: a decimal string, one a layer, or (pattern, number) pairs."""


@dataclass(frozen=True, slots=True)
class Parent:
    """An adapter that went in: its identity, how much of it, and how the base was rounded in its training
    ("nf4"; empty: not at all, or nobody says)."""

    digest: str
    weight: Written
    over: str = ""


@dataclass(frozen=True, slots=True)
class TensorError:
    """What compression left out of one tensor, relative to its norm, as a decimal string."""

    tensor: str
    rank: int
    error: str


@dataclass(frozen=True, slots=True)
class Compression:
    """What was asked and what it cost. ``error`` is relative to the norm of the whole delta."""

    rank: int | None
    tolerance: str | None
    error: str
    worst: TensorError
    tensors: tuple[TensorError, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """How a merged adapter came about; the order and the names of its parents do not count.

    ``exactness`` is the method's class with what it leaves open: "exact", "dense", "stochastic{seed=3}",
    "dense rank-16{err=0.12}". ``parameters`` are those of the method, numbers as decimal strings. ``linear`` says that
    the definition is a weighted sum. ``base`` holds the parents' common fingerprints (weights, tokenizer), empty where
    none of them is bound. ``result`` is the digest of the delta, None where it was never made whole.
    """

    method: str
    exactness: str
    linear: bool
    paper: str
    parameters: tuple[tuple[str, str], ...]
    seed: int | None
    replaced: str
    parents: tuple[Parent, ...]
    base: tuple[str, ...]
    compression: Compression | None
    result: str | None
    lft: str
    format: int = FORMAT

    @property
    def text(self) -> str:
        """Canonical JSON: sorted keys, no floats, one line break at the end."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    @property
    def digest(self) -> str:
        """Hex sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``merge.json`` into a merged adapter's folder."""
        write_text(folder / CERTIFICATE_FILE, self.text)

    @classmethod
    def load(cls, folder: Path) -> Certificate:
        """Read ``merge.json``.

        Raises:
            InputError: it is missing, damaged, or of a format that this version does not know.
        """
        saved = read_json(folder / CERTIFICATE_FILE)
        if not isinstance(saved, dict) or saved.get("format") not in range(1, FORMAT + 1):
            known = saved.get("format") if isinstance(saved, dict) else None
            raise InputError(
                f"{CERTIFICATE_FILE} has format {known!r}", where=str(folder), fix="use a newer version of lft"
            )
        try:
            return _read(cls, saved)
        except (TypeError, KeyError, ValueError):
            raise InputError(f"{CERTIFICATE_FILE} has other keys than this version knows", where=str(folder)) from None


def _read(cls: type[Certificate], saved: dict[str, Any]) -> Certificate:
    if set(saved) != {field.name for field in fields(cls)}:
        raise KeyError
    since = _SINCE_2 if saved["format"] == 1 else {}
    parents = [{**one, "weight": _tuples(one["weight"])} for one in saved["parents"]]
    compression = saved["compression"]
    if compression is not None:
        errors = tuple(TensorError(**one) for one in compression["tensors"])
        compression = Compression(**{**compression, "worst": TensorError(**compression["worst"]), "tensors": errors})
    return cls(**{
        **saved,
        "parameters": _tuples(saved["parameters"]),
        "parents": tuple(Parent(**{**since, **one}) for one in parents),
        "format": FORMAT,
        "base": tuple(saved["base"]),
        "compression": compression,
    })  # fmt: skip


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
