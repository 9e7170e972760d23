"""Adapters from the hub: pulled at one commit, checked, refused or stored like any other, under ``user/name``.

    "user/name@branch" ──▶ commit ──▶ files, checked ──▶ a version of the registry, tagged source=hub:user/name@commit

A version that lft pushed comes back as the very version that it was, with the same digest, where the name agrees.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.adapters.hub_fetch import PARENTS, RECORD, RUN_FILES, cached, download, fetched_names, is_stack, listing
from lft.adapters.hub_parents import DEEPEST, SOURCE, bring_parents, read_parents
from lft.adapters.hub_record import published_as_recorded, published_stack
from lft.adapters.signature import SIGNATURE_FILE, read_signature
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import adapter_folder_of, means_folder
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease, leased
from lft.adapters.store.lockfile import Lock
from lft.adapters.store.lookup import nearest
from lft.adapters.store.marks import alias_digest, keep_signature, move_alias, tag, tags
from lft.adapters.store.names import DEFAULT, DIGEST, alias_name, full_name
from lft.adapters.store.versions import Stored, by_digest, version, versions
from lft.base.files import Notify
from lft.errors import InputError
from lft.hub.access import SCHEME, HubRef, hub_ref, is_hub_ref, nobody_answered

MAIN: Final = "main"
_BESIDE: Final = (RECORD, PARENTS, *RUN_FILES, SIGNATURE_FILE)  # these lie beside an adapter, and are no part of it


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that came from the hub, or was here already.

    ``commit`` is where it comes from; ``aliases`` point to it now; ``left_out`` are files of the repository that were
    not fetched. What it needs beside it is here too.
    """

    stored: Stored
    new: bool
    commit: str
    aliases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def pull(store: Store, ref: HubRef, notify: Notify, name: str | None = None, above: tuple[HubRef, ...] = ()) -> Pulled:
    """Bring an adapter or a stack from the hub into the registry, with what it was made from (``hub_parents``).

    What is there already is not fetched again.

    Args:
        store: the registry; made where there is none.
        ref: repository and revision.
        notify: told what takes long or is not as one might expect.
        name: what it is called here; None for ``user/name``.
        above: those that it is pulled for.

    Raises:
        InputError: the hub does not give it, what it gives is damaged, the adapter is refused (``open_adapter``), or
            one that it needs cannot be had.
        MachineError: the disk is full or may not be written.
    """
    own = full_name(name or ref.repo)
    if ref in above or len(above) > DEEPEST:
        raise InputError("it is among those that it was made from", where=str(ref), fix="tell its owner")
    if ref.commit and (known := version_from(store, own, ref.repo, ref.commit)):
        return Pulled(known, False, ref.commit)
    try:
        found = listing(ref, notify)
    except InputError as error:
        here = _already_here(store, ref, own, notify, above) if nobody_answered(error) else None
        if here is None:
            raise
        return here
    known = version_from(store, own, ref.repo, found.commit)
    pulled = (
        Pulled(known, False, found.commit)
        if known
        else _stored(store, HubRef(ref.repo, found.commit), download(found, notify), found.files, own, notify, above)
    )
    moved = _point(store, ref, pulled.stored, notify)
    return Pulled(pulled.stored, pulled.new, found.commit, moved, found.others)


def version_from(store: Store, name: str, repo: str, commit: str) -> Stored | None:
    """The version of a name that was pulled from a commit of a repository, and whose adapters below are all known."""
    for number in versions(store, name):
        stored = version(store, name, number)
        below = (one for one in stored.manifest.lineage.parents if one.role == "below")
        whole = all(one.digest or with_weights(store, one.weights) for one in below)
        if whole and f"{SCHEME}{repo}@{commit}" in _sources(store, stored):
            return stored
    return None


def adapter_folder_from(written: str, store: Store, notify: Notify, lock: Lock | None = None) -> Path:
    """The folder of whatever is written where an adapter is asked for, pulled from the hub where it is not here.

    Args:
        written: a folder, a run's folder, a name of the registry, or ``user/name[@revision]`` of the hub; the first of
            these that there is, but for a folder that has a name of the registry (``means_folder``).
        store: the registry.
        notify: told before the hub is asked.
        lock: refuse what it does not pin; the hub is then never asked.

    Raises:
        InputError: there is none of these, or the adapter is refused.
    """
    return adapter_folder_of(written if lock else on_hand(written, store, notify), store, lock)


def on_hand(written: str, store: Store, notify: Notify) -> str:
    """What the registry calls an adapter: as it is written for folders and for names that it has, else pulled.

    Raises:
        InputError: it is neither here nor on the hub, or the adapter is refused.
    """
    if means_folder(written, store) or written.startswith("runs/") or not is_hub_ref(written):
        return written
    ref = hub_ref(written)
    if _is_known(store, ref):
        return f"{ref.repo}@{_alias_of(ref.revision)}" if ref.revision else ref.repo
    stored = version_from(store, full_name(ref.repo), ref.repo, ref.commit) if ref.commit else None
    if stored is None:
        notify(f"{ref} is not in the registry; asking the hub")
        try:
            stored = pull(store, ref, notify).stored
        except InputError as error:
            if error.where == str(ref):
                here = f"neither a folder nor a name in the registry{nearest(store, full_name(ref.repo))}"
                error.what = f"there is no such adapter, {here}; {error.what}"
            raise
    return f"{stored.manifest.name}@{DIGEST}{stored.digest}"


