"""Stacks among the inputs of a merge: each becomes its adapters, with their weights times its own.

0.5*both + en,  both = 0.7*de + 0.3*recipes[0-11]     ──▶     0.35*de + 0.15*recipes[0-11] + en
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.expression import MergePlan, Term
from lft.adapters.stacking import Place, times
from lft.adapters.weights import ByLayer, Weight, total
from lft.base.attach import recorded_folder
from lft.base.binding import Below, Binding, is_stack
from lft.base.shares import layer_of, within
from lft.errors import InputError, RecipeError


def unstacked(plan: MergePlan, place: Place) -> MergePlan:
    """A plan without stacks.

    Args:
        plan: what was asked for.
        place: where adapters are found.

    Raises:
        InputError: an input or a part of one is gone, or it is a chain whose order means something.
        RecipeError: a stack has no single number for its weight, or a part stands in two places that are no one weight.
    """
    found: dict[str, Term] = {}
    for term in plan.inputs:
        for one in _terms(term, place):
            known = found.get(one.ref)
            found[one.ref] = _joined(known, one) if known else one
    return replace(plan, inputs=tuple(found.values()))


def adapters_in(refs: Iterable[str], place: Place) -> list[str]:
    """Names of adapters, with the adapters of a stack in its place; each once, whatever weight the stack gives it.

    Args:
        refs: what was written.
        place: where adapters are found.

    Raises:
        InputError: as for ``unstacked``, or a stack has a part in some layers only.
    """
    found: dict[str, None] = {}
    for ref in refs:
        for term in _terms(Term(ref, 1.0), place):
            if isinstance(term.weight, ByLayer):
                raise InputError(
                    f"a part of it, {term.ref}, stands in some layers only, and whole adapters are looked at here",
                    where=ref,
                    fix="name its adapters, or merge it first: lft adapters merge",
                )
            found[term.ref] = None
    return list(found)


def _terms(term: Term, place: Place) -> Iterator[Term]:
    folder = place.folder_of(term.ref)
    if not is_stack(folder):
        yield term
        return
    if not isinstance(term.weight, float):
        raise RecipeError(
            "a stack takes one number for its weight: it has weights of its own",
            where=term.ref,
            fix="write 0.5*NAME in an expression, or name its adapters with weights by pattern or layer",
        )
    binding = Binding.load(folder)
    for part in binding.below:
        there = recorded_folder(part, folder, place.find)
        adapter = open_adapter(there)
        if binding.stack == "chain" and adapter.rows:
            raise InputError(
                "it is a chain whose parts bring rows of tokens, so that their order means something, and a merge has "
                "no order",
                where=term.ref,
                fix="merge its adapters by name, or export the chain as one adapter: lft adapters export --to peft",
            )
        yield Term(_ref(there, place), _weight(times(term.weight, part.weight), part, adapter, term.ref))


def _ref(folder: Path, place: Place) -> str:
    """What the adapter in a folder is called in the plan: its name and version, where those still mean it."""
    if folder.resolve().parent != place.checkouts.resolve():
        return str(folder)
    label = place.label(folder.name)
    try:
        same = place.folder_of(label).name == folder.name
    except InputError:  # a version that was removed, and that the stack keeps
        same = False
    return label if same else f"sha256:{folder.name}"


def _weight(weight: float, part: Below, adapter: Adapter, stack: str) -> Weight:
    if not part.layers:
        return weight
    names = [low.module for low in adapter.low_rank]
    layers = [layer_of(name) for name in names]
    if adapter.rows or None in layers:
        raise InputError(
            f"a part of it stands in layers {part.layers} and also changes what belongs to no layer",
            where=stack,
            fix="merge its adapters by name, with weights by pattern",
        )
    last = max(layer for layer in layers if layer is not None)
    return ByLayer(tuple(weight if within(part.layers, f"layers.{layer}.") else 0.0 for layer in range(last + 1)))


def _joined(one: Term, other: Term) -> Term:
    weight = None if one.weight is None or other.weight is None else total(one.weight, other.weight)
    if weight is None:
        raise RecipeError(f"{one.ref} is there twice, once in a stack, and its weights are no one number")
    return Term(one.ref, weight)
