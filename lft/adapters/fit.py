"""Whether an adapter belongs on a base, rung by rung, without torch and without loading either.

    L0  names and shapes   every tensor of the adapter has its place, every module it speaks of has its tensors
    L1  name and config    hub name, commit, and what config.json says of the model's function
    L2  weights            the base's weights, bit for bit
    L3  tokenizer          the base's tokens and ids, and rows for the tokens that were added
    L4  what lies below    adapters that it was trained on, the layout of its file, quantization

A rung that nothing is known about is neither passed nor failed, and says so: what other tools make says nothing of L2.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.adapter import Adapter
from lft.adapters.cover import BaseTensors, base_tensors, faults
from lft.adapters.vocabulary import tokenizer_rung
from lft.base.attach import WEIGHTS, Find, nowhere
from lft.base.binding import Below
from lft.base.configuration import configuration
from lft.base.fingerprint import weights_fingerprint
from lft.base.hub import REPO_ID
from lft.base.identity import identity
from lft.base.package import SCHEME as PACKAGE
from lft.base.resolve import BaseRef
from lft.errors import InputError, RecipeError
from lft.hub.access import COMMIT
from lft.recipe.peft_options import peft_version
from lft.recipe.problems import listed, shown

LEVELS: Final = ("L0", "L1", "L2", "L3", "L4")
NAMES: Final = ("names and shapes", "name and config", "weights", "tokenizer", "what lies below")


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung: ``passed`` is None where nothing is known; ``why`` is one line for people."""

    level: int
    name: str
    passed: bool | None
    why: str

    @property
    def verdict(self) -> str:
        """One word."""
        return {True: "passed", False: "failed", None: "unknown"}[self.passed]


@dataclass(frozen=True, slots=True)
class BaseSide:
    """A base on the disk; ``name`` is the hub's or a package's and ``revision`` the hub's, where they are known."""

    folder: Path
    name: str | None = None
    revision: str | None = None


def side_of(ref: BaseRef) -> BaseSide:
    """A base that was found, with the name that others know it by."""
    return BaseSide(ref.folder, ref.written if ref.kind in ("hub", "package") else None, ref.revision)


@dataclass(frozen=True, slots=True)
class Fit:
    """All rungs for one adapter on one base, L0 first."""

    adapter: Path
    base: BaseSide
    rungs: tuple[Rung, ...]

    @property
    def passed(self) -> bool:
        """Whether no rung failed (some may be unknown)."""
        return all(rung.passed is not False for rung in self.rungs)

    def refused(self, allow: int | None = None) -> tuple[Rung, ...]:
        """Failed rungs that are not allowed: L0 always, others below the level that is."""
        return tuple(
            rung
            for rung in self.rungs
            if rung.passed is False and (rung.level == 0 or allow is None or rung.level < allow)
        )


def base_side(folder: Path) -> BaseSide:
    """A base folder with the name and commit that the hub library's cache keeps in its path, where it is one."""
    real = folder.resolve()
    repo = real.parent.parent.name
    if real.parent.name == "snapshots" and repo.startswith("models--") and COMMIT.fullmatch(real.name):
        return BaseSide(folder, repo.removeprefix("models--").replace("--", "/"), real.name)
    return BaseSide(folder)


def fit(adapter: Adapter, base: BaseSide, cache: Path | None, find: Find = nowhere) -> Fit:
    """How an adapter fits a base.

    Args:
        adapter: from ``open_adapter``.
        base: its folder (``base_side``).
        cache: keeps digests of the base's weights; None reads them all again.
        find: the folder of an adapter by its identity, for those that lie below.

    Raises:
        InputError: the base's own files are not whole.
    """
    tensors = base_tensors(base.folder)
    weights = _weights(adapter, base.folder, cache)
    rungs = (
        _cover(adapter, tensors),
        _name(adapter, base, weights),
        weights,
        Rung(3, NAMES[3], *tokenizer_rung(adapter, tensors)),
        _below(adapter, find),
    )
    return Fit(adapter.folder, base, rungs)


def require_fit(found: Fit, allow: int | None = None) -> None:
    """Raise InputError for the first rung that failed and is not allowed.

    ``allow`` (``--allow-mismatch``) tolerates failures of that level and of all above it: L2 lets other weights,
    another tokenizer and other adapters below pass, and still wants the same name and configuration. L0 is never
    tolerated: what has no place on the base cannot be put there. An unknown rung is never an error.
    """
    refused = found.refused(allow)
    if not refused:
        return
    first, more = refused[0], refused[1:]
    also = f" (also {', '.join(LEVELS[rung.level] for rung in more)})" if more else ""
    fix = "use the base that it was trained on"
    if first.level:
        fix += f", or go on at your own risk with --allow-mismatch {LEVELS[first.level]}"
    what = f"it does not fit {found.base.name or found.base.folder}: {LEVELS[first.level]} {first.name}: {first.why}"
    raise InputError(what + also, where=str(found.adapter), fix=fix)


def remarks(found: Fit) -> tuple[str, ...]:
    """A line for every rung that did not pass and is no error: not known, or tolerated."""
    words = {None: "not known", False: "tolerated"}
    return tuple(f"{words[one.passed]}: L{one.level} {one.name}: {one.why}" for one in found.rungs if not one.passed)


def level_of(written: str) -> int:
    """The number of a level as people write it ("L2", "l2", "2"). Raises RecipeError for any but L1 to L4."""
    found = re.fullmatch(r"[Ll]?([1-4])", written.strip())
    if not found:
        raise RecipeError(
            f"{written!r} is no level that may be allowed",
            where="--allow-mismatch",
            fix="one of L1, L2, L3, L4; names and shapes (L0) must fit",
        )
    return int(found[1])


