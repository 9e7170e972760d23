"""``lft adapters verify``: what an adapter is, whether its files are sound, and how it fits a base. No torch."""

from __future__ import annotations

import textwrap
from pathlib import Path

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.fit import LEVELS, BaseSide, Fit, Rung, fit, level_of, require_fit
from lft.adapters.tensors import require_finite
from lft.base.attach import Find, nowhere
from lft.recipe.problems import shown

WIDTH = 80


def verify(
    folder: Path,
    base: BaseSide | None = None,
    allow_mismatch: str | None = None,
    cache: Path | None = None,
    find: Find = nowhere,
) -> tuple[Adapter, Fit | None]:
    """Check an adapter, print what was found, and raise where it must not be used.

    Args:
        folder: the adapter's.
        base: the base to compare with; None checks the adapter alone.
        allow_mismatch: "L1" to "L4": failures from this level on are tolerated.
        cache: keeps digests of the base's weights.
        find: the folder of an adapter by the sha256 of its weights, for those that lie below.

    Raises:
        InputError: the adapter is refused, or a rung failed that is not allowed.
        RecipeError: ``allow_mismatch`` is no level.
    """
    allow = level_of(allow_mismatch) if allow_mismatch is not None else None
    adapter = open_adapter(folder)
    require_finite(adapter.tensors)
    print("\n".join(adapter_lines(adapter)))
    if base is None:
        return adapter, None
    found = fit(adapter, base, cache, find)
    print("\n".join(fit_lines(found, allow)))
    require_fit(found, allow)
    return adapter, found


def adapter_lines(adapter: Adapter) -> list[str]:
    """What an adapter is, in lines of at most 80 columns."""
    said = adapter.configuration
    size = sum(info.end - info.start for info in adapter.tensors)
    ranks = sorted({low.r for low in adapter.low_rank})
    rank = f", rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else "") if ranks else ""
    rows = [
        ("adapter", str(adapter.folder)),
        ("method", f"{said.variant}{rank}"),
        ("base", shown(" ".join(filter(None, [said.base or "not named", said.revision])), 200, "")),
        ("tensors", f"{len(adapter.tensors):,} in {size / 1e6:,.1f} MB, all finite"),
        ("sha256", adapter.digest),
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
