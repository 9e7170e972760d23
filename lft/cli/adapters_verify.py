"""``lft adapters verify``: what an adapter is, whether its files are sound, and how it fits a base. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.fit import LEVELS, BaseSide, Fit, Rung, fit, level_of, require_fit
from lft.adapters.tensors import require_finite
from lft.base.attach import Find, nowhere, recorded_folder
from lft.base.binding import Below, Binding
from lft.errors import InputError
from lft.files import require_whole
from lft.recipe.problems import shown

WIDTH = 80


def verify(
    folder: Path,
    base: BaseSide | None = None,
    allow_mismatch: str | None = None,
    cache: Path | None = None,
    find: Find = nowhere,
    label: str | None = None,
) -> tuple[Adapter, Fit | None]:
    """Check an adapter, print what was found, and raise where it must not be used.

    Args:
        folder: the adapter's.
        base: the base to compare with; None checks the adapter alone.
        allow_mismatch: "L1" to "L4": failures from this level on are tolerated.
        cache: keeps digests of the base's weights.
        find: the folder of an adapter by its identity, for those that lie below.
        label: what people call it; None is its folder.

    Raises:
        InputError: the adapter is refused, or a rung failed that is not allowed.
        RecipeError: ``allow_mismatch`` is no level.
    """
    allow = level_of(allow_mismatch) if allow_mismatch is not None else None
    try:
        adapter = open_adapter(folder)
        require_finite(adapter.tensors)
        print("\n".join(adapter_lines(adapter, label)))
        if base is None:
            return adapter, None
        found = fit(adapter, base, cache, find)
        print("\n".join(fit_lines(found, allow)))
        require_fit(found, allow)
    except InputError as error:
        if label and error.where:
            error.where = error.where.replace(str(folder), label)
        raise
    return adapter, found


def verify_stack(
    folder: Path,
    base: BaseSide | None,
    allow_mismatch: str | None,
    cache: Path | None,
    find: Find,
    label: str,
    name_of: Callable[[Path], str],
) -> None:
    """Check each adapter of a stack as ``verify`` does, print what was found, and raise where one must not be used.

    Args:
        folder: the stack's.
        base: the base to compare with; None checks the adapters alone.
        allow_mismatch: as for ``verify``.
        cache: keeps digests of the base's weights.
        find: the folder of an adapter by its identity.
        label: what people call the stack.
        name_of: what people call the adapter in a folder.

    Raises:
        InputError: one of them is gone, is another adapter by now, or is refused; the others were looked at all the
            same.
        RecipeError: ``allow_mismatch`` is no level.
    """
    if allow_mismatch is not None:
        level_of(allow_mismatch)
    binding = Binding.load(folder)
    require_whole(folder, "the stack")
    print("\n".join(_row(binding.stack, f"{label}, {len(binding.below)} adapters", 11)))
    odd = []
    for one in binding.below:
        try:
            place = recorded_folder(one, folder, find)
            name = name_of(place)
            print("\n".join(["", *_row("part", f"{one.share} x {name}", 11)]))
            adapter, _ = verify(place, base, allow_mismatch, cache, find, name)
            _require_meant(adapter, one, label, name)
        except InputError as error:
            print("\n".join(_row("refused", error.what, 11)))
            odd.append(error)
    if odd:
        raise odd[0]


def _require_meant(adapter: Adapter, part: Below, label: str, name: str) -> None:
    if not adapter.identity.is_meant(part.weights):
        raise InputError(
            f"{name} is another adapter than the one that {label} was made of ({part.weights[:12]} wanted, "
            f"{adapter.digest[:12]} found)",
            where=label,
            fix="put back that adapter as it was, or make the stack again",
        )


def adapter_lines(adapter: Adapter, label: str | None = None) -> list[str]:
    """What an adapter is, in lines of at most 80 columns; ``label`` is what people call it."""
    said, known = adapter.configuration, adapter.identity
    bound = (adapter.binding.base, adapter.binding.revision) if adapter.binding else (said.base, said.revision)
    size = sum(info.end - info.start for info in adapter.tensors)
    ranks = sorted({low.r for low in adapter.low_rank})
    rank = f", rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else "") if ranks else ""
    rows = [
        ("adapter", label or str(adapter.folder)),
        ("method", f"{said.variant}{rank}"),
        ("base", shown(" ".join(filter(None, bound)) or "not named", 200, "")),
        ("tensors", f"{len(adapter.tensors):,} in {size / 1e6:,.1f} MB, all finite"),
        ("sha256", known.weights),
        ("identity", known.digest),
    ]
    if adapter.opaque:
        rows.append(("note", f"{adapter.opaque}: it can be used alone, not merged"))
    if adapter.copies:
        rows.append(
            ("copies", f"{len(adapter.copies)} tensors repeat others or the base's, as {adapter.copies[0].name}")
        )
    if adapter.ignored:
        rows.append(("left aside", ", ".join(adapter.ignored)))
    return [line for name, text in rows for line in _row(name, text, 11)]


def fit_lines(found: Fit, allow: int | None = None) -> list[str]:
    """The ladder, in lines of at most 80 columns; a failure that is tolerated says so."""
    lines = ["", *_row("on base", found.base.name or str(found.base.folder), 11)]
    for rung in found.rungs:
        lines += _row(f"{LEVELS[rung.level]} {rung.name}", f"{_verdict(rung, found, allow):8} {rung.why}", 20)
    return lines


def _verdict(rung: Rung, found: Fit, allow: int | None) -> str:
    tolerated = rung.passed is False and rung not in found.refused(allow)
    return "allowed" if tolerated else rung.verdict


def _row(name: str, text: str, width: int) -> list[str]:
    """A name and a text beside it, as many lines as it takes; a text that has no spaces is cut where it must be."""
    indent = " " * width
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<{width}}", subsequent_indent=indent) or [name]
