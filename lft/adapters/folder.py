"""What may lie in an adapter's folder. Known files are used, others left aside and listed; what could run code, unpack
itself or lead out of the folder is refused.

The hub library's cache is made of links into the ``blobs`` folder beside its snapshots; those are followed, no others.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lft.adapters.certificate import CERTIFICATE_FILE
from lft.adapters.configuration import CONFIG_BYTES, CONFIG_FILE
from lft.base.attach import WEIGHTS
from lft.base.binding import BINDING_FILE
from lft.base.files import read_json
from lft.errors import InputError
from lft.files import MANIFEST, sha256
from lft.recipe.problems import listed, shown

Role = Literal["config", "weights", "binding", "manifest", "prompt", "tokenizer", "template", "card", "certificate"]
MB: Final = 1_000_000
TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
# Role and most bytes of every file that is used.
KNOWN: Final[Mapping[str, tuple[Role, int]]] = {
    CONFIG_FILE: ("config", CONFIG_BYTES),
    WEIGHTS: ("weights", 256_000 * MB),
    BINDING_FILE: ("binding", 4 * MB),
    MANIFEST: ("manifest", 4 * MB),
    "prompt_format.json": ("prompt", 4 * MB),
    CERTIFICATE_FILE: ("certificate", 16 * MB),
    **dict.fromkeys(TOKENIZER, ("tokenizer", 256 * MB)),
    "chat_template.jinja": ("template", 4 * MB),
    "chat_template.json": ("template", 4 * MB),
    "README.md": ("card", 16 * MB),
    "LICENSE": ("card", 4 * MB),
    "LICENSE.txt": ("card", 4 * MB),
}
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CODE: Final = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe")
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".whl", ".egg")
_ENTRIES: Final = 10_000
_KNOW_IT: Final = "do not use this adapter unless you know its author; if you do, take the file out of the folder"


@dataclass(frozen=True, slots=True)
class Files:
    """An adapter's folder: paths of the files that are used, by name, and the names of what was left aside."""

    folder: Path
    used: Mapping[str, Path]
    ignored: tuple[str, ...]

    def of(self, role: Role) -> tuple[str, ...]:
        """Names of the files in a role."""
        return tuple(name for name in self.used if KNOWN[name][0] == role)


def scan(folder: Path) -> Files:
    """Look at a folder's names, kinds and sizes; nothing is read but its manifest.

    Args:
        folder: an adapter's folder, a snapshot in the hub library's cache included.

    Raises:
        InputError: it is no adapter, or holds what is refused.
    """
    if not folder.is_dir():
        raise InputError("there is no such adapter", where=str(folder), fix="give the folder of an adapter")
    entries = sorted(folder.iterdir())
    if len(entries) > _ENTRIES:
        raise InputError(f"{len(entries):,} files; {_ENTRIES:,} are allowed", where=str(folder))
    _require_no_twins(entries, folder)
    plain = [path for path in entries if not _left_aside(path, folder)]
    _require_adapter(folder, {path.name for path in entries})
    used = {path.name: path for path in plain if path.name in KNOWN}
    for name, path in used.items():
        _require_size(path, KNOWN[name][1])
    ignored = tuple(f"{path.name}/" if path.is_dir() else path.name for path in entries if path.name not in used)
    return Files(folder, used, ignored)


def require_unchanged(files: Files) -> None:
    """Raise InputError unless what is used is what the folder's manifest says; a folder without one passes.

    A card may change on the hub without a word to the manifest, so it is not compared.
    """
    if MANIFEST not in files.used:
        return
    said = read_json(files.used[MANIFEST])
    entries = said.get("files") if isinstance(said, dict) else None
    if not isinstance(entries, dict):
        raise InputError("its manifest cannot be read", where=str(files.folder), fix="fetch the adapter again")
    for name, entry in entries.items():
        if name not in KNOWN or KNOWN[name][0] in ("card", "manifest"):
            continue
        if name not in files.used:
            raise InputError(f"{name} is missing", where=str(files.folder), fix="fetch the adapter again")
        if not isinstance(entry, dict) or entry.get("sha256") != sha256(files.used[name]):
            raise InputError(
                f"{name} is not what the manifest says", where=str(files.folder), fix="fetch the adapter again"
            )


