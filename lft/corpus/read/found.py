"""What a reader gives: a text with what its place says about it, or the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from lft.corpus.document import Style
from lft.corpus.schema import Source


@dataclass(frozen=True, slots=True)
class Found:
    """A text as it lies in its source. ``place`` is where in the file (`#17`); ``url`` stands for both if given."""

    text: str
    place: str = ""
    url: str = ""
    title: str = ""
    question: str = ""
    subset: str = ""
    style: Style | None = None
    score: float | None = None
    lang: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something in a source that is no document. ``reason`` is the same for all of its sort; ``text`` shows it."""

    reason: str
    place: str = ""
    text: str = ""
    times: int = 1


Item = Found | Dropped


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source: its place below the source's root, the language it is under, and how to open it."""

    folder: Any  # datatrove's DataFolder: this disk, or any file system of fsspec
    path: str
    lang: str

    def binary(self) -> IO[bytes]:
        """Its bytes; .gz, .bz2, .xz and .zst are unpacked."""
        return self.folder.open(self.path, "rb", compression="infer")  # type: ignore[no-any-return]

    def lines(self) -> IO[str]:
        """Its text by lines. Reading raises UnicodeDecodeError where it is not UTF-8."""
        return self.folder.open(  # type: ignore[no-any-return]
            self.path, "rt", compression="infer", encoding="utf-8-sig", newline=""
        )

    def text(self) -> str:
        """All of it. Raises UnicodeDecodeError."""
        with self.binary() as stream:
            return stream.read().decode("utf-8-sig")


FileReader = Callable[[SourceFile, Source], Iterator[Item]]
RowReader = Callable[[dict[str, Any], str, Source, str], Iterator[Item]]
"""(a row, its place, the source, the language of its file) to what is in it."""


def chance(key: str, salt: str) -> float:
    """A number in [0, 1) that only hangs on the two words: the same in every run, and in every task."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x1f{key}".encode("utf-8", "surrogatepass")).digest()[:7]) / 2**56


def words_of(text: str) -> int:
    """Words, as everywhere: what white space divides."""
    return len(text.split())


def as_text(value: object) -> str:
    """A field that should be text: numbers are written, lists joined by lines, everything else is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "\n".join(as_text(one) for one in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return ""