def _is_known(store: Store, ref: HubRef) -> bool:
    """Whether the registry knows this name, or this alias of it."""
    name, word = full_name(ref.repo), _alias_of(ref.revision)
    if ref.revision is None:
        return bool(versions(store, name))
    return word is not None and alias_digest(store, name, word) is not None


def _already_here(store: Store, ref: HubRef, own: str, notify: Notify, above: tuple[HubRef, ...]) -> Pulled | None:
    """What the registry or the hub library's cache has of a revision that the hub cannot be asked about now."""
    word = _alias_of(ref.revision or MAIN)
    digest = alias_digest(store, own, word) if word and not ref.commit else None
    stored = by_digest(store, digest) if digest else None
    commit = _commit_of(store, stored, ref.repo) if stored else None
    if stored and commit:
        notify(f"the hub cannot be asked; {ref} was {commit[:12]} when it was pulled last")
        return Pulled(stored, False, commit)
    if (found := cached(ref)) is None:
        return None
    commit, folder = found
    notify(f"the hub cannot be asked; taking {ref} at {commit[:12]} from the hub library's cache")
    known = version_from(store, own, ref.repo, commit)
    if known:
        return Pulled(known, False, commit, _point(store, ref, known, notify))
    pulled = _stored(store, HubRef(ref.repo, commit), folder, fetched_names(folder), own, notify, above)
    moved = _point(store, ref, pulled.stored, notify)
    return Pulled(pulled.stored, pulled.new, commit, moved)


def _stored(
    store: Store,
    at: HubRef,
    folder: Path,
    names: Collection[str],
    own: str,
    notify: Notify,
    above: tuple[HubRef, ...],
) -> Pulled:
    """A version made of checked files; only those are looked at, whatever else lies in the cache beside them."""
    source, commit = (f"{SCHEME}{at}",), str(at.revision)

    def fetch(parent: HubRef, name: str) -> Pulled:
        return pull(store, parent, notify, name, (*above, at))

    with leased(store) as lease:
        staged, record = lease.folder / "pulled", lease.folder / "record"
        for name in names:
            _give(folder / name, (record if name in _BESIDE else staged) / name)
        try:
            bring_parents(store, read_parents(record / PARENTS), staged, notify, fetch)
            found = (
                published_stack(lease, staged, record, own)
                if is_stack(names)
                else published_as_recorded(lease, staged, record, own, notify)
            )
            if found is not None:
                stored, new = found
                tag(lease, stored, {SOURCE: (*_sources(store, stored), *source)})
                _keep_signature(lease, stored, record / SIGNATURE_FILE, notify)
                return Pulled(stored, new, commit)
            added = add_adapter(store, staged, Origin(own, tags={SOURCE: source}))
            _keep_signature(lease, added.stored, record / SIGNATURE_FILE, notify)
        except InputError as error:
            error.where = (error.where or str(at)).replace(str(staged), str(at))
            raise
    return Pulled(added.stored, added.new, commit)


def _keep_signature(lease: Lease, stored: Stored, path: Path, notify: Notify) -> None:
    """Keep a signature that came along, whatever it is worth: `lft adapters verify` finds that out."""
    if not path.is_file():
        return
    try:
        keep_signature(lease, stored, read_signature(path.read_bytes()))
    except (InputError, ValueError) as error:
        notify(f"its {SIGNATURE_FILE} is not kept: {error.what if isinstance(error, InputError) else error}")


def _give(source: Path, target: Path) -> None:
    """Another name of a file (a copy where that cannot be)."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _point(store: Store, ref: HubRef, stored: Stored, notify: Notify) -> tuple[str, ...]:
    """Let the alias of a branch or tag follow it. ``default`` is people's own: it would hide what they add later."""
    if ref.commit:
        return ()
    word, name = _alias_of(ref.revision or MAIN), stored.manifest.name
    if word is None or word == DEFAULT:
        notify(f"{ref.revision} cannot be an alias of a branch; the version is {stored}")
        return ()
    with leased(store) as lease:
        if _moved(lease, name, word, stored, ref.repo):
            return (word,)
    notify(f"{name}@{word} is not from {ref.repo}, so it stays where it is; the version is {stored}")
    return ()


def _moved(lease: Lease, name: str, alias: str, stored: Stored, repo: str) -> bool:
    """Point an alias to a version unless somebody pointed it to one that is not from this repository."""
    before = alias_digest(lease.store, name, alias)
    if before == stored.digest:
        return True
    if before is not None and _commit_of(lease.store, by_digest(lease.store, before), repo) is None:
        return False
    move_alias(lease, name, alias, stored, before)
    return True


def _alias_of(revision: str | None) -> str | None:
    """A branch or tag as an alias; None where it cannot be one."""
    word = (revision or MAIN).replace("/", "-")
    try:
        return alias_name(word)
    except InputError:
        return None


def _sources(store: Store, stored: Stored) -> tuple[str, ...]:
    return tuple(tags(store, stored.manifest).get(SOURCE, ()))


def _commit_of(store: Store, stored: Stored, repo: str) -> str | None:
    """The newest commit of a repository that a version was pulled from."""
    start = f"{SCHEME}{repo}@"
    return next(
        (text.removeprefix(start) for text in reversed(_sources(store, stored)) if text.startswith(start)), None
    )
