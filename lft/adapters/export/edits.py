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

from lft.adapters.algebra.rowwise import Dense
from lft.adapters.cover import BaseTensors, base_tensors
from lft.adapters.deltas import Delta
from lft.adapters.export.stream import DTYPES, Addition, Edit, Output, base_matrix, mapped
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
class Change:
    """What is added to a base: a delta, and full matrices that are computed by rows."""

    delta: Delta
    dense: Mapping[str, Dense]

    def touched(self) -> list[str]:
        """Every tensor that does not stay as it is, sorted."""
        return sorted({*self.delta.names(), *self.delta.whole, *self.delta.rows, *self.dense})


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
    base: Path,
    delta: Delta,
    *,
    dense: Mapping[str, Dense] | None = None,
    rows: int | None = None,
    dtype: str | None = None,
    seen: Seen | None = None,
) -> Layout:
    """Lay out the merged model as its base is laid out.

    Args:
        base: folder of the base's safetensors and config.json.
        delta: what is added, by the names that the model's modules have.
        dense: what is added besides, by rows that are computed when they are asked for.
        rows: rows of the embedding that the adapter was trained with; None keeps the base's.
        dtype: F32, F16 or BF16 for every float tensor; None keeps each tensor's own.
        seen: how a quantized training saw the base; None takes it as it is stored.

    Raises:
        InputError: a part of the delta has no tensor in the base, or one of another shape; the base is quantized.
    """
    tensors = {tensor.name: tensor for tensor in read_headers(base)}
    change = Change(delta, dense or {})
    names = _stored_names(change.touched(), base_tensors(base))
    config = _configuration(base)
    edits = {names[name]: edit for name, edit in _edits(change, names, tensors, base).items()}
    embedding, head = next(filter(is_input, tensors), None), next(filter(is_head, tensors), None)
    copies = _copies(tensors, config)
    grows = rows is not None and any(rows > tensors[name].shape[0] for name in copies)
    apart = len(copies) > 1 and (grows or not edits.keys().isdisjoint(copies)) and _spread(edits, copies, tensors, base)
    if rows is not None and embedding is not None:
        _grow(edits, [*copies, *([head] if head is not None and head not in copies else [])], tensors, rows)
    if seen is not None:
        _see(edits, seen, tensors)
    files = {
        file.name: [_output(tensor, edits.get(tensor.name), dtype) for tensor in those]
        for file, those in shards_of(tensors.values()).items()
    }
    untied = _untied(change, config, embedding, head)
    if untied is not None:
        files[next(reversed(files))] += untied_outputs(files, str(embedding), change, untied, tensors, dtype)
    return Layout(files, _rows_of(files, embedding), False if apart or untied is not None else None)


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


def _edits(change: Change, names: Mapping[str, str], tensors: Mapping[str, TensorInfo], where: Path) -> dict[str, Edit]:
    found: dict[str, Edit] = {}
    for name, stored in names.items():
        if stored not in tensors:  # a head that is the input embedding; see _untied
            continue
        there = tensors[stored]
        if there.dtype not in DTYPES:
            raise InputError(
                f"{stored} is stored as {there.dtype}: nothing can be added to a quantized base",
                where=str(where),
                fix="merge into the base's unquantized release",
            )
        found[name] = edit_of(change, name, there)
    return found


