"""What `base.model` means: a hub id, a folder, a GGUF file or an installed package becomes a checked local folder."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lft.base.files import Notify, read_json
from lft.base.gguf import converted
from lft.base.headers import read_headers
from lft.base.hub import DIFF_RECORD, fetch
from lft.base.package import SCHEME, package_model
from lft.base.places import folder_name, remember
from lft.errors import InputError, RecipeError
from lft.recipe.schema import Base

Kind = Literal["hub", "folder", "gguf", "package"]


@dataclass(frozen=True, slots=True)
class BaseRef:
    """A base model that is here: ``folder`` holds config.json, safetensors and tokenizer, all headers checked.

    ``written`` is what the recipe says; ``revision`` the commit of a hub model, None for the other kinds.
    """

    written: str
    kind: Kind
    folder: Path
    revision: str | None
    trust_remote_code: bool

    @property
    def public(self) -> str:
        """What others may call it: hub id or package; of a file or folder its own name."""
        return self.written if self.kind in ("hub", "package") else folder_name(self.written)

    def remember(self, cache: Path, weights: str) -> None:
        """Keep where a base of this machine lies, by the fingerprint of its weights."""
        if self.kind in ("folder", "gguf"):
            remember(cache, weights, Path(self.written).expanduser())


def named_base(written: str) -> Base:
    """A base as it is written on a command line. Raises RecipeError where nothing is written."""
    if not written.strip():
        raise RecipeError("no base is named", where="--base", fix="give a hub id, a folder, or package://name")
    return Base(model=written)


def resolve_base(base: Base, cache: Path, notify: Notify) -> BaseRef:
    """Find the base model, fetching or converting it where needed, and check its files.

    Args:
        base: the recipe's `base`.
        cache: folder for converted GGUF files and digests; hub files stay in the hub library's own cache.
        notify: called with one line when something slow or unexpected is done.

    Raises:
        InputError: missing, damaged or unusable model.
        MachineError: no room on the disk.
        RecipeError: keys that do not go together.
    """
    written = base.model
    if written.startswith(SCHEME):
        _no_revision(base)
        return _here(base, "package", package_model(written), cache, notify)
    path = Path(written).expanduser()
    if path.exists():
        _no_revision(base)
        return _here(base, "gguf" if path.is_file() else "folder", path, cache, notify)
    if _looks_like_a_path(written):
        raise InputError("no such file or folder", where=written, fix=_nearest(path))
    snapshot = fetch(written, base.revision, remote_code=base.trust_remote_code, notify=notify)
    check_folder(snapshot.folder, written)
    return BaseRef(written, "hub", snapshot.folder, snapshot.commit, base.trust_remote_code)


def _here(base: Base, kind: Kind, path: Path, cache: Path, notify: Notify) -> BaseRef:
    """A model that is on this disk, as a file to convert or as a folder."""
    if path.is_file():
        if path.suffix != ".gguf":
            fix = "give the folder that holds the model, not one of its files"
            raise InputError("a file that is not a .gguf cannot be a base model", where=base.model, fix=fix)
        path = converted(path, cache, notify)
    check_folder(path, base.model)
    return BaseRef(base.model, kind, path.resolve(), None, base.trust_remote_code)


def _no_revision(base: Base) -> None:
    if base.revision is not None:
        raise RecipeError(
            "base.revision names a commit on the hub, but this base model is on the disk",
            where=base.model,
            fix="remove base.revision",
        )


def _looks_like_a_path(written: str) -> bool:
    return written in (".", "..") or written.startswith(("./", "../", "/", "~")) or written.endswith((".gguf", "/"))


def _nearest(path: Path) -> str:
    """What lies where the path was looked for."""
    parent, name = path.parent, path.name
    while not parent.is_dir():
        parent, name = parent.parent, parent.name
    names = sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:3]
    return f"{parent} holds {', '.join(near)}" if near else f"{parent} is empty"


def check_folder(folder: Path, written: str) -> None:
    """Raise InputError unless a folder holds a configuration and whole safetensors weights."""
    if (folder / DIFF_RECORD).exists():
        raise InputError(
            "this is a weight difference, not a model",
            where=written,
            fix=f"make the model of it: lft base diff apply BASE {written} NEW-FOLDER",
        )
    if not (folder / "config.json").exists():
        if (folder / "adapter_config.json").exists():
            what, fix = "this is an adapter, not a base model", "give its base as base.model"
        else:
            what, fix = (
                "this folder is not a model: it has no config.json",
                "give a folder with config.json and safetensors",
            )
        if not _looks_like_a_path(written) and not written.startswith(SCHEME):
            fix += f"; a local folder wins over the hub, so for the hub's {written} start from another folder"
        raise InputError(what, where=written, fix=fix)
    if not isinstance(read_json(folder / "config.json"), dict):
        raise InputError("config.json does not hold a map", where=str(folder), fix="fetch the file again")
    read_headers(folder)
