"""In which layers an adapter takes part, written as numbers and ranges: ``0-11,16``; empty for all."""

from __future__ import annotations

import re

from lft.errors import RecipeError

_RANGES = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")


def layer_of(name: str) -> int | None:
    """The layer that a module or tensor belongs to: the first part of its name that is a number."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def layer_ranges(written: str) -> tuple[tuple[int, int], ...]:
    """First and last layer of each range, in order and joined where they touch; none for all layers.

    Raises:
        RecipeError: it cannot be read, or a range ends before it begins.
    """
    if not written:
        return ()
    if not _RANGES.fullmatch(written):
        raise RecipeError(f"{written[:40]!r} is no range of layers", fix="write numbers and ranges: 0-11,16")
    ends = [(part + "-" + part).split("-")[:2] for part in written.split(",")]
    joined: list[tuple[int, int]] = []
    for first, last in sorted((int(one), int(other)) for one, other in ends):
        if last < first:
            raise RecipeError(f"{first}-{last} ends before it begins", where="layers", fix=f"write {last}-{first}")
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def written_layers(ranges: tuple[tuple[int, int], ...]) -> str:
    """Ranges as they are written, the same text for the same layers."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def within(layers: str, name: str) -> bool:
    """Whether a module or tensor is in these layers; what belongs to no layer (an embedding, a head) always is."""
    layer = layer_of(name)
    return layer is None or not layers or any(first <= layer <= last for first, last in layer_ranges(layers))
