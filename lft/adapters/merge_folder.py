"""A merged adapter as a PEFT folder in canonical form, bound to its parents' base, with its certificate beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import lft
from lft.adapters.adapter import Adapter, LowRank
from lft.adapters.canonical import Entry, Float, Heading, Pair, heading_of, save_peft, whole_name
from lft.adapters.certificate import Certificate
from lft.adapters.deltas import Delta, Factors
from lft.adapters.folder import KNOWN, Role
from lft.adapters.merge import Merged
from lft.adapters.names import Part, name_of
from lft.adapters.sources import floor
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import Merge, Parent
from lft.base.binding import Binding
from lft.base.configuration import canonical
from lft.errors import InputError
from lft.files import new_folder, sha256

_CARRIED: tuple[Role, ...] = ("prompt", "tokenizer", "template")


@dataclass(frozen=True, slots=True)
class Named:
    """A parent: what it is called, and the adapter."""

    ref: str
    adapter: Adapter


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
    carried = carried_files(parents, files_of)
    layouts = _layouts(parents)
    delta = merged.delta
    with new_folder(folder) as draft:
        save_peft(
            draft,
            [lambda n=n, f=f: _pair(n, f, layouts[n], delta) for n, f in delta.factors.items()],  # type: ignore[misc]
            [_entry(whole_name(tensor, _wrapped(parents, tensor)), values) for tensor, values in delta.whole.items()],
            {_module(weight): rows.tokens for weight, rows in delta.rows.items()},
            [_entry(name_of(Part(_module(weight), "rows")), rows.values) for weight, rows in delta.rows.items()],
            _heading(parents, delta),
        )
        for file, path in carried.items():
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


def _module(weight: str) -> str:
    return weight.removesuffix(".weight")


def _layouts(parents: Sequence[Named]) -> dict[str, LowRank]:
    """How each weight's factors lie in the parents' files."""
    found: dict[str, tuple[str, LowRank]] = {}
    for one in parents:
        for low in one.adapter.low_rank:
            ref, other = found.setdefault(f"{low.module}.weight", (one.ref, low))
            if (other.embedding, other.transposed) != (low.embedding, low.transposed):
                raise InputError(f"{low.module} is stored transposed in {ref} and not in {one.ref}, or the reverse")
    return {name: low for name, (_, low) in found.items()}


def _pair(weight: str, factors: Factors, layout: LowRank, delta: Delta) -> Pair:
    """Factors as PEFT stores them; see ``lft.adapters.deltas`` for the letters."""
    a, b = (factors.b.T, factors.a.T) if layout.embedding or layout.transposed else (factors.a, factors.b)
    biases = [name for name in delta.added if name.endswith(".bias")]
    zeros = torch.zeros(b.shape[0])
    bias = _array(delta.added.get(f"{layout.module}.bias", zeros)) if biases else None
    return Pair(_module(weight), _array(a), _array(b), layout.embedding, None, bias)


def _array(tensor: torch.Tensor) -> Float:
    values: Float = tensor.contiguous().numpy()
    return values


def _entry(name: str, tensor: torch.Tensor) -> Entry:
    values = _array(tensor.float())
    return Entry(name, "F32", values.shape, lambda: [values.astype("<f4").tobytes()])


def _wrapped(parents: Sequence[Named], tensor: str) -> str:
    return next((whole.wrapped for one in parents for whole in one.adapter.whole if whole.tensor == tensor), "")


def _heading(parents: Sequence[Named], delta: Delta) -> Heading:
    """The first parent's heading (by digest, so that the order does not count) with what any of them needs."""
    ordered = sorted(parents, key=lambda one: one.adapter.digest)
    headings = [heading_of(one.adapter) for one in ordered]
    saved = sorted({module for one in headings for module in one.modules_to_save})
    biased = any(key.endswith(".bias") for key in delta.added)
    if biased:
        _require_biases(delta)
    return replace(
        headings[0],
        use_dora=False,
        lora_bias=biased,
        bias=next((one.bias for one in headings if one.bias != "none"), "none"),
        modules_to_save=tuple(saved),
        ensure_weight_tying=any(one.ensure_weight_tying for one in headings),
    )


def _require_biases(delta: Delta) -> None:
    """PEFT's lora_bias is for all modules or none: those without one get zeros."""
    lone = [name for name in delta.added if f"{name.removesuffix('.bias')}.weight" not in delta.factors]
    if lone:
        raise InputError(f"{lone[0]} has no low-rank change beside it", fix="export it merged into the base")


def carried_files(parents: Sequence[Named], files_of: str | None) -> dict[str, Path]:
    """Tokenizer, template and prompt format: those that all parents share, or those of one."""
    wanted = [one for one in parents if files_of in (None, one.ref)]
    if not wanted:
        raise InputError(f"{files_of} is not among the parents", fix="name one of the merged adapters")
    files = [_files(one.adapter) for one in wanted]
    digests = [{name: sha256(path) for name, path in those.items()} for those in files]
    for one, those in zip(wanted, digests, strict=True):
        odd = sorted(name for name in {*those, *digests[0]} if those.get(name) != digests[0].get(name))
        if odd:
            raise InputError(
                f"{odd[0]} differs between {wanted[0].ref} and {one.ref}: the result can have only one",
                fix=f"say whose is taken, for example --files-of {wanted[0].ref}",
            )
    return dict(files[0])


def _files(adapter: Adapter) -> Mapping[str, Path]:
    used = adapter.files.used if adapter.files else {}
    return {name: path for name, path in used.items() if KNOWN[name][0] in _CARRIED}


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