def _cover(adapter: Adapter, base: BaseTensors) -> Rung:
    if why := adapter.opaque:
        return Rung(0, NAMES[0], None, f"{why}; its tensors are not compared")
    found = faults(adapter, base)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Rung(0, NAMES[0], False, found[0] + more)
    parts = [f"{len(adapter.low_rank)} modules"]
    parts += [f"{len(adapter.whole)} whole tensors"] if adapter.whole else []
    parts += [f"{sum(len(rows.tokens) for rows in adapter.rows)} token rows"] if adapter.rows else []
    return Rung(0, NAMES[0], True, f"{', '.join(parts)}, all of them in the base")


def _name(adapter: Adapter, base: BaseSide, weights: Rung) -> Rung:
    """L1. Other name or commit, same weights: the same base all the same, for it is bound by content."""
    keys = _differing(adapter, base.folder)
    if keys:
        return Rung(
            1, NAMES[1], False, f"its config.json differs in {listed([shown(key, quote='') for key in keys], limit=4)}"
        )
    wanted, commit = _declared(adapter)
    odd = []
    if wanted and base.name and wanted != base.name:
        odd.append(f"trained on {wanted}, this is {base.name}")
    elif commit and base.revision and commit != base.revision:
        odd.append(f"trained on commit {commit[:12]}, this is {base.revision[:12]}")
    if odd:
        same = weights.passed is True
        return Rung(1, NAMES[1], same, odd[0] + ("; the same weights" if same else ""))
    if wanted and base.name:
        at = f"@{commit[:12]}" if commit and base.revision else ", commit not recorded"
        return Rung(1, NAMES[1], True, wanted if wanted.startswith(PACKAGE) else f"{wanted}{at}")
    if adapter.binding and adapter.binding.config:
        return Rung(1, NAMES[1], True, "the same config.json; the base's name is not known here")
    path = adapter.binding.base if adapter.binding else adapter.configuration.base
    unnamed = f"the adapter names its base by a path, {shown(path)}" if path else "the adapter does not name its base"
    return Rung(1, NAMES[1], None, "this folder does not tell its name" if wanted else unnamed)


def _declared(adapter: Adapter) -> tuple[str | None, str | None]:
    """Name (of the hub or a package) and commit of the base that an adapter was trained on; a path is no name."""
    name, revision = adapter.configuration.base, adapter.configuration.revision
    if adapter.binding:
        name, revision = adapter.binding.base, adapter.binding.revision
    name = name if name and (name.startswith(PACKAGE) or ("/" in name and REPO_ID.fullmatch(name))) else None
    return name, revision if name and revision and COMMIT.fullmatch(revision) else None


def _differing(adapter: Adapter, folder: Path) -> list[str]:
    """Keys to which both configurations give a value, and not the same.

    What only one of them has may be a default that another version of transformers writes; putting the adapter on
    (``Binding.require``) compares those too, with the library at hand.
    """
    if not adapter.binding or not adapter.binding.config:
        return []
    recorded, there = json.loads(adapter.binding.config), json.loads(configuration(folder))
    if not isinstance(recorded, dict) or not isinstance(there, dict):
        return ["its whole content"]
    return [shown(key, quote="") for key in sorted(recorded.keys() & there.keys()) if recorded[key] != there[key]]


def _weights(adapter: Adapter, folder: Path, cache: Path | None) -> Rung:
    if not adapter.binding:
        return Rung(2, NAMES[2], None, "not recorded: only lft writes down what the base's weights were")
    wanted, there = adapter.binding.weights, weights_fingerprint(folder, cache)
    if wanted == there:
        return Rung(2, NAMES[2], True, f"bit for bit ({there[:12]})")
    return Rung(2, NAMES[2], False, f"other weights: trained on {wanted[:12]}, these are {there[:12]}")


def _below(adapter: Adapter, find: Find) -> Rung:
    """L4."""
    newer = _newer(adapter.configuration.peft_version)
    if adapter.binding is None:
        also = f"; and PEFT {newer} wrote it, newer than this reader" if newer else ""
        return Rung(4, NAMES[4], None, f"not recorded: adapters below it, quantization of its base{also}")
    gone = [why for below in adapter.binding.below if (why := _missing(below, find))]
    if gone:
        return Rung(4, NAMES[4], False, gone[0])
    if newer:
        return Rung(4, NAMES[4], None, f"PEFT {newer} wrote it, newer than this reader knows ({peft_version()})")
    count, quantize = len(adapter.binding.below), adapter.binding.quantize
    said = f"{count} adapters below, all there" if count else "nothing below"
    return Rung(4, NAMES[4], True, said + (f"; trained on the base in {quantize}" if quantize else ""))


def _missing(below: Below, find: Find) -> str | None:
    """Why an adapter below is not at hand."""
    if find(below.weights):
        return None
    if not (Path(below.path) / WEIGHTS).is_file():
        return f"an adapter below is gone: {shown(below.path, 200)}"
    if not identity(Path(below.path)).is_meant(below.weights):
        return f"an adapter below has changed: {shown(below.path, 200)}"
    return None


def _newer(written: str | None) -> str | None:
    """The version of PEFT that wrote a file, where it is newer than the one whose layouts are known."""
    found, known = (re.match(r"(\d{1,4})\.(\d{1,4})", text or "") for text in (written, peft_version()))
    if not found or not known:
        return None
    newer = (int(found[1]), int(found[2])) > (int(known[1]), int(known[2]))
    return f"{found[1]}.{found[2]}" if newer else None
