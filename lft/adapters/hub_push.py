"""Pushing a version to the hub: the bytes of the registry, a card, and a look afterwards at what the hub has.

version ──▶ without this machine's paths (a version of its own where that changes a byte) ──▶ card, record
        ──▶ searched for paths and keys ──▶ one commit on what was there ──▶ the hub's digests compared
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lft.adapters.card import CardFacts, Part, model_card
from lft.adapters.folder import KNOWN
from lft.adapters.hub_clean import base_elsewhere, changes, cleaned, write_clean
from lft.adapters.hub_fetch import PARENTS, RECORD, RUN_FILES
from lft.adapters.hub_parents import SOURCE, hub_of, parents_text
from lft.adapters.signature import SIGNATURE_FILE
from lft.adapters.store import blobs, index
from lft.adapters.store.add import Origin, RunRecord, add_adapter
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import Lease
from lft.adapters.store.manifest import STACKS, Manifest, Parent
from lft.adapters.store.marks import keep_scores, scores, signatures, tag, tags
from lft.adapters.store.restack import restacked
from lft.adapters.store.versions import Stored, by_digest
from lft.base.attach import WEIGHTS
from lft.base.binding import BINDING_FILE
from lft.base.files import Notify, read_json
from lft.errors import InputError
from lft.files import sha256, write_text
from lft.hub.access import SCHEME, HubRef
from lft.hub.commit import CARD, Pushed, Target, Upload, push_files, uploads_of
from lft.hub.secrets import Change, is_local, require_clean, without_paths

_KEPT: Final = ("LICENSE", "LICENSE.txt")  # of a repository, also when the adapter brings none


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be pushed: the version, its files (card and record included), and what differs from the version asked.

    ``stored`` is the version asked for, or the one without this machine's paths that was made of it; in a rehearsal it
    is the one asked for, and there is no record. ``lacking`` are versions that it was made from and that are on no hub.
    """

    stored: Stored
    uploads: tuple[Upload, ...]
    changes: tuple[Change, ...]
    card: str
    lacking: tuple[str, ...] = ()


def prepare(lease: Lease, stored: Stored, ref: HubRef, base: str | None, *, rehearsal: bool = False) -> Prepared:
    """The files of a version as others may read them, with card and record, searched for paths and keys.

    Args:
        lease: of the caller; the files lie in its folder.
        stored: the version.
        ref: where it will go, for the card.
        base: what its base is elsewhere (``hub_clean.base_elsewhere``).
        rehearsal: store nothing.

    Raises:
        InputError: its base has no name elsewhere, a file holds a path or a key, a blob is missing or damaged, or it is
            a stack and one of its adapters is on no hub.
        MachineError: the disk is full.
    """
    folder, parents = lease.folder / "push", _parents_as_pushed(lease.store, stored.manifest)
    lacking = tuple(
        str(by_digest(lease.store, one.digest)) for one in parents if one.digest and not _is_pushed(lease.store, one)
    )
    if lacking and stored.manifest.kind in STACKS:
        raise InputError(
            f"{stored} is made of {', '.join(lacking)}, which is on no hub: nobody else could use the stack",
            fix=f"lft adapters push {lacking[0]} USER/NAME, then push the stack again",
        )
    files, run = _checked_out(lease.store, stored.manifest, folder)
    made = _cleaned(lease.store, files, base, _places(stored.manifest, parents))
    made += _without_paths(run)
    if files.pop(CARD, None):
        made.append(Change(CARD, "the text", "its maker's", "the card that is written now"))
    version = stored
    same = not is_local(stored.manifest.base.id) and parents == stored.manifest.lineage.parents
    if not rehearsal and (made or not same):
        version = _as_version(lease, folder / "adapter", stored.manifest, run, base, parents)
        if version.digest != stored.digest and (measured := scores(lease.store, stored.manifest)):
            keep_scores(lease, version, measured)  # the same adapter under a name without this machine's paths
    said = _card(lease.store, version, ref, {**files, **run}, rehearsal=rehearsal)
    write_text(folder / CARD, said)
    everything = {**files, **run, CARD: folder / CARD}
    if parents:
        write_text(folder / PARENTS, parents_text(lease.store, parents))
        everything[PARENTS] = folder / PARENTS
    if not rehearsal:
        write_text(folder / RECORD, version.manifest.text)
        everything[RECORD] = folder / RECORD
    if (not rehearsal or not made) and (signed := signatures(lease.store, version.manifest)):
        write_text(folder / SIGNATURE_FILE, signed[-1].text)  # the one that was made here last, if any was
        everything[SIGNATURE_FILE] = folder / SIGNATURE_FILE
    require_clean(everything, (Path.home(), lease.store.root), "add the adapter again")
    return Prepared(version, uploads_of(everything), tuple(made), said, lacking)


