"""Model cards: YAML that the hub searches by, and Markdown in which people's words are words and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

# What the hub knows as licences by these very words; another one is "other" with its name beside it.
_LICENSES: Final = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nd-4.0", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0", "llama2",
    "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0",
    "agpl-3.0", "mpl-2.0", "isc", "unlicense", "odc-by", "unknown",
)  # fmt: skip
_HEAD: Final = re.compile(r"---\n(.{0,20000}?)\n---\n", re.DOTALL)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z]+)?")


def front_matter(said: Mapping[str, Any]) -> str:
    """The head of a card: YAML of texts and lists of texts between its marks; a JSON string is one in YAML too."""
    lines = []
    for key, value in said.items():
        if isinstance(value, str):
            lines.append(f"{key}: {_scalar(value)}")
        else:
            lines += [f"{key}:", *(f"- {_scalar(item)}" for item in value)]
    return "\n".join(["---", *lines, "---"]) + "\n"


def _scalar(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in ("no", "yes", "on", "off", "y", "n")
    return text if plain and text.lower() not in ("true", "false", "null") else json.dumps(text)


def licence_entries(licence: str) -> dict[str, str]:
    """What the head says of a licence: by the hub's word for it, or "other" with its name; nothing of none."""
    if not licence:
        return {}
    known = licence.lower()
    return {"license": known} if known in _LICENSES else {"license": "other", "license_name": slug(licence)}


def licence_in(folder: Path) -> str:
    """The licence that the card of a folder states in its head; empty where it states none."""
    from ruamel.yaml import YAML, YAMLError

    card = folder / "README.md"
    head = _HEAD.match(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    try:
        said = YAML(typ="safe", pure=True).load(head[1]) if head else None
    except YAMLError:
        return ""
    found = said.get("license_name") or said.get("license") if isinstance(said, dict) else None
    return found if isinstance(found, str) else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table."""
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(row) + " |"


def text(words: str) -> str:
    """Somebody's words on one line, in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(words.split()))


def code(words: str) -> str:
    """Somebody's words as code on one line."""
    flat = " ".join(words.split()).replace("|", "¦")
    ticks = "`" * (1 + max((len(found) for found in re.findall(r"`+", flat)), default=0))
    pad = " " if "`" in flat else ""
    return f"{ticks}{pad}{flat}{pad}{ticks}"


def is_language(word: str) -> bool:
    """Whether a word is a language's code."""
    return _LANGUAGE.fullmatch(word) is not None


def slug(text: str) -> str:
    """Words as a tag of the hub."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
