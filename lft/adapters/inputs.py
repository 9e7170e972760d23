"""The adapters of a merge, opened; with a base at hand checked against it rung by rung, and bound to it.

What another program made says little of its base. Named with one (``--base``) it is checked as ``verify`` does, and
from then on it is bound to that base like the others: merged alone it becomes a bound version of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lft
from lft.adapters import cover
from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.base_tensors import base_tensors
from lft.adapters.deltas import Base
from lft.adapters.fit import BaseSide, Fit, fit, require_fit, side_of
from lft.adapters.peft_folder import Named
from lft.adapters.sources import Source, source_of
from lft.base.attach import Find
from lft.base.binding import Binding
from lft.base.embeddings import is_input
from lft.base.fingerprint import Fingerprint, fingerprint
from lft.base.resolve import BaseRef
from lft.errors import InputError


@dataclass(frozen=True, slots=True)
class On:
    """A base that is here: ``cache`` keeps its digests, ``allow`` is the level of mismatch that is tolerated."""

    ref: BaseRef
    cache: Path | None
    find: Find
    allow: int | None = None

    @property
    def side(self) -> BaseSide:
        """As the ladder of fit wants it."""
        return side_of(self.ref)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The adapters by the names that the plan has for them; ``weights`` are the base's, None without one."""

    parents: tuple[Named, ...]
    sources: Mapping[str, Source]
    weights: Base | None
    fits: tuple[Fit, ...]


def open_inputs(refs: Sequence[str], folder_of: Callable[[str], Path], on: On | None = None) -> Inputs:
    """Open what a plan names.

    Args:
        refs: what was written for each adapter.
        folder_of: where that is.
        on: the base that they are checked against; None takes each by its own word.

    Raises:
        InputError: one is refused, does not fit the base, or is no sum; without a base, only some are bound to one.
    """
    parents = [Named(ref, open_adapter(folder_of(ref))) for ref in dict.fromkeys(refs)]
    if on is None:
        _require_bound_alike(parents)
        sources = {one.ref: source_of(one.ref, one.adapter) for one in parents}
        return Inputs(tuple(parents), sources, None, ())
    fits = [fit(one.adapter, on.side, on.cache, on.find) for one in parents]
    for found in fits:
        require_fit(found, on.allow)
    identity, weights = fingerprint(on.ref.folder, on.cache), base_tensors(on.ref.folder)
    shapes = cover.base_tensors(on.ref.folder)
    named = [Named(one.ref, _bound(cover.oriented(one.adapter, shapes), on.ref, identity, shapes)) for one in parents]
    sources = {one.ref: source_of(one.ref, one.adapter, weights) for one in named}
    return Inputs(tuple(named), sources, weights, tuple(fits))


def _require_bound_alike(parents: Sequence[Named]) -> None:
    bound = [one.ref for one in parents if one.adapter.binding is not None]
    free = [one.ref for one in parents if one.adapter.binding is None]
    if bound and free:
        raise InputError(
            f"{bound[0]} is bound to its base and {', '.join(free)} to none: nothing shows that they go together",
            fix="name the base, and all of them are checked against it: --base user/model, or --base FOLDER",
        )


def _bound(adapter: Adapter, ref: BaseRef, identity: Fingerprint, base: cover.BaseTensors) -> Adapter:
    """The adapter with a binding; one that has its own keeps it."""
    if adapter.binding is not None:
        return adapter
    stored = [shape[0] for name, shape in base.shapes.items() if is_input(name)]
    saved = [one.info.shape[0] for one in adapter.whole if is_input(one.tensor)]
    trained = [max(rows.tokens) + 1 for rows in adapter.rows]
    rows = max([*stored, *saved, *trained], default=1)
    binding = Binding(
        ref.written, ref.revision, identity.weights, identity.tokenizer, rows, "", {}, lft.__version__,
        config=identity.config,
    )  # fmt: skip
    return replace(adapter, binding=binding)
