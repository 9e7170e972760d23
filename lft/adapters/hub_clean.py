"""What leaves this machine: copies of an adapter's files without the paths of its disks, and a search for secrets.

A path says who trained where, and means nothing elsewhere; where the hub has a name for what it led to, that is written
instead. What is left is searched, and nothing is uploaded that still holds a path of this machine or a key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.adapters.configuration import CONFIG_FILE
from lft.base.binding import BINDING_FILE
from lft.base.files import read_json
from lft.base.hub import REPO_ID
from lft.base.package import SCHEME as PACKAGE
from lft.errors import InputError
from lft.files import write_text

NOWHERE: Final = "none"  # what is said of a base that nobody else finds
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_LOCAL: Final = re.compile(r"(/|~|\./|\.\./|\\\\|file:|[A-Za-z]:[\\/])")
# An absolute path inside a text; not the end of a URL, nor a lone slash.
_PATH: Final = re.compile(r"(?<![\w:/.~-])(?:~|/[\w.+@-]+)(?:/[\w.+@-]+)+/?|(?<!\w)[A-Za-z]:\\[\w.+@\\-]+")
_TOKENIZER_PATHS: Final = ("name_or_path", "tokenizer_file", "special_tokens_map_file", "vocab_file")
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


def is_local(text: str) -> bool:
    """Whether a text is a path of some disk."""
    return _LOCAL.match(text) is not None


def base_elsewhere(written: str, revision: str | None, said: str | None) -> tuple[str, str | None]:
    """What others call a base, and its revision.

    Args:
        written: what the adapter says: a hub id, ``package://name`` or a folder.
        revision: of that.
        said: what the person who pushes says: a hub id, perhaps with ``@revision``; ``package://name``; ``none``.

    Raises:
        InputError: it is a folder of this machine and nobody said what it is elsewhere.
    """
    if said is None:
        if not is_local(written):
            return written, revision
        raise InputError(
            f"it was trained on a base in a folder of this machine ({written})",
            fix="say what others find it as: --base user/model@commit, or --base none where it is nowhere",
        )
    if said == NOWHERE:
        return (f"./{_last(written)}", None) if is_local(written) else (written, revision)
    name, _, at = said.partition("@")
    if not (REPO_ID.fullmatch(name) or (name.startswith(PACKAGE) and not at)):
        raise InputError(f"--base {said}: no name of a base", fix="give user/model, user/model@commit or none")
    return name, at or None


def cleaned(files: Mapping[str, Path], base: str | None, known: Callable[[str], str]) -> dict[str, Any]:
    """The JSON files of an adapter as others may read them, by name; only those that change.

    Args:
        files: paths by name.
        base: what the base is elsewhere, where the files do not say it (``base_elsewhere``).
        known: the registry's name of an adapter by the sha256 of its weights.

    Raises:
        InputError: the base is a folder, and ``base`` does not say what that is elsewhere.
    """
    said = read_json(files[CONFIG_FILE]) if CONFIG_FILE in files else {}  # a stack has none
    named = str(said.get("base_model_name_or_path") or ""), said.get("revision")
    found: dict[str, Any] = {}
    if BINDING_FILE in files:
        binding = read_json(files[BINDING_FILE])
        named = base_elsewhere(_as_trained(binding), binding["revision"], base)
        found[BINDING_FILE] = _binding(binding, *named, known)
    elif named[0] or base:
        named = base_elsewhere(*named, base)
    written = said.get("base_model_name_or_path")
    if CONFIG_FILE in files and (base or (isinstance(written, str) and is_local(written))):
        found[CONFIG_FILE] = _configuration(said, *named)
    if TOKENIZER_CONFIG in files:
        config = read_json(files[TOKENIZER_CONFIG])
        found[TOKENIZER_CONFIG] = {key: value for key, value in config.items() if not _is_tokenizer_path(key, value)}
    return {name: content for name, content in found.items() if content != read_json(files[name])}


def _as_trained(binding: dict[str, Any]) -> str:
    """The base as lft recorded it. Of one from the hub it records the commit: without one, ``a/b`` is a folder."""
    base = str(binding["base"])
    return base if binding["revision"] or base.startswith(PACKAGE) or is_local(base) else f"./{base}"


def _binding(said: dict[str, Any], base: str, revision: str | None, known: Callable[[str], str]) -> dict[str, Any]:
    below = [{**one, "path": known(one["weights"])} if is_local(one["path"]) else one for one in said.get("below", ())]
    recipe = _last(said["recipe"]) if is_local(said["recipe"]) else said["recipe"]
    made = {**said, "base": base, "revision": revision, "recipe": recipe}
    return {**made, "below": below} if "below" in said else made


def _configuration(said: dict[str, Any], base: str, revision: str | None) -> dict[str, Any]:
    """With the base's name where PEFT finds it by that, else with none."""
    written = said.get("base_model_name_or_path")
    name = base if REPO_ID.fullmatch(base) else None
    if written == name or (not written and not name):
        return said
    return {**said, "base_model_name_or_path": name, "revision": revision if name else None}


