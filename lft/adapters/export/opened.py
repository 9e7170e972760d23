"""What an export writes, opened on its base: an adapter, a stack, or a merge that need not have been an adapter.

A merge of full matrices (TIES, DARE ...) is computed by rows while the model is written, so it needs no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.algebra.rowwise import Dense
from lft.adapters.certificate import Certificate
from lft.adapters.expression import MergePlan
from lft.adapters.fit import fit, remarks, require_fit
from lft.adapters.inputs import On, open_inputs
from lft.adapters.merge import merge
from lft.adapters.merge_folder import carried_files, merged_binding, rounded_like
from lft.adapters.peft_folder import Named
from lft.adapters.stack import Stacked, is_stack, open_stack, parts_in, stacked, with_below
from lft.base.attach import Find
from lft.base.fingerprint import Fingerprint, fingerprint
from lft.base.places import recorded_base
from lft.base.resolve import BaseRef, named_base, resolve_base
from lft.errors import InputError
from lft.recipe.schema import Base


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are found and kept: adapters by what was written and by identity, digests of bases."""

    folder_of: Callable[[str], Path]
    find: Find
    cache: Path
    notify: Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What was asked for, with what lies below it, on its base.

    ``stacked`` ends with the adapter that was asked for; of a merge that one has the binding and the files of the
    result and no tensors. ``dense`` are changes of full rank beside ``stacked.delta``, ``certificate`` is the merge's,
    and ``parents`` are the adapters that anybody named.
    """

    name: str
    stacked: Stacked
    base: BaseRef
    parents: tuple[Named, ...]
    dense: Mapping[str, Dense] = field(default_factory=lambda: MappingProxyType({}))
    certificate: Certificate | None = None

    @property
    def adapter(self) -> Adapter:
        """The one that was asked for."""
        return self.stacked.adapters[-1]

    @property
    def rows(self) -> int | None:
        """Rows of the embedding that it was trained with, where that is known."""
        return self.adapter.binding.rows if self.adapter.binding else None


def open_written(written: str, base: str | None, place: Place, allow: int | None = None) -> Opened:
    """An adapter or a stack on its base.

    Args:
        written: what was written for it.
        base: the base, as it was written; None for the one that it was trained on.
        place: where things are.
        allow: the level of mismatch that is tolerated.

    Raises:
        InputError: there is no such adapter, it does not fit the base, or one below it is gone.
    """
    folder = place.folder_of(written)
    stack = is_stack(folder)
    adapter = open_stack(folder, place.find) if stack else open_adapter(folder)
    on = _on([Named(written, adapter)], base, place, allow)
    for one in parts_in(adapter, place.find):
        found = fit(one, on.side, on.cache, place.find)
        require_fit(found, allow)
        _tell(remarks(found), place)
    whole = _with_below(adapter, on, place)
    for one in whole.adapters[:-1]:
        place.notify(f"with the adapter {'in' if stack else 'below'} it: {one.folder}")
    name = adapter.binding.name if adapter.binding and adapter.binding.name else Path(written).name
    return Opened(name, whole, on.ref, (Named(written, adapter),))


def open_merge(
    plan: MergePlan,
    name: str,
    base: str | None,
    place: Place,
    allow: int | None = None,
    *,
    files_of: str | None = None,
    base_of: str | None = None,
) -> Opened:
    """A merge on the base of its parents, with what they lie on; full matrices stay to be computed.

    Args:
        plan: what is merged.
        name: what the result is called.
        base: as in ``open_written``.
        place: where things are.
        allow: the level of mismatch that is tolerated.
        files_of: the parent whose tokenizer and prompt format are taken where those of the parents differ.
        base_of: the parent whose base's rounding counts where that differs.

    Raises:
        InputError: an adapter is refused or does not fit, the parents' files or bases differ and nobody chose.
        RecipeError: the plan does not hold together.
    """
    refs = [term.ref for term in plan.inputs]
    seen = [Named(ref, open_adapter(place.folder_of(ref))) for ref in refs]
    on = _on(seen, base, place, allow)
    inputs = open_inputs(refs, place.folder_of, on)
    for found in inputs.fits:
        _tell((f"{found.adapter.name}: {line}" for line in remarks(found)), place)
    carried_files(inputs.parents, files_of)
    like = rounded_like(inputs.parents, base_of)
    merged = merge(plan, inputs.sources, inputs.weights)
    first = next(one.adapter for one in inputs.parents if files_of in (None, one.ref))
    binding = merged_binding(inputs.parents, plan.method, name, like)
    top = replace(first, binding=binding, low_rank=(), whole=(), rows=(), tensors=(), copies=())
    below = _with_below(top, on, place)
    for one in below.adapters[:-1]:
        place.notify(f"with the adapter below it: {one.folder}")
    both = replace(below, delta=stacked([below.delta, merged.delta]))
    return Opened(name, both, on.ref, inputs.parents, merged.dense, merged.certificate)


def _on(adapters: Sequence[Named], base: str | None, place: Place, allow: int | None) -> On:
    wanted = named_base(base) if base is not None else _recorded(adapters, place)
    return On(resolve_base(wanted, place.cache, place.notify), place.cache, place.find, allow)


def _recorded(adapters: Sequence[Named], place: Place) -> Base:
    """The base that one of them was trained on; whether it is that of all is checked where it is at hand."""
    bound = [(one.adapter.binding, one.adapter.folder) for one in adapters if one.adapter.binding is not None]
    if bound:
        binding, folder = min(bound, key=lambda one: (one[0].base, one[0].revision or ""))
        model, revision = recorded_base(binding, folder, place.cache)
        return Base(model=model, revision=revision)
    first_named = adapters[0].adapter
    raise InputError(
        f"this adapter was not made by lft, and a base is not fetched because a file names it "
        f"({first_named.configuration.base or 'it names none'})",
        where=str(first_named.folder),
        fix="name it: --base user/model, or --base FOLDER",
    )


def _with_below(adapter: Adapter, on: On, place: Place) -> Stacked:
    identity = fingerprint(on.ref.folder, on.cache)
    on.ref.remember(place.cache, identity.weights)
    if on.allow is not None and adapter.binding is not None:  # what lies below was bound to the base of training
        identity = Fingerprint(adapter.binding.weights, adapter.binding.tokenizer)
    return with_below(adapter, on.ref.folder, identity, place.find)


def _tell(lines: Iterable[str], place: Place) -> None:
    for line in lines:
        place.notify(line)