def _copies(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> list[str]:
    """The names under which the input embedding is stored: some checkpoints store a tied head, or T5's, again."""
    tied = [name for name in tensors if is_head(name)] if config.get("tie_word_embeddings") else []
    return [*filter(is_input, tensors), *tied]


def _spread(edits: dict[str, Edit], copies: Sequence[str], tensors: Mapping[str, TensorInfo], where: Path) -> bool:
    """Give every copy of one parameter the rows that replace the embedding's, as loading ties them.

    What is trained on one of its uses alone (a LoRA of the embedding, rows of the head) stays there, as in training;
    PEFT's own merging writes it into both.

    Returns:
        Whether embedding and head are two different tensors from now on.

    Raises:
        InputError: the copies differ, or one of several input embeddings changes by itself.
    """
    first = mapped(tensors[copies[0]])
    changed = [name for name in copies if name in edits]
    apart = [name for name in changed if is_head(name) or edits[name].adds or edits[name].whole is not None]
    alone = len([name for name in copies if is_input(name)]) > 1 and any(map(is_input, apart))
    if alone or any(mapped(tensors[name]) != first for name in copies[1:]):
        raise InputError(
            f"the adapter changes the embedding, which this base stores more than once ({', '.join(copies)}), "
            + ("and one of these by itself" if alone else "and not alike"),
            where=str(where),
            fix="load base and adapter with peft and save them merged",
        )
    rows = next((edits[name].replaced for name in changed if is_input(name)), {})
    for name in copies if rows else ():
        edit = edits.get(name, Edit(tensors[name].shape[0]))
        edits[name] = edit if edit.replaced else replace(edit, replaced=rows)
    return bool(apart)


def edit_of(change: Change, name: str, there: TensorInfo) -> Edit:
    """All that a change does to one tensor.

    Raises:
        InputError: a shape does not fit.
    """
    delta, by_rows = change.delta, change.dense.get(name)
    whole, rows, added = delta.whole.get(name), delta.rows.get(name), delta.added.get(name)
    if name in delta.factors or added is not None:
        _require_shape(name, delta.shape(name), there)
    if by_rows is not None:
        _require_shape(name, by_rows.shape, there)
    if whole is not None and tuple(whole.shape[1:]) != there.shape[1:]:
        _require_shape(name, tuple(whole.shape), there)
    additions: list[Callable[[], Addition]] = [partial(_blocks_of, added)] if added is not None else []
    additions += [by_rows.in_order] if by_rows is not None else []
    return Edit(
        rows=there.shape[0] if whole is None else whole.shape[0],
        factors=partial(delta.factors.__getitem__, name) if name in delta.factors else None,
        dense=partial(_together, additions) if additions else None,
        whole=whole,
        replaced={} if rows is None else dict(zip(rows.tokens, rows.values, strict=True)),
    )


def _blocks_of(dense: torch.Tensor) -> Addition:
    return lambda start, end: dense[start:end].reshape(end - start, -1)


def _together(additions: Sequence[Callable[[], Addition]]) -> Addition:
    made = [one() for one in additions]
    return lambda start, end: sum((one(start, end) for one in made[1:]), made[0](start, end))


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


def _untied(change: Change, config: Mapping[str, Any], embedding: str | None, head: str | None) -> str | None:
    """The name of the head that must be written apart: the base's is its embedding, and only one of the two changes.

    Rows of the embedding belong to both, as in training; everything else that is trained touches one of them.
    """
    if head is not None or embedding is None or not config.get("tie_word_embeddings", True):
        return None
    changed = {*change.delta.names(), *change.delta.whole, *change.dense}
    heads = sorted(name for name in {*changed, *change.delta.rows} if is_head(name))
    if heads:
        return heads[0]
    return f"{HEADS[0]}.weight" if any(is_input(name) for name in changed) else None


def untied_outputs(
    files: Mapping[str, Sequence[Output]],
    embedding: str,
    change: Change,
    head: str,
    tensors: Mapping[str, TensorInfo],
    dtype: str | None,
) -> list[Output]:
    """The head as a tensor of its own: the embedding with what the head is given; rows where it has none of its own."""
    there = tensors[embedding]
    below = next(output for outputs in files.values() for output in outputs if output.name == embedding)
    edit = edit_of(change, head, there)
    if below.edit is not None and edit.whole is None:
        replaced = edit.replaced or below.edit.replaced
        edit = replace(edit, rows=below.edit.rows, filler=below.edit.filler, replaced=replaced)
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
