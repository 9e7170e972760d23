"""WordNet for tests: Debian's where it is installed, and small ones that are written here in its format."""

from __future__ import annotations

import shutil
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lft.evaluate.metrics.wordnet import PARTS

NUMBERS = dict(zip(PARTS, "nvar", strict=True))
LICENCE = "  1 WordNet 3.0 Copyright of nobody: a test made this  \n"
# Facts of WordNet's lexnames(5WN), which Debian does not pack: number, name, part of speech.
NOUNS = {
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling"),
    *("food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process"),
    *("quantity", "relation", "shape", "state", "substance", "time"),
}
VERBS = {
    *("body", "change", "cognition", "communication", "competition", "consumption", "contact", "creation", "emotion"),
    *("motion", "perception", "possession", "social", "stative", "weather"),
}
LEXNAMES = [
    *(("adj.all", 3), ("adj.pert", 3), ("adv.all", 4)),
    *((f"noun.{name}", 1) for name in sorted(NOUNS)),
    *((f"verb.{name}", 2) for name in sorted(VERBS)),
    ("adj.ppl", 3),
]

Synset = tuple[str, Sequence[str]]
"""Part of speech, and names of a synset."""


class NoSynonyms:
    """What NLTK's METEOR takes for a WordNet that knows no word."""

    @staticmethod
    def synsets(word: str) -> list[object]:
        return []


def write_wordnet(folder: Path, synsets: Sequence[Synset], irregular: dict[str, dict[str, str]] | None = None) -> Path:
    """A WordNet of these synsets, whole enough for NLTK to read."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        where = defaultdict(list)
        text = LICENCE
        for names in (names for kind, names in synsets if kind == part):
            offset = len(text.encode())
            lemmas = " ".join(f"{name} 0" for name in names)
            frames = " 00" if part == "verb" else ""
            text += f"{offset:08d} 03 {NUMBERS[part]} {len(names):02x} {lemmas} 000{frames} | a gloss  \n"
            for name in dict.fromkeys(one.lower().partition("(")[0] for one in names):
                where[name].append(offset)
        (folder / f"data.{part}").write_text(text)
        lines = (
            f"{name} {NUMBERS[part]} {len(offsets)} 0 {len(offsets)} 0 {' '.join(f'{one:08d}' for one in offsets)}  \n"
            for name, offsets in sorted(where.items())
        )
        (folder / f"index.{part}").write_text(LICENCE + "".join(lines))
        forms = (irregular or {}).get(part, {})
        (folder / f"{part}.exc").write_text("".join(f"{form} {base}\n" for form, base in forms.items()))
    return folder


def nltk_reader(files: Path, home: Path):
    """NLTK's own reader over a copy of a WordNet's files below ``home``, which must be on ``nltk.data.path``."""
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    folder = home / "corpora" / "wordnet"
    shutil.copytree(files, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("bin", "pixmaps", "wnres"))
    names = (f"{number:02d}\t{name}\t{kind}\n" for number, (name, kind) in enumerate(LEXNAMES))
    (folder / "lexnames").write_text("".join(names))
    for name in ("index.sense", "cntlist.rev"):
        if not (folder / name).exists():
            (folder / name).write_text("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has no other languages
        return WordNetCorpusReader(str(folder), None)
