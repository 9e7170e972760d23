"""What takes part in which layer when a version is used, with weights and ranks; from manifests alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import STACKS, Manifest, Parent
from lft.adapters.store.versions import Stored, by_digest
from lft.base.shares import layer_of, layer_ranges, within, written_layers
from lft.errors import InputError

_SHARE = re.compile(r"(-?[0-9.]+(?:e[-+][0-9]+)?)(?:\[([0-9,-]+)\])?")


@dataclass(frozen=True, slots=True)
class Active:
    """An adapter that takes part: ``manifest`` is None where the registry does not have it."""

    name: str
    weight: str
    layers: str
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class Line:
    """Modules of a range of layers (None: in no layer) with those active there: place in the list, weight, rank."""

    layers: str | None
    modules: tuple[str, ...]
    parts: tuple[tuple[int, str, int], ...]


def active(store: Store, stored: Stored) -> tuple[Active, ...]:
    """All that takes part when a version is used, lowest first; its own adapter is the last.

    What was asked for with a weight keeps it, also where another part of the stack lies on the same adapter.
    """
    found: dict[str, Active] = {}
    manifest = stored.manifest
    if manifest.kind in STACKS:
        shares = {_key(store, one): one for one in manifest.lineage.parents}
        for parent in manifest.lineage.parents:
            _with_below(store, parent, shares, found)
    else:
        shares = {_key(store, one): one for one in manifest.lineage.parents if one.role == "below"}
        for parent in shares.values():
            _with_below(store, parent, shares, found)
        found[stored.digest] = Active(str(stored), "1", "", manifest)
    return tuple(found.values())


def _with_below(store: Store, parent: Parent, shares: Mapping[str, Parent], found: dict[str, Active]) -> None:
    key, stored = _key(store, parent), _stored(store, parent)
    if key in found:
        return
    weight, layers = _share(shares.get(key, parent).weight)
    for lower in stored.manifest.lineage.parents if stored else ():
        if lower.role == "below":
            _with_below(store, lower, shares, found)
    name = str(stored) if stored else f"not in the registry ({parent.weights[:12]})"
    found[key] = Active(name, weight, layers, stored.manifest if stored else None)


def _stored(store: Store, parent: Parent) -> Stored | None:
    try:
        return by_digest(store, parent.digest) if parent.digest else None
    except InputError:
        return None


def _key(store: Store, parent: Parent) -> str:
    """What tells an adapter from others; an older manifest names it by its tensors, its own by what it does."""
    stored = _stored(store, parent)
    return (stored.manifest.identity or stored.manifest.weights) if stored else parent.weights


def _share(written: str | None) -> tuple[str, str]:
    """Weight and layers of a parent."""
    match = _SHARE.fullmatch(written or "1")
    return (match[1], match[2] or "") if match else (written or "1", "")


def by_layer(parts: Sequence[Active]) -> tuple[Line, ...]:
    """The table: layers with the same parts in the same modules are one line, then what is in no layer."""
    there: dict[tuple[int | None, str], list[tuple[int, str, int]]] = {}
    for place, one in enumerate(parts, 1):
        for target in one.manifest.lora.targets if one.manifest and one.manifest.lora else ():
            if within(one.layers, target.module):
                key = layer_of(target.module), _kind(target.module)
                there.setdefault(key, []).append((place, one.weight, target.r))
    return tuple(_lines({key: tuple(value) for key, value in there.items()}))


_Parts = tuple[tuple[int, str, int], ...]


def _lines(there: Mapping[tuple[int | None, str], _Parts]) -> Iterator[Line]:
    by_content: dict[tuple[bool, str, _Parts], set[int]] = {}
    for (layer, kind), parts in there.items():
        by_content.setdefault((layer is None, kind, parts), set()).update(() if layer is None else (layer,))
    modules: dict[tuple[str | None, _Parts], list[str]] = {}
    for (alone, kind, parts), layers in by_content.items():
        ranges = None if alone else written_layers(layer_ranges(",".join(map(str, sorted(layers)))))
        modules.setdefault((ranges, parts), []).append(kind)
    order = sorted(modules, key=lambda one: (one[0] is None, _first(one[0]), one[1]))
    for ranges, parts in order:
        yield Line(ranges, tuple(sorted(modules[ranges, parts])), parts)


def _first(ranges: str | None) -> tuple[int, int]:
    return layer_ranges(ranges)[0] if ranges else (0, 0)


def _kind(module: str) -> str:
    """A module without its layer: the last word says enough (``q_proj``)."""
    return module.rpartition(".")[2]
