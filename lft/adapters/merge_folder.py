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
from lft.adapters.sources import floor, recorded_as
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import Merge, Parent
from lft.base.binding import Binding
from lft.base.configuration import canonical
from lft.errors import InputError
from lft.files import new_folder, sha256


def save_merged(
    merged: Merged,
    parents: Sequence[Named],
    folder: Path,
    name: str = "",
    *,
    files_of: str | None = None,
    base_of: str | None = None,
) -> Path:
    """Write a merged adapter as a new folder that PEFT, ``lft`` and the servers load.

    Args:
        merged: from ``merge``; low-rank.
        parents: the adapters that went in.
        folder: the place of the new folder; what stands there is replaced.
        name: the adapter's name in its binding.
        files_of: the parent whose tokenizer and prompt format are taken where those of the parents differ.
        base_of: the parent on whose base it is to be put, where the parents' bases were rounded differently.

    Returns:
        The folder: ``adapter_config.json``, ``adapter_model.safetensors``, ``merge.json``, ``manifest.json``, and
        where all parents are bound ``lft.json``.

    Raises:
        InputError: the result is a full matrix, or the parents' tokenizers, prompt formats, layouts, or how their bases
            were rounded differ.
        MachineError: the disk is full.
    """
    if not merged.is_adapter:
        raise InputError(
            f"{merged.certificate.method} gives full matrices, which are no adapter",
            fix="set rank=... to cut it to one (the error is printed), or write it into the base: "
            "lft adapters export with the same words, --to merged and --out FOLDER",
        )
    files, like = carried_files(parents, files_of), rounded_like(parents, base_of)
    with new_folder(folder) as draft:
        write_delta(merged.delta, parents, draft)
        for file, path in files.items():
            shutil.copyfile(path, draft / file)
        if binding := merged_binding(parents, merged.certificate.method, name, like):
            binding.save(draft)
        merged.certificate.save(draft)
    return folder


def rounded_like(parents: Sequence[Named], base_of: str | None) -> Binding | None:
    """The binding of the parent on whose base the result is to be put: of any where all were trained on the same.

    An adapter learned to work with the rounding of its base, so a sum of a QLoRA and of a LoRA is at home on neither:
    whose it is to be is chosen, and never forgotten (registry research 2.6).

    Args:
        parents: the adapters that go in.
        base_of: the one that was chosen.

    Returns:
        None where no parent says what it was trained on.

    Raises:
        InputError: the bases were rounded differently and none was chosen, or the one that was is not there.
    """
    bound = [(one.ref, one.adapter.binding) for one in parents if one.adapter.binding is not None]
    chosen = [(ref, binding) for ref, binding in bound if base_of in (None, ref)]
    if base_of is not None and not chosen:
        raise InputError(f"{base_of} is not among the parents that say their base", fix="name one of the adapters")
    odd = [(ref, binding) for ref, binding in chosen if binding.over != chosen[0][1].over]
    if odd:
        first, other = chosen[0], odd[0]
        raise InputError(
            f"{first[0]} was trained on the base {_rounded(first[1])} and {other[0]} on the base {_rounded(other[1])}: "
            "what they add up to is at home on neither",
            fix=f"say on which: --base-of {first[0]}, for example (of lft adapters merge, stack and export)",
        )
    return min((binding for _, binding in chosen), key=lambda one: (one.base, one.name), default=None)


def _rounded(binding: Binding) -> str:
    return f"rounded to {binding.over}" if binding.over else "as it is stored"


def merged_binding(parents: Sequence[Named], method: str, name: str, like: Binding | None) -> Binding | None:
    """The binding of the result: the base of all parents, the most rows, every tag; None where none is bound.

    How the base is quantized is that of ``like`` (``rounded_like``).
    """
    bindings = [one.adapter.binding for one in parents if one.adapter.binding is not None]
    if not bindings:
        return None
    first = min(bindings, key=lambda one: (one.base, one.name))  # the order of the parents does not count
    tags: dict[str, set[str]] = {}
    for one in bindings:
        for key, values in one.tags.items():
            tags.setdefault(key, set()).update(values)
    merged = replace(
        first,
        rows=max(one.rows for one in bindings),
        below=floor(first, recorded_as(one.adapter for one in parents)),
        recipe=f"merge:{method}",
        tags={key: tuple(sorted(values)) for key, values in sorted(tags.items())},
        lft=lft.__version__,
        name=name,
    )
    if like is None or like.quantize is None:
        return replace(merged, quantize=None, double_quant=True, compute_dtype="auto")
    computed = {one.compute_dtype for one in bindings if one.over == like.over}
    dtype = like.compute_dtype if len(computed) == 1 else "auto"
    return replace(merged, quantize=like.quantize, double_quant=like.double_quant, compute_dtype=dtype)


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
                fix=f"say whose: --files-of {wanted[0].ref}, for example (of lft adapters merge, stack and export)",
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
    inputs = recorded_as(one.adapter for one in parents)
    for digest, share in sorted({(one.weights, one.share) for binding in bindings for one in floor(binding, inputs)}):
        known = with_weights(store, digest)
        found.append(Parent(known[0][0] if known else None, digest, "below", None if share == "1" else share))
    return tuple(sorted(found, key=lambda parent: (parent.role, parent.weights)))