def _require_no_twins(entries: list[Path], folder: Path) -> None:
    seen: dict[str, str] = {}
    for path in entries:
        other = seen.setdefault(path.name.lower(), path.name)
        if other != path.name:
            what = f"{shown(other)} and {shown(path.name)} are the same name on some systems"
            raise InputError(what, where=str(folder), fix=_KNOW_IT)
        odd = any(not letter.isprintable() or letter in '\\:*?"<>|' for letter in path.name)
        if odd or path.name.endswith((" ", ".")):
            raise InputError(f"the file name {shown(path.name)} is refused", where=str(folder), fix=_KNOW_IT)


def _left_aside(path: Path, folder: Path) -> bool:
    """Whether an entry is not looked at; InputError for one that no adapter needs and some misuse."""
    if path.is_symlink():
        _require_inside(path, folder)
    if path.is_dir():
        return True
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{shown(path.name)} is no plain file", where=str(folder), fix=_KNOW_IT)
    ending = path.suffix.lower()
    if ending in _CODE:
        raise InputError(f"{shown(path.name)} is code, which no adapter needs", where=str(folder), fix=_KNOW_IT)
    if ending in _ARCHIVES:
        raise InputError(
            f"{shown(path.name)} is an archive, and archives are not opened",
            where=str(folder),
            fix="unpack it yourself where you trust it, and give the folder",
        )
    return path.name not in KNOWN


def _require_inside(path: Path, folder: Path) -> None:
    """Raise InputError for a link that leaves its folder, unless it is the hub library's into its own blobs."""
    home = folder.resolve()
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the link {shown(path.name)} leads nowhere", where=str(folder), fix="fetch the adapter again"
        ) from error
    if not any(target.is_relative_to(one) for one in homes):
        raise InputError(f"the link {shown(path.name)} leads out of the folder", where=str(folder), fix=_KNOW_IT)


def _require_size(path: Path, most: int) -> None:
    size = path.stat().st_size
    if size > most:
        raise InputError(f"{size:,} bytes; {most:,} are allowed", where=str(path), fix=_KNOW_IT)


def _require_adapter(folder: Path, names: set[str]) -> None:
    """Raise InputError, saying what the folder is instead, unless configuration and weights are there."""
    if CONFIG_FILE not in names:
        raise InputError(f"no adapter: it has no {CONFIG_FILE}", where=str(folder), fix=_instead(folder, names))
    if WEIGHTS in names:
        return
    models = ("adapter_model", "pytorch_model", "model")
    pickled = sorted(name for name in names if name.endswith(_PICKLES) and name.startswith(models))
    if pickled:
        raise InputError(
            f"the weights are only there as {pickled[0]}, a pickle, which can run code when it is opened and is never "
            "read here",
            where=str(folder),
            fix="in a sandbox without network, with torch >= 2.6 and a current peft: PeftModel.from_pretrained("
            "AutoModelForCausalLM.from_pretrained(BASE), FOLDER).save_pretrained(NEW), which writes safetensors",
        )
    raise InputError(f"no adapter: it has no {WEIGHTS}", where=str(folder), fix="fetch the adapter again")


def _instead(folder: Path, names: set[str]) -> str:
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
    if inside:
        return f"adapters are in {listed(inside, limit=5)}: give one of these folders"
    if BINDING_FILE in names and WEIGHTS not in names:
        return "this may be a stack of adapters, which only generation, training and export take; name its parts"
    if "config.json" in names:
        return "this is a whole model; give the folder of an adapter"
    return "give the folder of an adapter"
