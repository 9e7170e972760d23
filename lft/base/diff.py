"""Weight differences: a tuned model as base + difference, so that it can be given away where its base may not be.

``make_diff`` stores differences of bit patterns, so ``apply_diff`` gives back the tuned model's files byte for byte.
Releases by others are float differences (LongForm-LLaMA-7B-diff); ``apply_diff`` hands them to ``diff_sum``.
Everything is streamed: memory is a few pieces of a tensor, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lft.base.diff_bits import FLOATS, Words, converted, equal, paired, pieces, restored, subtracted, word_bytes
from lft.base.diff_files import (
    RECORD,
    Origin,
    Planned,
    Record,
    Shard,
    copy_beside,
    has_tokenizer,
    header_text,
    model_index,
    new_header,
    read_record,
    require_new,
    shards_of,
    stored_name,
    write_shard,
)
from lft.base.diff_sum import apply_sum, check_sum
from lft.base.files import Notify, need_room
from lft.base.fingerprint import weights_fingerprint
from lft.base.headers import BITS, INDEX, TensorInfo, read_header, read_headers
from lft.base.hub import REPO_ID, fetch
from lft.base.resolve import BaseRef
from lft.errors import InputError, RecipeError
from lft.files import new_folder, require_whole, sha256, write_text

_SHARED = 0.5  # below this share of values with a counterpart, two models are not base and tuned
_SLACK = 64 * 1024 * 1024  # tokenizer and configuration beside the weights


@dataclass(frozen=True, slots=True)
class Summary:
    """Tensors that differ, are the base's, are only the tuned model's, have rows the base lacks, are left out."""

    changed: int
    same: int
    whole: tuple[str, ...]
    grown: tuple[str, ...]
    left_out: tuple[str, ...]
    stored_bytes: int
    base: str | None  # fingerprint of the base's weights; a float difference does not know it
    result: str  # fingerprint of the tuned weights


@dataclass(frozen=True, slots=True)
class _Pairing:
    """Which tensor of the base stands against which of the tuned model."""

    base: Mapping[str, TensorInfo]
    tuned: tuple[TensorInfo, ...]
    same: frozenset[str] = field(default_factory=frozenset)

    def whole(self) -> tuple[str, ...]:
        return tuple(sorted(t.name for t in self.tuned if t.name not in self.base))

    def grown(self) -> tuple[str, ...]:
        known = (t for t in self.tuned if t.name in self.base)
        return tuple(sorted(t.name for t in known if t.shape != self.base[t.name].shape))

    def left_out(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.base) - {t.name for t in self.tuned}))


def resolve_diff(written: str, revision: str | None, notify: Notify) -> Path:
    """The folder of a difference: a path, or a hub id that is fetched. Raises InputError when it is neither."""
    path = Path(written).expanduser()
    if path.is_dir():
        if revision is not None:
            raise InputError("a revision names a commit on the hub, but this difference is on the disk", where=written)
        return path
    if path.exists() or not REPO_ID.fullmatch(written):
        raise InputError("not a folder and not a hub id (user/name)", where=written, fix="give the difference's folder")
    return fetch(written, revision, remote_code=False, notify=notify).folder


def make_diff(base: BaseRef, tuned: BaseRef, out: Path, cache: Path, notify: Notify) -> Summary:
    """Write the difference between a tuned model and its base to the folder ``out``.

    ``cache`` keeps digests of files. Raises InputError when the two do not belong together, RecipeError when ``out``
    exists, MachineError when the disk is full; then nothing is left behind.
    """
    require_new(out)
    pairing = _paired_up(base.folder, tuned.folder)
    notify("reading both models")
    origin = Origin(model=_name(base), revision=base.revision, weights=weights_fingerprint(base.folder, cache))
    result = weights_fingerprint(tuned.folder, cache)
    if result == origin.weights:
        raise InputError("these are the base's own weights: there is no difference", where=tuned.written)
    same = frozenset(t.name for t in pairing.tuned if t.name in pairing.base and equal(t, pairing.base[t.name]))
    pairing = _Pairing(pairing.base, pairing.tuned, same)
    size = sum(t.end - t.start for t in pairing.tuned if t.name not in same)
    need_room(out, size + _SLACK, "the difference")
    with new_folder(out) as draft:
        record = Record(
            base=origin,
            result=result,
            shards=_write_differences(draft, pairing, notify),
            index=model_index(tuned.folder),
            same=tuple(sorted(same)),
            whole=pairing.whole(),
        )
        if not has_tokenizer(copy_beside(tuned.folder, draft)):
            notify("the tuned model has no tokenizer beside it, so the difference has none")
        write_text(draft / RECORD, record.model_dump_json(indent=1) + "\n")
    return _summary(pairing, record, size)


def apply_diff(
    base: BaseRef,
    diff: Path,
    out: Path,
    cache: Path,
    notify: Notify,
    expect: str | None = None,
    token: str | None = None,
) -> Summary:
    """Write the model that a difference makes of its base to the folder ``out``.

    Args:
        base: the model the difference is against; its weights are compared with the record before anything is written.
        diff: folder of the difference, of lft or (without diff.json) a float difference as others release them.
        out: a new folder: weights, index, configuration, tokenizer, manifest.
        cache: keeps digests of files.
        notify: called with one line at each step.
        expect: fingerprint that the resulting weights must have, when it was published.
        token: text of the token whose row a float difference adds; goes into the tokenizer.

    Raises:
        InputError: wrong base, damaged difference, or a result that is not the expected one; nothing is left behind.
        RecipeError: ``out`` exists.
        MachineError: no room on the disk.
    """
    require_new(out)
    if not (diff / RECORD).exists():
        counts = apply_sum(base, diff, out, notify, expect, token)
        return Summary(counts.changed, 0, (), counts.grown, counts.left_out, 0, None, counts.result)
    if token is not None:
        raise RecipeError("this difference brings its own tokenizer", where=str(diff), fix="leave --add-token out")
    record = read_record(diff)
    if expect not in (None, record.result):
        raise InputError(
            f"this difference makes weights {record.result[:16]}..., not {expect}", where=str(diff), fix="check both"
        )
    _require_base(base, record, cache, notify)
    need_room(out, sum(shard.bytes for shard in record.shards) + _SLACK, "the model")
    with new_folder(out) as draft:
        pairing = _write_model(draft, base, diff, record, notify)
        copy_beside(diff, draft)
        stored = sum((diff / stored_name(shard)).stat().st_size for shard in record.shards)
    return _summary(pairing, record, stored)


def check_diff(diff: Path, base: BaseRef | None, cache: Path, notify: Notify) -> Record | None:
    """Check a difference's files and, when given, that ``base`` is the one it is against.

    Returns its record, None for a float difference, which has none. Raises InputError for whatever is wrong.
    """
    if not (diff / RECORD).exists():
        check_sum(read_headers(diff), read_headers(base.folder) if base else None, diff)
        return None
    require_whole(diff, "the difference")
    record = read_record(diff)
    if base is not None:
        _require_base(base, record, cache, notify)
    return record


def _name(base: BaseRef) -> str:
    """What names the base to others: a hub id, or the last part of a path of this machine."""
    return base.written if base.kind in ("hub", "package") else Path(base.written).expanduser().resolve().name


def _paired_up(base: Path, tuned: Path) -> _Pairing:
    known = {tensor.name: tensor for tensor in read_headers(base)}
    upper = tuple(read_headers(tuned))
    for tensor in upper:
        if tensor.name in known:
            _require_comparable(tensor, known[tensor.name])
    shared = sum(tensor.end - tensor.start for tensor in upper if tensor.name in known)
    total = sum(tensor.end - tensor.start for tensor in upper)
    if shared < _SHARED * total:
        example = next(tensor.name for tensor in upper if tensor.name not in known)
        raise InputError(
            f"only {100 * shared / total:.0f} % of its weights have a counterpart in the base; {example!r} has none",
            where=str(tuned),
            fix="give the base that this model was tuned from",
        )
    return _Pairing(known, upper)


def _require_comparable(tuned: TensorInfo, base: TensorInfo) -> None:
    """Raise InputError unless the base's tensor is the beginning of the tuned one in a format that converts."""
    grown = len(tuned.shape) == len(base.shape) > 0 and tuned.shape[0] > base.shape[0]
    if tuned.shape != base.shape and not (grown and tuned.shape[1:] == base.shape[1:]):
        raise InputError(
            f"tensor {tuned.name!r} has shape {tuned.shape}, the base's has {base.shape}",
            where=str(tuned.file),
            fix="give the base that this model was tuned from (more rows are possible, nothing else)",
        )
    if tuned.dtype != base.dtype and not {tuned.dtype, base.dtype} <= set(FLOATS):
        raise InputError(
            f"tensor {tuned.name!r} is {tuned.dtype}, the base's is {base.dtype}; these do not convert",
            where=str(tuned.file),
            fix="save the tuned model in the base's dtype, or in F16, BF16 or F32",
        )
    if grown and BITS[tuned.dtype] < 8:
        raise InputError(f"tensor {tuned.name!r} is {tuned.dtype} and has more rows", where=str(tuned.file))


