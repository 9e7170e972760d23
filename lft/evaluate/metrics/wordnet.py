"""Synonyms from the files of WordNet, as NLTK's METEOR asks for them, in a table that loads in a moment.

A word's synonyms are the names of all synsets of its base forms. The table holds for each part of speech which names
stand beside a base form; names of several words and names with capitals are left out, as no lower-cased token can
equal them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from lft.errors import InputError
from lft.files import sha256, write_text

FOLDER: Final = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts it
MISSING: Final = "synonyms off: WordNet is not installed (apt install wordnet-base)"
PARTS: Final = ("noun", "verb", "adj", "adv")
FORMAT: Final = 1

# What an inflected form ends in, and what its base form ends in instead: morphy(7WN), which NLTK follows.
ENDINGS: Final = {
    "noun": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
        ("men", "man"), ("ies", "y"),
    ),
    "verb": (
        ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class WordNet:
    """Names of one word beside each base form, and irregular forms, by part of speech; ``digest`` of the files."""

    digest: str
    beside: Mapping[str, Mapping[str, str]]
    irregular: Mapping[str, Mapping[str, list[str]]]
    _asked: dict[str, frozenset[str]] = field(default_factory=dict)

    def synonyms(self, word: str) -> frozenset[str]:
        """The words that a lower-cased word is taken for, itself among them."""
        found = self._asked.get(word)
        if found is None:
            found = self._asked[word] = frozenset(self._found(word))
        return found

    def _found(self, word: str) -> Iterator[str]:
        yield word
        for part in PARTS:
            for form in self._base_forms(word, part):
                yield from self.beside[part].get(form, "").split()

    def _base_forms(self, word: str, part: str) -> Iterator[str]:
        yield word
        irregular = self.irregular[part].get(word)
        if irregular is None:
            yield from (word[: -len(end)] + base for end, base in ENDINGS[part] if word.endswith(end))
        else:
            yield from irregular


@cache
def open_wordnet(cache_folder: Path, folder: Path | None = None) -> WordNet | None:
    """WordNet's synonyms; None where its files are not on this machine.

    Args:
        cache_folder: where the table is kept between runs, by the digest of the files.
        folder: where the files are, if not where Debian puts them.

    Raises:
        InputError: the files are not WordNet's.
    """
    folder = folder or FOLDER
    files = [folder / name for part in PARTS for name in (f"index.{part}", f"data.{part}", f"{part}.exc")]
    if not all(file.is_file() for file in files):
        return None
    digest = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    kept = cache_folder / "wordnet" / f"{digest[:16]}.{FORMAT}.json"
    try:
        tables = json.loads(kept.read_text(encoding="utf-8"))
        return WordNet(digest, tables["beside"], tables["irregular"])
    except (OSError, ValueError, KeyError, TypeError):
        found = _read(folder, digest)
    write_text(kept, json.dumps({"beside": found.beside, "irregular": found.irregular}, separators=(",", ":")))
    return found


def _read(folder: Path, digest: str) -> WordNet:
    try:
        return WordNet(
            digest,
            {part: dict(_beside(folder, part)) for part in PARTS},
            {part: dict(_irregular(folder / f"{part}.exc")) for part in PARTS},
        )
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(
            f"this is not WordNet ({error!r})", where=str(folder), fix=MISSING.split("(")[1][:-1]
        ) from None


def _beside(folder: Path, part: str) -> Iterator[tuple[str, str]]:
    """Each base form with the names in its synsets: of one word each, in lower case."""
    names = {}
    for line in _lines(folder / f"data.{part}"):
        fields = line.split()
        plain = (name.partition("(")[0] for name in fields[4 : 4 + 2 * int(fields[3], 16) : 2])
        names[int(fields[0])] = [name for name in plain if "_" not in name and name == name.lower()]
    for line in _lines(folder / f"index.{part}"):
        fields = line.split()
        offsets = fields[len(fields) - int(fields[2]) :]
        found = sorted({name for offset in offsets for name in names[int(offset)]})
        if found:
            yield fields[0], " ".join(found)


def _irregular(file: Path) -> Iterator[tuple[str, list[str]]]:
    for line in _lines(file):
        form, *bases = line.split()
        yield form, bases


def _lines(file: Path) -> Iterator[str]:
    """Lines of one of WordNet's files but for its licence, which is indented."""
    with file.open(encoding="utf-8") as stream:
        yield from (line for line in stream if line.strip() and not line.startswith(" "))
