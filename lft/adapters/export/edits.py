"""What an adapter makes of each tensor of its base: which file it lies in, in which shape, with which change.

Read from headers alone; no weight is touched here but the mean row that fills an embedding's new rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lft.adapters.cover import BaseTensors, base_tensors
from lft.adapters.deltas import Delta
from lft.adapters.export.stream import DTYPES, Dense, Edit, Output, base_matrix
from lft.base.diff_files import shards_of
from lft.base.embeddings import HEADS, is_head, is_input
from lft.base.headers import TensorInfo, read_headers
from lft.base.tokens import mean_row
from lft.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A base as a quantized training saw it: the names of the matrices that were quantized, and what became of one.

    ``used``: the change is added to that; else the two are only compared.
    """

    names: frozenset[str]
    matrix: Callable[[torch.Tensor], torch.Tensor]
    used: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The files of a merged model and what its config.json must say of them."""

    files: Mapping[str, Sequence[Output]]
    vocabulary: int | None  # rows of the input embedding, None where the base has no embedding of a known name
    tied: bool | None  # None: as the base says

    def outputs(self) -> tuple[Output, ...]:
        """All tensors, in the order of files and bytes."""
        return tuple(output for outputs in self.files.values() for output in outputs)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(output.planned.size for output in self.outputs())


def layout(
    base: Path, delta: Delta, *, rows: int | None = None, dtype: str | None = None, seen: Seen | None = None
) -> Layout:
    """Lay out the merged model as its base is laid out.

    Args:
        base: folder of the base's safetensors and config.json.
        delta: what is added, by the names that the model's modules have.
        rows: rows of the embedding that the adapter was trained with; None keeps the base's.
        dtype: F32, F16 or BF16 for every float tensor; None keeps each tensor's own.
        seen: how a quantized training saw the base; None takes it as it is stored.

    Raises:
        InputError: a part of the delta has no tensor in the base, or one of another shape; the base is quantized.
    """
    tensors = {tensor.name: tensor for tensor in read_headers(base)}
    names = _stored_names(_touched(delta), base_tensors(base))
    config = _configuration(base)
    edits = {names[name]: edit for name, edit in _edits(delta, names, tensors, base).items()}
    embedding, head = next(filter(is_input, tensors), None), next(filter(is_head, tensors), None)
    _require_one_copy(edits, rows, tensors, config, base)
    if rows is not None and embedding is not None:
        _grow(edits, [name for name in (embedding, head) if name is not None], tensors, rows)
    if seen is not None:
        _see(edits, seen, tensors)
    files = {
        file.name: [_output(tensor, edits.get(tensor.name), dtype) for tensor in those]
        for file, those in shards_of(tensors.values()).items()
    }
    untied = _untied(delta, config, embedding, head)
    if untied is not None:
        files[next(reversed(files))] += untied_outputs(files, str(embedding), delta, untied, tensors, dtype)
    return Layout(files, _rows_of(files, embedding), False if untied is not None else None)


def _stored_names(wanted: Sequence[str], base: BaseTensors) -> dict[str, str]:
    """Each weight's name in the base's files; a head that is the input embedding keeps its own (see ``_untied``).

    Raises:
        InputError: the base has no such tensor.
    """
    found: dict[str, str] = {}
    for name in wanted:
        there = base.stored(name)
        if is_head(name) and there is not None and not is_head(there):
            there = name
        if there is None:
            raise InputError(
                f"the adapter changes {name}, and the base has no such tensor",
                where=str(base.folder),
                fix="merge it into the base that it was trained on",
            )
        if there in found.values():
            raise InputError(
                f"the adapter changes {there} under two names",
                where=str(base.folder),
                fix="ask its author how it was saved",
            )
        found[name] = there
    return found


def _touched(delta: Delta) -> list[str]:
    return sorted({*delta.names(), *delta.whole, *delta.rows})


def _edits(delta: Delta, names: Mapping[str, str], tensors: Mapping[str, TensorInfo], where: Path) -> dict[str, Edit]:
    found: dict[str, Edit] = {}
    for name, stored in names.items():
        if stored not in tensors:  # a head that is the input embedding; see _untied
            if name in delta.rows:
                raise _unclear(f"rows of {name}, which this base does not store apart from its embedding", where)
            continue
        there = tensors[stored]
        if there.dtype not in DTYPES:
            raise InputError(
                f"{stored} is stored as {there.dtype}: nothing can be added to a quantized base",
                where=str(where),
                fix="merge into the base's unquantized release",
            )
        found[name] = edit_of(delta, name, there)
    return found


def _require_one_copy(
    edits: Mapping[str, Edit],
    rows: int | None,
    tensors: Mapping[str, TensorInfo],
    config: Mapping[str, Any],
    where: Path,
) -> None:
    """Some checkpoints store one parameter under several names; changing one of them would leave the others behind.

    Raises:
        InputError: an embedding is changed, or grows, that such a checkpoint stores twice.
    """
    copies = [name for name in tensors if is_input(name)]
    if config.get("tie_word_embeddings"):
        copies += [name for name in tensors if is_head(name)]
    grows = rows is not None and any(rows > tensors[name].shape[0] for name in copies)
    if len(copies) > 1 and (grows or any(name in edits for name in copies)):
        raise _unclear(f"the embedding, which this base stores more than once ({', '.join(copies)})", where)


def _unclear(what: str, where: Path) -> InputError:
    return InputError(
        f"the adapter changes {what}: what that makes of the other is not decided here",
        where=str(where),
        fix="load base and adapter with peft and save them merged, or train with data.eoi: text",
    )


def edit_of(delta: Delta, name: str, there: TensorInfo) -> Edit:
    """All that a delta does to one tensor.

    Raises:
        InputError: a shape does not fit.
    """
    whole, rows, added = delta.whole.get(name), delta.rows.get(name), delta.added.get(name)
    if name in delta.factors or added is not None:
        _require_shape(name, delta.shape(name), there)
    if whole is not None and tuple(whole.shape[1:]) != there.shape[1:]:
        _require_shape(name, tuple(whole.shape), there)
    return Edit(
        rows=there.shape[0] if whole is None else whole.shape[0],
        factors=partial(delta.factors.__getitem__, name) if name in delta.factors else None,
        dense=None if added is None else _blocks_of(added),
        whole=whole,
        replaced={} if rows is None else dict(zip(rows.tokens, rows.values, strict=True)),
    )


def _blocks_of(dense: torch.Tensor) -> Dense:
    return lambda start, end: dense[start:end].reshape(end - start, -1)


def _require_shape(name: str, shape: tuple[int, ...], there: TensorInfo) -> None:
    if shape != there.shape:
        raise InputError(
            f"the adapter's change of {name} is {list(shape)}, the base's tensor {list(there.shape)}",
            where=str(there.file),
            fix="merge it into the base that it was trained on",
        )


def _grow(edits: dict[str, Edit], names: Sequence[str], tensors: Mapping[str, TensorInfo], rows: int) -> None:
    """Give the embedding, and a head of its own, the rows that added tokens need; what nothing replaces is the mean."""
    for name in names:
        before = tensors[name].shape[0]
        if rows <= before or (name in edits and edits[name].whole is not None):
            continue
        edit = edits.get(name, Edit(before))
        edits[name] = replace(edit, rows=rows, filler=mean_row(base_matrix(tensors[name])).float())


def _see(edits: dict[str, Edit], seen: Seen, tensors: Mapping[str, TensorInfo]) -> None:
    """Also matrices that nothing is added to were seen quantized; where they are only compared, they stay untouched."""
    for name in seen.names & tensors.keys():
        if seen.used or name in edits:
            edit = edits.get(name, Edit(tensors[name].shape[0]))
            edits[name] = replace(edit, seen=seen.matrix, onto_seen=seen.used)


def _output(tensor: TensorInfo, edit: Edit | None, dtype: str | None) -> Output:
    kept = tensor.dtype if dtype is None or tensor.dtype not in DTYPES else dtype
    shape = tensor.shape if edit is None or not tensor.shape else (edit.rows, *tensor.shape[1:])
    return Output(tensor.name, kept, shape, tensor, edit)


def _untied(delta: Delta, config: Mapping[str, Any], embedding: str | None, head: str | None) -> str | None:
    """The name of the head that must be written apart: the base's is its embedding, and only one of the two changes.

    Rows of added tokens belong to both, as in training; everything else that is trained touches one of them.
    """
    if head is not None or embedding is None or not config.get("tie_word_embeddings", True):
        return None
    changed = {*delta.names(), *delta.whole}
    heads = sorted(name for name in changed if is_head(name))
    if heads:
        return heads[0]
    return f"{HEADS[0]}.weight" if any(is_input(name) for name in changed) else None


def untied_outputs(
    files: Mapping[str, Sequence[Output]],
    embedding: str,
    delta: Delta,
    head: str,
    tensors: Mapping[str, TensorInfo],
    dtype: str | None,
) -> list[Output]:
    """The head as a tensor of its own: the embedding with what is added to the head, and the new rows."""
    there = tensors[embedding]
    below = next(output for outputs in files.values() for output in outputs if output.name == embedding)
    edit = edit_of(delta, head, there)
    if below.edit is not None and edit.whole is None:
        edit = replace(edit, rows=below.edit.rows, filler=below.edit.filler, replaced=below.edit.replaced)
    return [replace(_output(there, edit, dtype), name=head)]


def _rows_of(files: Mapping[str, Sequence[Output]], embedding: str | None) -> int | None:
    return next((o.shape[0] for outputs in files.values() for o in outputs if o.name == embedding), None)


def _configuration(base: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((base / "config.json").read_bytes())
    if "quantization_config" in content:
        raise InputError(
            "this base is stored quantized, and nothing can be added to its weights",
            where=str(base / "config.json"),
            fix="merge into the base's unquantized release",
        )
    return content
