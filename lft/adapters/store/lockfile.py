"""A lock file: what a project uses, by digest, with all that it was made from.

Committed beside the recipes (``adapters/lft.lock``), it gives on another machine the very adapters, or says which are
missing. It keeps gc from what it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lft.adapters.store import blobs
from lft.adapters.store.layout import Store
from lft.adapters.store.lookup import resolve
from lft.adapters.store.manifest import Manifest
from lft.adapters.store.names import Reference, reference
from lft.adapters.store.strict import decoded
from lft.adapters.store.versions import Stored, by_digest
from lft.base.files import unique_keys
from lft.errors import InputError
from lft.files import sha256, write_text

FORMAT: Final = 1
LOCK_FILE: Final = "adapters/lft.lock"


@dataclass(frozen=True, slots=True)
class LockedBase:
    """A base model: name, commit and content."""

    id: str
    revision: str | None
    weights: str | None
    tokenizer: str | None


@dataclass(frozen=True, slots=True)
class Pin:
    """A version. ``asked`` are the references that mean it; empty for one that another was made from."""

    asked: tuple[str, ...]
    name: str
    version: str
    digest: str
    weights: str
    base: LockedBase
    merge: str | None
    parents: tuple[str, ...]

    def is_exactly(self, wanted: Reference) -> bool:
        """Whether a reference names this very version, by number or digest."""
        if wanted.name not in ("", self.name) or wanted.alias:
            return False
        return self.digest.startswith(wanted.digest) if wanted.digest else self.version == wanted.version


@dataclass(frozen=True, slots=True)
class Lock:
    """All pins, by name and version."""

    adapters: tuple[Pin, ...]
    format: int = FORMAT

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all manifests."""
        return tuple(pin.digest for pin in self.adapters)

    @property
    def asked(self) -> tuple[str, ...]:
        """All references that were locked."""
        return tuple(sorted(text for pin in self.adapters for text in pin.asked))

    def has(self, written: str) -> bool:
        """Whether this is a reference that was locked."""
        try:
            return str(reference(written)) in self.asked
        except InputError:
            return False

    def resolved(self, store: Store, written: str) -> Stored:
        """The version that a reference was locked to; a version or digest that is pinned may be named as that too.

        Raises:
            InputError: the lock does not have this reference, or the registry does not have the version.
        """
        wanted = reference(written)
        pin = next((pin for pin in self.adapters if str(wanted) in pin.asked or pin.is_exactly(wanted)), None)
        if pin is None:
            known = ", ".join(self.asked[:8])
            raise InputError(
                f"{wanted} is not locked; the lock has {known or 'nothing'}",
                fix=f"lft adapters lock {wanted} adds it",
            )
        try:
            return by_digest(store, pin.digest)
        except InputError as error:
            raise InputError(
                f"{wanted} is locked to {pin.name}:{pin.version} (sha256:{pin.digest[:12]}), which this registry does "
                f"not have whole: {error.what}",
                where=str(store.root),
                fix="add that version or pull it again, then lft adapters lock --check",
            ) from None


def make_lock(store: Store, written: Iterable[str]) -> Lock:
    """The lock of what these references mean now, with all that those versions were made from.

    Raises:
        InputError: one of them, or one of their parents, is not in the registry.
    """
    return _locked(store, {str(reference(text)): resolve(store, text).digest for text in written})


def extended(store: Store, lock: Lock | None, written: Iterable[str], dropped: Iterable[str] = ()) -> Lock:
    """A lock with what these references mean now; the others stay as they are locked, but for those to drop.

    Raises:
        InputError: one of them is not in the registry, or one to drop is not in the lock.
    """
    known = {text: pin.digest for pin in (lock.adapters if lock else ()) for text in pin.asked}
    for text in dropped:
        if str(reference(text)) not in known:
            raise InputError(f"{text} is not locked", fix=f"the lock has {', '.join(sorted(known)[:8]) or 'nothing'}")
        del known[str(reference(text))]
    return _locked(store, known | {str(reference(text)): resolve(store, text).digest for text in written})


def _locked(store: Store, digests: Mapping[str, str]) -> Lock:
    """The lock of these references and what they mean."""
    found: dict[str, Manifest] = {}
    asked: dict[str, list[str]] = {}
    for text, digest in digests.items():
        asked.setdefault(digest, []).append(text)
        _collect(store, digest, found)
    pins = [_pin(digest, manifest, asked.get(digest, [])) for digest, manifest in found.items()]
    return Lock(tuple(sorted(pins, key=lambda pin: (pin.name, pin.version, pin.digest))))


def write_lock(lock: Lock, path: Path) -> None:
    """Save a lock as JSON that is easy to review.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    write_text(path, json.dumps(asdict(lock), indent=2, sort_keys=True) + "\n")


def read_lock(path: Path) -> Lock:
    """A saved lock.

    Raises:
        InputError: it is missing, damaged or of a newer version.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise InputError(
                f"the lock has format {str(content.get('format'))[:20]}, this version knows {FORMAT}",
                where=str(path),
                fix="use a newer version of lft",
            )
        return decoded(Lock, content)
    except FileNotFoundError:
        raise InputError("there is no lock file", where=str(path), fix="lft adapters lock NAME makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"no lock file: {error}", where=str(path), fix="make it again: lft adapters lock") from None


def verify(store: Store, lock: Lock, *, whole: bool = False) -> list[str]:
    """What does not agree with a lock, one line each: a version or a file that is missing, damaged or another one.

    Args:
        store: the registry.
        lock: what should be there.
        whole: read every byte of every file; otherwise the manifests are, and files are checked by their size.
    """
    found = []
    for pin in lock.adapters:
        label = f"{pin.name}:{pin.version}"
        try:
            manifest = by_digest(store, pin.digest).manifest
        except InputError as error:
            found.append(f"{label}: {error.what}")
            continue
        if _pin(pin.digest, manifest, pin.asked) != pin:
            found.append(f"{label}: the lock says something else than the manifest")
        found += [f"{label}: {problem}" for problem in file_problems(store, manifest, whole=whole)]
    return found


def moved(store: Store, lock: Lock) -> list[str]:
    """References that mean another version now than when they were locked."""
    found = []
    for pin in lock.adapters:
        for text in pin.asked:
            try:
                now = resolve(store, text)
            except InputError as error:
                found.append(f"{text}: {error.what}")
                continue
            if now.digest != pin.digest:
                found.append(f"{text} means {now} now; locked is {pin.name}:{pin.version} ({pin.digest[:12]})")
    return found


def file_problems(store: Store, manifest: Manifest, *, whole: bool) -> list[str]:
    """What is wrong with a version's files."""
    found = []
    for file in manifest.files:
        try:
            path = blobs.find(store, file.sha256)
            size = path.stat().st_size
        except (InputError, OSError):
            found.append(f"{file.path} is missing")
            continue
        if size != file.size or (whole and sha256(path) != file.sha256):
            found.append(f"{file.path} is damaged")
    return found


def _collect(store: Store, digest: str, found: dict[str, Manifest]) -> None:
    if digest not in found:
        manifest = by_digest(store, digest).manifest
        found[digest] = manifest
        for parent in manifest.parents:
            _collect(store, parent, found)


def _pin(digest: str, manifest: Manifest, asked: Iterable[str]) -> Pin:
    base, merge = manifest.base, manifest.merge
    return Pin(
        tuple(sorted(set(asked))),
        manifest.name,
        manifest.version,
        digest,
        manifest.weights,
        LockedBase(base.id, base.revision, base.weights, manifest.tokenizer.fingerprint),
        f"{merge.method} {merge.params}" if merge else None,
        manifest.parents,
    )
