"""A merged adapter as a PEFT folder in canonical form, bound to its parents' base, with its certificate beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lft
from lft.adapters.certificate import Certificate
from lft.adapters.merge import Merged
from lft.adapters.peft_folder import Named, carried, write_delta
from lft.adapters.sources import floor
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import Merge, Parent
from lft.base.binding import Binding
from lft.base.configuration import canonical
from lft.errors import InputError
from lft.files import new_folder, sha256


def save_merged(
    merged: Merged, parents: Sequence[Named], folder: Path, name: str = "", *, files_of: str | None = None
) -> Path:
    """Write a merged adapter as a new folder that PEFT, ``lft`` and the servers load.

    Args:
        merged: from ``merge``; low-rank.
        parents: the adapters that went in.
        folder: the place of the new folder; what stands there is replaced.
        name: the adapter's name in its binding.
        files_of: the parent whose tokenizer and prompt format are taken where those of the parents differ.

    Returns:
        The folder: ``adapter_config.json``, ``adapter_model.safetensors``, ``merge.json``, ``manifest.json``, and
        where all parents are bound ``lft.json``.

    Raises:
        InputError: the result is a full matrix, the parents' tokenizers or prompt formats differ, or their layouts do.
        MachineError: the disk is full.
    """
    if not merged.is_adapter:
        raise InputError(
            f"{merged.certificate.method} gives full matrices, which are no adapter",
            fix="set rank=... to cut it to one (the error is printed), or export it merged into the base",
        )
    files = carried_files(parents, files_of)
    with new_folder(folder) as draft:
        write_delta(merged.delta, parents, draft)
        for file, path in files.items():
            shutil.copyfile(path, draft / file)
        if binding := merged_binding(parents, merged.certificate.method, name):
            binding.save(draft)
        merged.certificate.save(draft)
    return folder


def merged_binding(parents: Sequence[Named], method: str, name: str) -> Binding | None:
    """The binding of the result: the base of all parents, the most rows, every tag; None where none is bound.

    How the base is quantized is kept where all agree; else the result is put on the base as it is stored.
    """
    bindings = [one.adapter.binding for one in parents if one.adapter.binding is not None]
    if not bindings:
        return None
    first = min(bindings, key=lambda one: (one.base, one.name))  # the order of the parents does not count
    kinds = {(one.quantize, one.double_quant, one.compute_dtype) for one in bindings}
    tags: dict[str, set[str]] = {}
    for one in bindings:
        for key, values in one.tags.items():
            tags.setdefault(key, set()).update(values)
    merged = replace(
        first,
        rows=max(one.rows for one in bindings),
        below=floor(first, {one.adapter.digest for one in parents}),
        recipe=f"merge:{method}",
        tags={key: tuple(sorted(values)) for key, values in sorted(tags.items())},
        lft=lft.__version__,
        name=name,
    )
    return merged if len(kinds) == 1 else replace(merged, quantize=None, double_quant=True, compute_dtype="auto")


def carried_files(parents: Sequence[Named], files_of: str | None) -> dict[str, Path]:
    """Tokenizer, template and prompt format: those that all parents share, or those of one."""
    wanted = [one for one in parents if files_of in (None, one.ref)]
    if not wanted:
        raise InputError(f"{files_of} is not among the parents", fix="name one of the merged adapters")
    files = [carried(one.adapter) for one in wanted]
    digests = [{name: sha256(path) for name, path in those.items()} for those in files]
    for one, those in zip(wanted, digests, strict=True):
        odd = sorted(name for name in {*those, *digests[0]} if those.get(name) != digests[0].get(name))
        if odd:
            raise InputError(
                f"{odd[0]} differs between {wanted[0].ref} and {one.ref}: the result can have only one",
                fix=f"say whose is taken, for example --files-of {wanted[0].ref}",
            )
    return dict(files[0])


def merge_record(certificate: Certificate) -> Merge:
    """What the registry's manifest says about a merge."""
    compression = certificate.compression
    return Merge(
        certificate.method,
        canonical(dict(certificate.parameters)),
        certificate.seed,
        "float32",
        certificate.exactness,
        compression.error if compression else None,
        certificate.digest,
    )


def parent_records(parents: Sequence[Named], certificate: Certificate, store: Store) -> tuple[Parent, ...]:
    """The parents as the manifest of the result lists them: inputs with their weights, and what they lie on."""
    weights = {parent.digest: parent.weight for parent in certificate.parents}
    found = []
    for one in parents:
        digest = one.adapter.digest
        known = with_weights(store, digest)
        weight = weights.get(digest)
        said = weight if isinstance(weight, str) else canonical(weight)
        found.append(Parent(known[0][0] if known else None, digest, "input", said))
    bindings = [one.adapter.binding for one in parents if one.adapter.binding is not None]
    for digest, share in sorted({(one.weights, one.share) for binding in bindings for one in floor(binding, weights)}):
        known = with_weights(store, digest)
        found.append(Parent(known[0][0] if known else None, digest, "below", None if share == "1" else share))
    return tuple(sorted(found, key=lambda parent: (parent.role, parent.weights)))
