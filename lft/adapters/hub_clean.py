"""What leaves this machine: copies of an adapter's files without the paths of its disks.

A path says who trained where, and means nothing elsewhere; where the hub has a name for what it led to, that is written
instead. What is left is searched (``lft.hub.secrets``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lft.adapters.configuration import CONFIG_FILE
from lft.base.binding import BINDING_FILE
from lft.base.files import read_json
from lft.base.hub import REPO_ID
from lft.base.package import SCHEME as PACKAGE
from lft.errors import InputError
from lft.files import write_text
from lft.hub.secrets import Change, is_local, last_part

NOWHERE: Final = "none"  # what is said of a base that nobody else finds
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_TOKENIZER_PATHS: Final = ("name_or_path", "tokenizer_file", "special_tokens_map_file", "vocab_file")


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
        return (f"./{last_part(written)}", None) if is_local(written) else (written, revision)
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
    recipe = last_part(said["recipe"]) if is_local(said["recipe"]) else said["recipe"]
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


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 90 else text[:89] + "…"


def is_public_base(name: str, revision: str | None) -> bool:
    """Whether a base is called by a name of the hub; one word alone is only with a commit."""
    return REPO_ID.fullmatch(name) is not None and ("/" in name or revision is not None)
