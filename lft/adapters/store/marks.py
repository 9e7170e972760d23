"""What may change about versions: aliases that move; tags, scores, signatures given later. Each change is logged first.

A change takes the name's lock, so that two people who move one alias do not do it unseen. Where the file system has no
locks one of the two changes is lost, nothing else: the new value takes the old one's place in one step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from lft.adapters.signature import Signature, read_signature
from lft.adapters.store import disk
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease
from lft.adapters.store.manifest import Manifest, Score, Tags
from lft.adapters.store.names import alias_name
from lft.adapters.store.versions import Stored, by_digest, files
from lft.errors import InputError, MachineError

PATIENCE: Final = 30.0  # seconds
_SIGNATURES: Final = 20  # of one version


def alias_digest(store: Store, name: str, alias: str) -> str | None:
    """The digest of the manifest that an alias points to; None where it is not set."""
    try:
        return store.alias(name, alias).read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def aliases(store: Store, name: str) -> dict[str, str]:
    """All aliases of a name with the digests that they point to."""
    found = {path.name: alias_digest(store, name, path.name) for path in files(store.refs / name)}
    return {alias: digest for alias, digest in sorted(found.items()) if digest is not None}


def move_alias(lease: Lease, name: str, alias: str, stored: Stored | None, expected: str | None) -> None:
    """Point an alias to a version, or remove it with None.

    Args:
        lease: of the caller.
        name: ``ns/name``.
        alias: it is made where it is not there.
        stored: a version of that name.
        expected: the digest that the caller saw the alias point to (None: that it was not set).

    Raises:
        InputError: somebody moved it meanwhile; or the version is of another name.
    """
    store, path = lease.store, lease.store.alias(name, alias_name(alias))
    if stored is not None:
        if stored.manifest.name != name:
            raise InputError(f"{stored} is no version of {name}", where=str(store.root))
        lease.protect(stored.digest)
        by_digest(store, stored.digest)
    with _locked(store, name):
        if (there := alias_digest(store, name, alias)) != expected:
            raise InputError(
                f"somebody moved {name}@{alias} meanwhile: it points to {(there or 'nothing')[:12]}",
                where=str(store.root),
                fix=f"lft adapters show {name}, then decide again",
            )
        _log(store, "aliases", name, {"alias": alias, "from": expected, "to": stored.digest if stored else None})
        if stored is None:
            disk.remove(path)
        else:
            _replace(lease, path, f"{stored.digest}\n")


def tags(store: Store, manifest: Manifest) -> Tags:
    """A version's tags: those given later where there are any, else those that it was stored with.

    Raises:
        InputError: the file of tags was damaged.
    """
    path = store.tags(manifest.name, manifest.version)
    try:
        return tags_from(path.read_bytes())
    except FileNotFoundError:
        return manifest.tags
    except ValueError as error:
        raise InputError(f"no tags: {error}", where=str(path), fix="remove the file, then tag again") from None


def tags_from(text: bytes) -> Tags:
    """Tags as their file has them; ValueError where it does not."""
    said = json.loads(text)
    if not isinstance(said, dict) or not all(_are_texts(values) for values in said.values()):
        raise ValueError("it is no map of lists of texts")
    return {key: tuple(values) for key, values in sorted(said.items())}


def tag(lease: Lease, stored: Stored, changes: Mapping[str, tuple[str, ...] | None]) -> Tags:
    """Give a version tags: each key gets these values instead of those it has, or with None goes.

    Returns:
        All its tags.
    """
    store, manifest = lease.store, stored.manifest
    with _locked(store, manifest.name):
        merged = {**tags(store, manifest), **changes}
        kept = {key: values for key, values in sorted(merged.items()) if values}
        _log(store, "tags", manifest.name, {"version": manifest.version, "to": kept})
        _replace(lease, store.tags(manifest.name, manifest.version), json.dumps(kept, ensure_ascii=False) + "\n")
    return kept


def scores(store: Store, manifest: Manifest) -> tuple[Score, ...]:
    """What was measured of a version: when it was stored, then later; the later one of the same suite and metric holds.

    Raises:
        InputError: the file of scores was damaged.
    """
    later = _later_scores(store, manifest)
    measured = {(one.suite, one.metric) for one in later}
    return (*(one for one in manifest.evaluation if (one.suite, one.metric) not in measured), *later)


def keep_scores(lease: Lease, stored: Stored, measured: Sequence[Score]) -> tuple[Score, ...]:
    """Write scores beside a version, each in place of an older one of the same suite and metric.

    Returns:
        All its scores.
    """
    store, manifest = lease.store, stored.manifest
    new = {(one.suite, one.metric) for one in measured}
    with _locked(store, manifest.name):
        older = [one for one in _later_scores(store, manifest) if (one.suite, one.metric) not in new]
        kept = [asdict(one) for one in (*older, *measured)]
        _log(store, "scores", manifest.name, {"version": manifest.version, "new": [asdict(one) for one in measured]})
        _replace(lease, store.scores(manifest.name, manifest.version), json.dumps(kept, ensure_ascii=False) + "\n")
    return scores(store, manifest)


def _later_scores(store: Store, manifest: Manifest) -> tuple[Score, ...]:
    path = store.scores(manifest.name, manifest.version)
    try:
        found = tuple(Score(**{**one, "interval": tuple(one["interval"])}) for one in json.loads(path.read_bytes()))
        if not all(
            isinstance(text, str) for one in found for text in (one.suite, one.metric, one.value, *one.interval)
        ):
            raise ValueError("they are no texts")
        return found
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fix = "remove the file, then evaluate again"
        raise InputError(f"no scores: {error}", where=str(path), fix=fix) from None


def signatures(store: Store, manifest: Manifest) -> tuple[Signature, ...]:
    """The signatures that are kept of a version, those made here last; nothing about them is checked here.

    Raises:
        InputError: the file of signatures was damaged.
    """
    path = store.signatures(manifest.name, manifest.version)
    try:
        return tuple(read_signature(line) for line in path.read_bytes().splitlines())
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise InputError(
            f"no signatures: {error}", where=str(path), fix="remove the file, then sign or pull again"
        ) from None


def keep_signature(lease: Lease, stored: Stored, signature: Signature, *, renewed: bool = False) -> bool:
    """Keep a signature beside a version; False where it was there already.

    Args:
        lease: of the caller.
        stored: the version.
        signature: it may come from anywhere; then it takes nobody's place, and lies before those made here,
        renewed: unless it was made here, just now: then it takes the place of an older one by the same key.

    Raises:
        InputError: there are too many, or the file of signatures was damaged.
    """
    store, manifest = lease.store, stored.manifest
    with _locked(store, manifest.name):
        known = signatures(store, manifest)
        if signature in known:
            return False
        kept = [one for one in known if not renewed or one.key is None or one.key != signature.key]
        if len(kept) >= _SIGNATURES:
            raise InputError(f"{stored} has {len(kept)} signatures; more are not kept", where=str(store.root))
        digest = hashlib.sha256(signature.text.encode()).hexdigest()
        change = {"version": manifest.version, "key": signature.key, "sha256": digest}
        _log(store, "signatures", manifest.name, change)
        lines = "".join(f"{one.text}\n" for one in ((*kept, signature) if renewed else (signature, *kept)))
        _replace(lease, store.signatures(manifest.name, manifest.version), lines)
    return True


@contextmanager
def _locked(store: Store, name: str) -> Iterator[None]:
    """One change of a name at a time, where the file system has locks."""
    from filelock import FileLock, Timeout

    folder = store.root / "locks"
    disk.make_folder(folder)
    lock = FileLock(folder / f"{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}.lock", timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise MachineError(
            f"another process has been changing {name} for {PATIENCE:.0f} s",
            where=str(lock.lock_file),
            fix="try again; remove this file if no such process runs",
        ) from None
    except (OSError, NotImplementedError):  # no locks here: a race may lose a change, not break anything
        pass
    try:
        yield
    finally:
        lock.release()


def _replace(lease: Lease, path: Path, text: str) -> None:
    draft = lease.draft()
    with disk.source(text) as stream:
        disk.write_draft(stream, draft)
    disk.take_place(draft, path)


def _log(store: Store, what: str, name: str, change: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    disk.append_line(store.log(what), json.dumps({"time": now, "name": name, **change}, ensure_ascii=False))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
