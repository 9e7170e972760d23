"""What an adapter belongs to: its base by content, saved beside the adapter and checked before it is put on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lft.base.files import read_json
from lft.base.fingerprint import Fingerprint
from lft.errors import InputError
from lft.files import write_text

BINDING_FILE = "lft.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Binding:
    """An adapter's base and origin.

    ``weights`` and ``tokenizer`` are the base's content fingerprints; ``rows`` are the embedding rows that the adapter
    was trained with (more than the base's where a token was added); ``tags`` are the recipe's.
    """

    base: str
    revision: str | None
    weights: str
    tokenizer: str
    rows: int
    recipe: str
    tags: dict[str, tuple[str, ...]]
    lft: str
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write ``lft.json`` into an adapter's folder."""
        write_text(folder / BINDING_FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Binding:
        """Read ``lft.json``.

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
        if not isinstance(saved, dict) or set(saved) != {field.name for field in fields(cls)}:
            raise InputError(f"{BINDING_FILE} has other keys than this version knows", where=str(folder))
        if saved["format"] != FORMAT:
            raise InputError(
                f"{BINDING_FILE} has format {saved['format']}", where=str(folder), fix="use a newer version of lft"
            )
        return cls(**saved)

    def require(self, found: Fingerprint, where: str) -> None:
        """Raise InputError unless a base is, bit for bit, the one that the adapter was trained on."""
        parts = {"weights": (self.weights, found.weights), "tokenizer": (self.tokenizer, found.tokenizer)}
        odd = [name for name, (wanted, there) in parts.items() if wanted != there]
        if odd:
            wanted, there = parts[odd[0]]
            raise InputError(
                f"this adapter was trained on another base: {' and '.join(odd)} differ "
                f"({odd[0]} {wanted[:12]} wanted, {there[:12]} found)",
                where=where,
                fix=f"use {self.base}{'@' + self.revision if self.revision else ''} as it was at training",
            )
