"""Where the adapters are that another was made from: written beside it when it is pushed, fetched when it is pulled.

    lft-parents.json   name and version, digest and identity of each, and the repository and commit that has it

What comes from there is checked like anything that is pulled; that it is the adapter that is meant, its identity says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lft.adapters.hub_fetch import PARENTS
from lft.adapters.store import index
from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import Parent
from lft.adapters.store.marks import tags
from lft.adapters.store.names import reference
from lft.adapters.store.strict import decoded
from lft.adapters.store.versions import by_digest
from lft.base.binding import BINDING_FILE, Binding
from lft.base.files import Notify, unique_keys
from lft.errors import InputError, LftError
from lft.hub.access import SCHEME, HubRef, hub_ref

SOURCE: Final = "source"  # the tag that says where a version was pulled from: hub:user/name@commit
FORMAT: Final = 1
DEEPEST: Final = 32  # adapters on adapters
MOST: Final = 256  # that one is made from
_HEX: Final = re.compile(r"[0-9a-f]{64}")
Fetch = Callable[[HubRef, str], object]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An adapter that another was made from: ``ns/name:version``, its manifest's digest, its identity, and where it is
    on the hub (``user/name@commit``; None where it was pushed to none)."""

    name: str
    digest: str
    identity: str
    hub: str | None

    @property
    def ref(self) -> HubRef | None:
        """The repository at its commit."""
        return hub_ref(self.hub) if self.hub else None


@dataclass(frozen=True, slots=True)
class Table:
    """The file."""

    parents: tuple[Elsewhere, ...]
    format: int = FORMAT


def parents_text(store: Store, parents: Iterable[Parent]) -> str:
    """The file's text, from what the registry knows of these parents; those that it does not have are left out."""
    found = [_elsewhere(store, one, one.digest) for one in parents if one.digest]
    return json.dumps(asdict(Table(tuple(found))), indent=2, sort_keys=True) + "\n"


def _elsewhere(store: Store, parent: Parent, digest: str) -> Elsewhere:
    stored = by_digest(store, digest)
    return Elsewhere(str(stored), digest, parent.weights, hub_of(tags(store, stored.manifest)))


def hub_of(said: Mapping[str, tuple[str, ...]]) -> str | None:
    """Where a version with these tags is on the hub; of several places the last."""
    places = [text.removeprefix(SCHEME) for text in said.get(SOURCE, ()) if text.startswith(SCHEME)]
    return places[-1] if places else None


def read_parents(path: Path) -> tuple[Elsewhere, ...]:
    """What a repository says of them; nothing where it says nothing.

    Raises:
        InputError: the file is damaged, or of a newer version.
    """
    try:
        content: Any = json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise InputError(f"it has format {str(content.get('format'))[:20]}", fix="use a newer version of lft")
        found = decoded(Table, content).parents
        if len(found) > MOST or not all(_HEX.fullmatch(text) for one in found for text in (one.digest, one.identity)):
            raise ValueError(f"more than {MOST} of them, or one without its sha256")
        for one in found:
            if not reference(one.name).version or (one.ref and not one.ref.commit):
                raise InputError(f"{one.name[:80]!r} is said without its version, or without the commit that has it")
    except FileNotFoundError:
        return ()
    except (ValueError, RecursionError) as error:
        raise InputError(f"damaged: {error}", where=PARENTS, fix="tell its owner") from None
    except InputError as error:
        error.where = PARENTS
        raise
    return found


def bring_parents(store: Store, said: Iterable[Elsewhere], folder: Path, notify: Notify, fetch: Fetch) -> None:
    """Fetch what an adapter was made from, as far as it is on the hub and not here.

    Args:
        store: the registry.
        said: from ``read_parents``.
        folder: the adapter's or the stack's files.
        notify: told before the hub is asked, and what could not be had and is not needed.
        fetch: stores what is at a commit under a name.

    Raises:
        InputError: one that the adapter needs is neither here nor to be had: that would be half an adapter.
    """
    why: dict[str, str] = {}
    known = {one.identity: one for one in said}
    for one in known.values():
        if not _is_here(store, one.identity) or not store.blob(one.digest).is_file():
            why[one.identity] = _brought(one, notify, fetch)
    needed = Binding.load(folder).below if (folder / BINDING_FILE).is_file() else ()
    for below in needed:
        if not _is_here(store, below.weights):
            raise _missing(known.get(below.weights), below.path, below.weights, why.get(below.weights, ""))
    for identity, reason in why.items():
        if not _is_here(store, identity):
            notify(f"it was made from {known[identity].name}, which is not here{reason}")


def _is_here(store: Store, identity: str) -> bool:
    return bool(index.with_weights(store, identity) or index.alike(store, identity))


def _brought(one: Elsewhere, notify: Notify, fetch: Fetch) -> str:
    """Fetch one; why that did not work, as the end of a sentence."""
    if one.ref is None:
        return " and on no hub that its maker knew of"
    notify(f"it was made from {one.name}; pulling {one.ref}")
    try:
        fetch(one.ref, reference(one.name).name)
    except LftError as error:
        return f" and could not be pulled from {one.ref}: {error.what}"
    return f" and {one.ref} holds another adapter by now"


def _missing(one: Elsewhere | None, path: str, identity: str, why: str) -> InputError:
    name = one.name if one else path
    if one and one.ref:
        fix = f"lft adapters pull {one.ref} --name {reference(one.name).name}, then pull this again"
    else:
        fix = (
            f"ask its maker to push {name} and then this one again; or, where you have that adapter: "
            "lft adapters add FOLDER, then pull this again"
        )
    return InputError(f"it needs the adapter {name} (identity {identity[:12]}), which is not here{why}", fix=fix)