def _is_tokenizer_path(key: str, value: Any) -> bool:
    return key in _TOKENIZER_PATHS and isinstance(value, str) and is_local(value)


def changes(name: str, before: Any, after: Any) -> list[Change]:
    """The keys in which two JSON objects differ; values are cut to one line."""
    keys = [key for key in before if before[key] != after.get(key)]
    keys += [key for key in after if key not in before]
    return [Change(name, key, _short(before.get(key)), _short(after[key]) if after.get(key) else None) for key in keys]


def write_clean(content: Any, path: Path) -> None:
    """Write JSON as PEFT and lft write it."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def without_paths(text: str) -> str:
    """A text whose absolute paths are cut to their last part."""
    return _PATH.sub(lambda found: "./" + _last(found[0]), text)


def require_clean(paths: Mapping[str, Path], private: Iterable[Path]) -> None:
    """Raise InputError where a file that is to be uploaded holds a path of this machine, or what looks like a key.

    A path of this machine is one below a private folder, and any absolute one that leads to something here.

    Args:
        paths: the files by name; of tensors only the header is read.
        private: folders whose paths nobody else should read, also where nothing is there any more: the home folder, the
            registry.
    """
    folders = [
        re.compile(re.escape(str(folder).encode()) + rb"[/\\\"']") for folder in private if folder.parent != folder
    ]
    own = _token()
    for name, path in paths.items():
        content = _readable(path)
        for folder in () if name in _WORDS else folders:
            if match := folder.search(content):
                raise _path(name, _line(content, match.start()), f"{match[0].decode()[:-1]}/...")
        if name not in _WORDS:
            _require_nowhere(name, content)
        for what, pattern in _SECRETS.items():
            if match := pattern.search(content):
                raise _secret(name, what, _line(content, match.start()))
        if own and own in content:
            raise _secret(name, "your own token", _line(content, content.index(own)))


def _require_nowhere(name: str, content: bytes) -> None:
    """Raise InputError where an absolute path in a text leads to something on this machine."""
    text = content.decode("utf-8", errors="replace")
    for match in _PATH.finditer(text):
        if _leads_somewhere(match[0]):
            raise _path(name, text.count("\n", 0, match.start()) + 1, match[0])
    if name.endswith(".json"):  # a path with spaces is whole there
        for one in _texts(content):
            if one.startswith(("/", "~/")) and _leads_somewhere(one):
                raise _path(name, _line(content, max(content.find(json.dumps(one)[1:-1].encode()), 0)), one)


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
        left = [json.loads(content)]
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


def _path(name: str, line: int, path: str) -> InputError:
    return InputError(
        f"line {line} holds a path of this machine ({path})",
        where=name,
        fix="take it out where it was made, then add the adapter again",
    )


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


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 90 else text[:89] + "…"


def is_public_base(name: str, revision: str | None) -> bool:
    """Whether a base is called by a name of the hub; one word alone is only with a commit."""
    return REPO_ID.fullmatch(name) is not None and ("/" in name or revision is not None)
