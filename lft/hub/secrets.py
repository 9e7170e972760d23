"""What must not leave this machine: paths of its disks, keys and tokens.

A path says who worked where, and means nothing elsewhere. Files are searched before they are uploaded, and nothing goes
that holds one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.errors import InputError

_LOCAL: Final = re.compile(r"(/|~|\./|\.\./|\\\\|file:|[A-Za-z]:[\\/])")
# An absolute path inside a text; not the end of a URL, nor a lone slash.
_PATH: Final = re.compile(r"(?<![\w:/.~-])(?:~|/[\w.+@-]+)(?:/[\w.+@-]+)+/?|(?<!\w)[A-Za-z]:\\[\w.+@\\-]+")
_SECRETS: Final = {
    "a token of Hugging Face": re.compile(rb"\bhf_[A-Za-z0-9]{30,}"),
    "a token of GitHub": re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    "a key of AWS": re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a key of an API": re.compile(rb"\b(sk-[A-Za-z0-9_-]{32,}|AIza[A-Za-z0-9_-]{35}|xox[abp]-[A-Za-z0-9-]{20,})"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
# Words of a base's tokenizer: "/root" may be one of them, and no path of a machine ever is.
_WORDS: Final = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")
_HEADER_LENGTH: Final = 8  # bytes before a safetensors header


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is another one in what is uploaded."""

    file: str
    key: str
    before: str
    after: str | None

    def __str__(self) -> str:
        return f"{self.file}: {self.key} is {self.after or 'left out'} (here {self.before})"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: paths below private folders, keys, this user's own token.

    ``again`` says what to do once it was taken out where it was made.
    """

    folders: tuple[re.Pattern[bytes], ...]
    token: bytes | None
    again: str

    def folder(self, name: str, content: bytes, row: int = 0) -> None:
        """Raise InputError where a path below a private folder stands in a content (of row ``row``, from 1)."""
        for pattern in self.folders:
            if match := pattern.search(content):
                raise self._path(name, row or _line(content, match.start()), f"{match[0].decode()[:-1]}/...")

    def anywhere(self, name: str, text: str, row: int = 0) -> None:
        """Raise InputError where an absolute path in a text leads to something on this machine."""
        for match in _PATH.finditer(text):
            if _leads_somewhere(match[0]):
                raise self._path(name, row or text.count("\n", 0, match.start()) + 1, match[0])

    def keys(self, name: str, content: bytes, row: int = 0) -> None:
        """Raise InputError where a content holds what looks like a key."""
        for what, pattern in _SECRETS.items():
            if match := pattern.search(content):
                raise _secret(name, what, row or _line(content, match.start()))
        if self.token and self.token in content:
            raise _secret(name, "your own token", row or _line(content, content.index(self.token)))

    def json_texts(self, name: str, content: bytes) -> None:
        """As ``anywhere`` for the texts of a JSON file: a path with spaces is whole there."""
        for one in _texts(content):
            if one.startswith(("/", "~/")) and _leads_somewhere(one):
                raise self._path(name, _line(content, max(content.find(json.dumps(one)[1:-1].encode()), 0)), one)

    def _path(self, name: str, line: int, path: str) -> InputError:
        return InputError(
            f"line {line} holds a path of this machine ({path})",
            where=name,
            fix=f"take it out where it was made, then {self.again}",
        )


def search_for(private: Iterable[Path], again: str) -> Search:
    """The search for paths below private folders (the home folder, the registry), also where nothing is any more."""
    folders = (re.compile(re.escape(str(one).encode()) + rb"[/\\\"']") for one in private if one.parent != one)
    return Search(tuple(folders), _token(), again)


def is_local(text: str) -> bool:
    """Whether a text is a path of some disk."""
    return _LOCAL.match(text) is not None


def without_paths(text: str) -> str:
    """A text whose absolute paths are cut to their last part."""
    return _PATH.sub(lambda found: "./" + last_part(found[0]), text)


def last_part(path: str) -> str:
    """The name that a path ends in."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def require_clean(paths: Mapping[str, Path], private: Iterable[Path], again: str = "push again") -> None:
    """Raise InputError where a file that is to be uploaded holds a path of this machine, or what looks like a key.

    A path of this machine is one below a private folder, and any absolute one that leads to something here.

    Args:
        paths: the files by name; of tensors only the header is read.
        private: as for ``search_for``.
        again: what to do once it was taken out where it was made.
    """
    search = search_for(private, again)
    for name, path in paths.items():
        content = _readable(path)
        if name not in _WORDS:
            search.folder(name, content)
            search.anywhere(name, content.decode("utf-8", errors="replace"))
            if name.endswith(".json"):
                search.json_texts(name, content)
        search.keys(name, content)


def _leads_somewhere(path: str) -> bool:
    """Whether a path is there, or the folder that it would lie in; of ``/tmp/x`` the folder alone says nothing."""
    whole = os.path.expanduser(path).rstrip("/")
    parent = os.path.dirname(whole)
    try:
        return os.path.exists(whole) or (parent.count("/") > 1 and os.path.isdir(parent))
    except (OSError, ValueError):  # too long, or nothing that could be a path
        return False


def _texts(content: bytes) -> Iterator[str]:
    """Every text of a JSON file, keys too; nothing where it is none."""
    try:
        left: list[Any] = [json.loads(content)]
    except (ValueError, RecursionError):
        return
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one


def _secret(name: str, what: str, line: int) -> InputError:
    return InputError(
        f"line {line} holds what looks like {what}, so nothing was uploaded",
        where=name,
        fix="take it out where it was made, and replace that key: it may be known to others already",
    )


def _token() -> bytes | None:
    from huggingface_hub import get_token

    token = get_token()
    return token.encode() if token else None


def _readable(path: Path) -> bytes:
    """A file's bytes; of tensors those of the header."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with path.open("rb") as stream:
        return stream.read(int.from_bytes(stream.read(_HEADER_LENGTH), "little"))


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1