def push(lease: Lease, prepared: Prepared, target: Target, notify: Notify) -> Pushed:
    """Make one commit of prepared files, and compare what the hub has then.

    Args:
        lease: of the caller.
        prepared: the files.
        target: repository, branch and words of the commit.
        notify: told what takes long.

    Raises:
        InputError: the hub does not let us write, holds something else there, was changed in the same moment, or has
            other bytes afterwards.
    """
    stored = prepared.stored

    def stale(there: frozenset[str]) -> tuple[str, ...]:
        return _stale(prepared, there, target.ref)

    pushed = push_files(prepared.uploads, target, f"{stored} with lft", stale, notify)
    source = f"{SCHEME}{target.ref.repo}@{pushed.commit}"
    known = tuple(tags(lease.store, stored.manifest).get(SOURCE, ()))
    if source not in known:
        tag(lease, stored, {SOURCE: (*known, source)})
    return pushed


def _checked_out(store: Store, manifest: Manifest, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Copies of a version's files and of its run's, each compared with its digest."""
    training = manifest.lineage.training
    run = zip(RUN_FILES, (training.recipe, training.lock) if training else (None, None), strict=True)
    wanted = {"adapter": [(file.path, file.sha256) for file in manifest.files], "run": [(n, d) for n, d in run if d]}
    found: dict[str, dict[str, Path]] = {}
    for place, files in wanted.items():
        (folder / place).mkdir(parents=True)
        found[place] = {name: folder / place / name for name, _ in files}
        for name, digest in files:
            shutil.copyfile(blobs.find(store, digest), folder / place / name)
            if sha256(folder / place / name) != digest:
                raise InputError(
                    f"{name} is damaged in the registry", where=str(store.blob(digest)), fix="lft adapters fsck"
                )
    return found["adapter"], found["run"]


def _places(manifest: Manifest, parents: Sequence[Parent]) -> Mapping[str, str]:
    """Where a stack's parts lie, by their identities: beside it, in folders named by their manifests' digests."""
    return {one.weights: f"../{one.digest}" for one in parents} if manifest.kind in STACKS else {}


def _cleaned(store: Store, files: Mapping[str, Path], base: str | None, places: Mapping[str, str]) -> list[Change]:
    made = []
    for name, content in cleaned(files, base, lambda one: places.get(one) or _known_as(store, one)).items():
        made += changes(name, read_json(files[name]), content)
        write_clean(content, files[name])
    return made


def _without_paths(run: Mapping[str, Path]) -> list[Change]:
    made = []
    for name, path in run.items():
        text = path.read_text(encoding="utf-8")
        if (clean := without_paths(text)) != text:
            odd = [pair for pair in zip(text.splitlines(), clean.splitlines(), strict=True) if pair[0] != pair[1]]
            made += [
                Change(name, f"line {before.strip()[:40]!r}", before.strip(), after.strip()) for before, after in odd
            ]
            write_text(path, clean)
    return made


def _known_as(store: Store, weights: str) -> str:
    """The registry's name of the adapter that has these weights."""
    found = index.with_weights(store, weights)
    return str(by_digest(store, found[0][0])) if found else f"sha256:{weights}"


def _parents_as_pushed(store: Store, manifest: Manifest) -> tuple[Parent, ...]:
    """What it was made from, each as the version of it that is on a hub: the one without this machine's paths."""
    found = []
    for one in manifest.lineage.parents:
        name = by_digest(store, one.digest).manifest.name if one.digest else None
        known = [digest for digest, other, _ in index.with_weights(store, one.weights) if other == name]
        pushed = [replace(one, digest=digest) for digest in known if _is_pushed(store, replace(one, digest=digest))]
        found.append(one if not pushed or one in pushed else pushed[0])
    return tuple(found)


def _is_pushed(store: Store, parent: Parent) -> bool:
    """Whether a version came from a hub or went to one."""
    return bool(parent.digest) and bool(tags(store, by_digest(store, str(parent.digest)).manifest).get(SOURCE))


def _as_version(
    lease: Lease,
    folder: Path,
    manifest: Manifest,
    run: Mapping[str, Path],
    base: str | None,
    parents: tuple[Parent, ...],
) -> Stored:
    """The version that these files are; made where they are not the one that they were made of."""
    if manifest.kind in STACKS:
        pairs = zip(manifest.lineage.parents, parents, strict=True)
        return restacked(lease, folder, manifest, {str(old.digest): str(new.digest) for old, new in pairs})[0]
    (folder / CARD).unlink(missing_ok=True)
    training = manifest.lineage.training
    record = None
    if training:
        contents = [run[name].read_bytes() if name in run else None for name in RUN_FILES]
        record = RunRecord(contents[0], contents[1], training)
    origin = Origin(
        manifest.name,
        base=base_elsewhere(manifest.base.id, manifest.base.revision, base)[0],
        tags=manifest.tags,
        run=record,
        evaluation=manifest.evaluation,
        kind=manifest.kind,
        merge=manifest.merge,
        parents=parents,
    )
    return add_adapter(lease.store, folder, origin).stored


def _card(store: Store, version: Stored, ref: HubRef, files: Mapping[str, Path], *, rehearsal: bool) -> str:
    manifest = version.manifest
    base = manifest.base
    if BINDING_FILE in files:  # in a rehearsal the version still says what it is called here
        said = read_json(files[BINDING_FILE])
        base = replace(base, id=said["base"], revision=said["revision"])
    recipe = files["recipe.yaml"].read_text(encoding="utf-8") if "recipe.yaml" in files else None
    below = [one for one in manifest.lineage.parents if one.role == "below"]
    parts = manifest.lineage.parents if manifest.kind in STACKS else ()
    return model_card(
        CardFacts(
            ref.repo,
            replace(manifest, base=base, evaluation=scores(store, manifest)),
            "" if rehearsal else version.digest,
            tags(store, manifest),
            base.id or "a base that was not recorded",
            recipe,
            {name: sha256(path) for name, path in files.items()},
            tuple(_known_as(store, one.weights) + (f" x {one.weight}" if one.weight else "") for one in below),
            tuple(_part(store, one) for one in parts),
        )
    )


def _part(store: Store, part: Parent) -> Part:
    stored = by_digest(store, str(part.digest))
    return Part(part.weight or "1", str(stored), hub_of(tags(store, stored.manifest)) or "")


def _stale(prepared: Prepared, there: frozenset[str], ref: HubRef) -> tuple[str, ...]:
    """Files of an earlier adapter that would be taken for files of this one. Raises InputError where a model lies."""
    if any(name.endswith(".safetensors") and "/" not in name and name != WEIGHTS for name in there):
        raise InputError("this repository holds a model", where=str(ref), fix="push the adapter to one of its own")
    ours = {one.name for one in prepared.uploads}
    return tuple(sorted((there & {*KNOWN, RECORD, PARENTS, *RUN_FILES, SIGNATURE_FILE}) - ours - set(_KEPT)))
