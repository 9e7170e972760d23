"""Where bases and adapters lie on this machine, by what they are: an adapter names no place of anybody's disk.

    lft.json        what it belongs to by content, and a name for people: hub id, package://name, ./folder's own name
    recipe.yaml     of the run that the adapter lies in: where the base was
    CACHE/places/   where a base (by the fingerprint of its weights) or an adapter (by its identity) was last seen

Whatever is found so is compared by content before it is used.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lft.base.binding import Binding
from lft.errors import InputError, LftError, RecipeError
from lft.files import write_text

if TYPE_CHECKING:
    from lft.base.attach import Find

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SOMEWHERE = "./"


def folder_name(path: str | Path) -> str:
    """What others may read of a path: its last part, written so that it is no hub id."""
    return _SOMEWHERE + Path(path).name


def remember(cache: Path, digest: str, place: Path) -> None:
    """Keep where something lies; a cache that cannot be written forgets it."""
    if remembered(cache, digest) != place.absolute():
        with suppress(LftError):
            write_text(_note(cache, digest), json.dumps({"path": str(place.absolute())}) + "\n")


def remembered(cache: Path, digest: str) -> Path | None:
    """Where something was last seen, if there still is something; its content may be another one by now."""
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        place = Path(json.loads(_note(cache, digest).read_bytes())["path"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return place if place.exists() else None


def _note(cache: Path, digest: str) -> Path:
    return cache / "places" / f"{digest}.json"


def or_remembered(find: Find, cache: Path) -> Find:
    """A way to find adapters that asks ``find`` first (a registry), then what is remembered."""
    return lambda adapter: find(adapter) or remembered(cache, adapter)


def recorded_base(binding: Binding, where: Path, cache: Path) -> tuple[str, str | None]:
    """What to write as ``base.model`` and ``base.revision`` for the base that an adapter was trained on.

    Args:
        binding: the adapter's.
        where: its folder; in a run, the run's recipe says where the base was.
        cache: where places are remembered.

    Raises:
        InputError: it was in a folder, and nothing here says where that is.
    """
    written = binding.base
    local = written.startswith((_SOMEWHERE, "/", "~"))
    if not local or (not written.startswith(_SOMEWHERE) and Path(written).expanduser().exists()):
        return written, binding.revision
    for place in (_of_run(where), remembered(cache, binding.weights)):
        if place is not None:
            return str(place), None
    raise InputError(
        f"it was trained on a base in a folder called {Path(written).name} (weights {binding.weights[:12]}), and "
        "nothing on this machine says where that is",
        where=str(where),
        fix="say where: --base FOLDER",
    )


def _of_run(where: Path) -> Path | None:
    """The base in the recipe of the run that an adapter, a model or a checkpoint lies in; None where it is gone."""
    from lft.recipe import load_recipe

    folder = where.absolute()
    recipe = next((run / "recipe.yaml" for run in folder.parents[:2] if (run / "recipe.yaml").is_file()), None)
    if recipe is None or not (recipe.parent / "lock.json").is_file():
        return None
    try:
        place = Path(load_recipe(recipe, allow_unsupported=True).recipe.base.model).expanduser()
    except RecipeError:
        return None
    return place if place.exists() else None
