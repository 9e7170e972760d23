"""From what people write to the version that they mean."""

from __future__ import annotations

import difflib

from lft.adapters.store.layout import Store, folders_of_names
from lft.adapters.store.marks import alias_digest, aliases
from lft.adapters.store.names import DEFAULT, Reference, reference
from lft.adapters.store.versions import Stored, by_digest, files, looks_like_manifest, version, versions
from lft.errors import InputError


def resolve(store: Store, written: str | Reference) -> Stored:
    """The version that ``name[@alias|:version|@sha256:..]`` means.

    A name alone means its alias ``default`` where that is set, else its newest version.

    Raises:
        InputError: there is none (the message has what is there instead), or several digests begin so.
    """
    asked = reference(written) if isinstance(written, str) else written
    if asked.digest:
        return _with_digest(store, asked)
    if asked.version:
        if asked.version not in (known := versions(store, asked.name)):
            raise _unknown(store, asked, known)
        return version(store, asked.name, asked.version)
    if digest := alias_digest(store, asked.name, asked.alias or DEFAULT):
        return by_digest(store, digest)
    if asked.alias:
        raise _unknown(store, asked, [f"@{alias}" for alias in aliases(store, asked.name)])
    if not (found := versions(store, asked.name)):
        raise _unknown(store, asked, [])
    return version(store, asked.name, found[0])


def meant_instead(store: Store, stored: Stored) -> str | None:
    """A line for people where a bare name does not mean this version; a new one may be hidden by the alias.

    Raises:
        InputError: what it means is damaged.
    """
    name = stored.manifest.name
    meant = resolve(store, name)
    if meant.digest == stored.digest:
        return None
    if alias_digest(store, name, DEFAULT):
        change = f"lft adapters alias {stored} {DEFAULT}"
        return f"{name} alone means {meant}, by its alias {DEFAULT}; to change that:\n  {change}"
    return f"{name} alone means {meant}, the newest version"


def _unknown(store: Store, asked: Reference, instead: list[str]) -> InputError:
    what = f"there is no {asked} in the registry"
    if instead:
        listed = ", ".join(instead[:8]) + (f" and {len(instead) - 8} more" if len(instead) > 8 else "")
        return InputError(f"{what}; {asked.name} has {listed}", fix=f"lft adapters show {asked.name}")
    return InputError(what + nearest(store, asked.name), where=str(store.root), fix="lft adapters list")


def nearest(store: Store, name: str) -> str:
    """Names of the registry that look like one that it has not, for a message; empty where none does."""
    names = [known for known, _ in folders_of_names(store.manifests) if versions(store, known)]
    alike = [known for known in names if known.rpartition("/")[2] == name.rpartition("/")[2]]
    near = [*alike, *difflib.get_close_matches(name, names, n=3, cutoff=0.5)]
    return f"; nearest: {', '.join(dict.fromkeys(near[:3]))}" if near else ""


def _with_digest(store: Store, asked: Reference) -> Stored:
    folder = store.blobs / asked.digest[:2]
    found = [path.name for path in files(folder) if path.name.startswith(asked.digest) and looks_like_manifest(path)]
    if len(asked.digest) == 64:  # also one that gc has just taken out
        found = [asked.digest]
    if len(found) != 1:
        many = f"{len(found)} versions have" if found else "no version has"
        raise InputError(
            f"{many} a digest that begins with {asked.digest}", where=str(store.root), fix="lft adapters list --json"
        )
    stored = by_digest(store, found[0])
    if asked.name not in ("", stored.manifest.name):
        raise InputError(f"{asked.digest[:12]} is {stored}, not {asked.name}", where=str(store.root))
    return stored