def _write_differences(draft: Path, pairing: _Pairing, notify: Notify) -> tuple[Shard, ...]:
    by_file = shards_of(pairing.tuned)
    shards = []
    for number, (file, tensors) in enumerate(by_file.items(), start=1):
        notify(f"shard {number} of {len(by_file)}: {file.name}")
        shard = Shard(name=file.name, header=header_text(file), bytes=file.stat().st_size, sha256=sha256(file))
        stored = {t.name: t for t in tensors if t.name not in pairing.same}
        header = new_header([_planned(t, t.name in pairing.base) for t in stored.values()])

        def content(target: TensorInfo, stored: dict[str, TensorInfo] = stored) -> Iterator[Words]:
            return _difference(stored[target.name], pairing.base.get(target.name))

        size = 8 + len(header.encode()) + sum(t.end - t.start for t in stored.values())
        write_shard(draft / stored_name(shard), header, size, content)
        shards.append(shard)
    return tuple(shards)


def _planned(tensor: TensorInfo, against_base: bool) -> Planned:
    """How a tensor is stored: a difference as integers of its width, anything else as it is."""
    size = tensor.end - tensor.start
    if not against_base:
        return Planned(tensor.name, tensor.dtype, tensor.shape, size)
    shape = tensor.shape if BITS[tensor.dtype] >= 8 else (size,)
    return Planned(tensor.name, f"U{8 * word_bytes(tensor.dtype)}", shape, size)


