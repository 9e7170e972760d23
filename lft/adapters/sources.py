"""Adapters ready to be merged, and whether they belong together: one base by content, one floor of adapters below."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from lft.adapters.adapter import Adapter, require_additive
from lft.adapters.algebra.peft import PeftAdapter, read_peft
from lft.adapters.deltas import Base, Delta, read_delta
from lft.base.binding import Below, Binding
from lft.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An adapter ready to be merged.

    ``ref`` is what messages call it, ``digest`` its identity, what certificates call it (and what makes its random
    numbers its own); ``weights`` the sha256 of its tensors, by which older adapters name it.
    ``peft`` gives it as PEFT holds it, for ``compat`` methods; ``named`` is the base that its configuration names.
    """

    ref: str
    digest: str
    delta: Delta
    binding: Binding | None = None
    peft: Callable[[], PeftAdapter] | None = None
    named: str | None = None
    weights: str = ""


def source_of(ref: str, adapter: Adapter, base: Base | None = None) -> Source:
    """A source from an opened adapter.

    Args:
        ref: its name for messages.
        adapter: from ``open_adapter``.
        base: the base's tensors; only a DoRA needs them.

    Raises:
        InputError: its method is no plain sum, or it is a DoRA and there is no base.
    """
    require_additive(adapter)
    delta = read_delta(adapter, base)
    base_name = adapter.configuration.base
    known = adapter.identity
    return Source(ref, known.digest, delta, adapter.binding, lambda: read_peft(adapter), base_name, known.weights)


def require_same_base(sources: Sequence[Source]) -> tuple[str, ...]:
    """The fingerprints (weights, tokenizer) of the base that all adapters were trained on.

    Returns:
        Both; nothing where none of the adapters says what it was trained on.

    Raises:
        InputError: they differ, only some say it, or they were trained on top of different adapters; with names.
    """
    bound = [(source.ref, source.binding) for source in sources if source.binding is not None]
    free = [source.ref for source in sources if source.binding is None]
    if not bound:
        _require_one_name(sources)
        return ()
    first, known = bound[0]
    inputs = {name for source in sources for name in (source.digest, source.weights)}
    if free:
        raise InputError(
            f"{first} is bound to {known.base} and {', '.join(free)} to no base: nothing shows that they go together",
            fix="bind it first: lft adapters merge FOREIGN --base BASE --name you/name",
        )
    for ref, binding in bound[1:]:
        odd = [what for what in ("weights", "tokenizer") if getattr(binding, what) != getattr(known, what)]
        if odd:
            raise InputError(
                f"{first} and {ref} were trained on different bases: {' and '.join(odd)} differ "
                f"({known.base} {getattr(known, odd[0])[:12]}, {binding.base} {getattr(binding, odd[0])[:12]})",
                fix="merge adapters of one base",
            )
        if _weights(floor(binding, inputs)) != _weights(floor(known, inputs)):
            raise InputError(
                f"{first} and {ref} were trained on top of different adapters",
                fix="merge adapters that lie on the same ones, or add what lies below to the merge",
            )
    return known.weights, known.tokenizer


def _require_one_name(sources: Sequence[Source]) -> None:
    """Foreign adapters say the name of their base at most; where they say different ones, that is known to be wrong."""
    named = {source.named: source.ref for source in sources if source.named}
    if len(named) > 1:
        said = ", ".join(f"{ref} on {name}" for name, ref in sorted(named.items()))
        raise InputError(f"they were trained on different bases: {said}", fix="merge adapters of one base")


def recorded_as(adapters: Iterable[Adapter]) -> frozenset[str]:
    """All that these adapters are called where they lie below others: identities, in older files sha256 of weights."""
    found = [adapter.identity for adapter in adapters]
    return frozenset(name for one in found for name in (one.digest, one.weights))


def floor(binding: Binding, inputs: Collection[str]) -> tuple[Below, ...]:
    """What an adapter lies on, without what is itself merged in: base + P + Q with Q trained on P is their sum."""
    return tuple(below for below in binding.below if below.weights not in inputs)


def _weights(lower: Sequence[Below]) -> list[tuple[str, float, str]]:
    return [(one.weights, one.weight, one.layers) for one in lower]