def _difference(tuned: TensorInfo, base: TensorInfo | None) -> Iterator[Words]:
    if base is None:
        yield from pieces(tuned)
        return
    for upper, lower in paired(tuned, base):
        yield subtracted(upper, converted(lower, base.dtype, tuned.dtype))


def _require_base(base: BaseRef, record: Record, cache: Path, notify: Notify) -> None:
    notify("comparing the base with the one that the difference is against")
    found = weights_fingerprint(base.folder, cache)
    if found == record.base.weights:
        return
    commit = f" at {record.base.revision}" if record.base.revision else ""
    raise InputError(
        f"not the base of this difference: its weights are {found[:16]}..., needed are {record.base.weights[:16]}...",
        where=base.written,
        fix=f"use {record.base.model}{commit}, the very weights that the difference was made from",
    )


def _write_model(draft: Path, base: BaseRef, diff: Path, record: Record, notify: Notify) -> _Pairing:
    known = {tensor.name: tensor for tensor in read_headers(base.folder)}
    for number, shard in enumerate(record.shards, start=1):
        notify(f"shard {number} of {len(record.shards)}: {shard.name}")
        stored = {tensor.name: tensor for tensor in read_header(diff / stored_name(shard))}

        def content(target: TensorInfo, stored: dict[str, TensorInfo] = stored) -> Iterator[Words]:
            return _restored(target, known, stored, record)

        write_shard(draft / shard.name, shard.header, shard.bytes, content)
        if sha256(draft / shard.name) != shard.sha256:
            raise InputError(
                f"{shard.name} does not come out as recorded: the difference is damaged",
                where=str(diff / stored_name(shard)),
                fix="fetch the difference again",
            )
    if record.index is not None:
        write_text(draft / INDEX, record.index)
    return _Pairing(known, tuple(read_headers(draft)), frozenset(record.same))


def _restored(
    target: TensorInfo, known: Mapping[str, TensorInfo], stored: Mapping[str, TensorInfo], record: Record
) -> Iterator[Words]:
    """The tuned tensor that has the place ``target`` in the file being written."""
    base = None if target.name in record.whole else known.get(target.name)
    source = known.get(target.name) if target.name in record.same else stored.get(target.name)
    if source is None or (base is None and target.name not in record.whole):
        raise InputError(f"tensor {target.name!r} is not in the difference", where=RECORD, fix="fetch it again")
    if base is None or target.name in record.same:
        yield from pieces(source)
        return
    _require_comparable(target, base)
    if source.dtype != f"U{8 * word_bytes(target.dtype)}" or source.end - source.start != target.end - target.start:
        raise InputError(f"the difference of tensor {target.name!r} has the wrong form", where=str(source.file))
    for upper, lower in paired(source, base):
        yield restored(upper, converted(lower, base.dtype, target.dtype))


def _summary(pairing: _Pairing, record: Record, stored: int) -> Summary:
    changed = len(pairing.tuned) - len(pairing.same) - len(record.whole)
    left_out = pairing.left_out()
    grown = pairing.grown()
    base, result = record.base.weights, record.result
    return Summary(changed, len(pairing.same), record.whole, grown, left_out, stored, base, result)
