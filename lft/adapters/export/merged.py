"""A model of its own: base and adapter in one set of weights, streamed, read back before it counts as written."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lft.adapters.algebra.rowwise import TILE, Dense
from lft.adapters.deltas import Delta, Factors
from lft.adapters.export.edits import Layout, Seen, layout
from lft.adapters.export.stream import (
    BLOCK,
    DTYPES,
    Addition,
    Edit,
    Output,
    Retained,
    Written,
    base_matrix,
    write_files,
)
from lft.adapters.vocabulary import TEMPLATE_FILE, template_of
from lft.base.diff_files import copy_beside, index_text, require_new
from lft.base.files import need_room, read_json
from lft.base.headers import INDEX, SINGLE, TensorInfo, read_headers
from lft.errors import InputError, MachineError
from lft.files import new_folder, write_text

_SLACK: Final = 64 * 1024 * 1024  # tokenizer and configuration beside the weights
_FREE: Final = ("quantization_config", "auto_map", "_name_or_path", "_commit_hash")
_NAMES: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Half a unit in the last place, of the sum and once more of the float32 sum that it is rounded from.
_ROUNDING: Final = {"F32": 2.0**-22, "F16": 2.0**-10, "BF16": 2.0**-7}
_LOOKED_AT: Final = 3
_TILES: Final = 6  # times four: what a rule on full matrices holds of a tensor (100 MB, measured)


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged model as it lies on the disk."""

    folder: Path
    files: tuple[Written, ...]
    tensors: int
    changed: int
    size: int
    untied: bool = False  # embedding and head were one tensor in the base

    @property
    def retained(self) -> tuple[Retained, ...]:
        """Of each changed tensor, what rounding to the file's precision left."""
        return tuple(found for file in self.files for found in file.retained)

    @property
    def lost(self) -> float:
        """Norm of what rounding lost over the norm of the whole change."""
        change = math.sqrt(sum(found.change**2 for found in self.retained))
        return math.sqrt(sum(found.lost**2 for found in self.retained)) / change if change else 0.0


def export_merged(
    base: Path,
    delta: Delta,
    out: Path,
    *,
    dense: Mapping[str, Dense] | None = None,
    tokenizer: Path | None = None,
    rows: int | None = None,
    dtype: str | None = None,
    seen: Seen | None = None,
    workers: int = 1,
    beside: Mapping[str, str] | None = None,
) -> Merged:
    """Write base + delta as a model folder that plain `transformers` loads.

    Args:
        base: folder of the base (config.json, safetensors, tokenizer).
        delta: what is added; of a stack, the sum.
        out: a new folder.
        dense: changes of full rank, which are computed by blocks of rows when their tensor is written.
        tokenizer: folder whose tokenizer and chat template the model takes (the adapter's); None takes the base's.
        rows: rows of the embedding that the adapter was trained with.
        dtype: F32, F16 or BF16 for all float tensors; None keeps the base's.
        seen: how training saw the base, where it was quantized and the merge is to start from that.
        workers: files in work at one time.
        beside: texts of further files, by name.

    Raises:
        InputError: the delta does not fit the base, a result is not finite, or what was read back is not what was
            written; nothing is left behind.
        RecipeError: ``out`` exists.
        MachineError: no room on the disk or too little memory.
    """
    require_new(out)
    plan = layout(base, delta, dense=dense, rows=rows, dtype=dtype, seen=seen)
    need_room(out, plan.size + _SLACK, "the merged model")
    need_memory(workers, plan)
    digests: dict[str, str] = {}
    with new_folder(out, digests) as draft:
        files = write_files(draft, plan.files, workers)
        _write_beside(draft, base, tokenizer, plan, beside or {})
        read_back(draft, plan)
        digests.update({file.name: file.sha256 for file in files})
    outputs = plan.outputs()
    changed = sum(output.edit is not None for output in outputs)
    return Merged(out, tuple(files), len(outputs), changed, plan.size, plan.tied is False and _was_tied(base))


def _was_tied(base: Path) -> bool:
    return bool(read_json(base / "config.json").get("tie_word_embeddings", True))


def need_memory(workers: int, plan: Layout) -> None:
    """Raise MachineError when what all workers hold at once does not fit into the memory that is free."""
    edited = [output for output in plan.outputs() if output.edit is not None]
    widest = max((math.prod(output.shape[1:]) for output in edited), default=1)
    tiles = _TILES * TILE if any(one.edit is not None and one.edit.dense is not None for one in edited) else 0
    seen = max((math.prod(o.shape) for o in edited if o.edit is not None and o.edit.seen is not None), default=0)
    needed = workers * (max(BLOCK, widest) + seen + tiles) * 4 * 4  # float32; a matrix that is quantized anew is whole
    free = _available()
    if free is not None and needed > free:
        raise MachineError(
            f"{workers} workers need {needed / 1e9:.2f} GB of memory and {free / 1e9:.2f} GB are free",
            fix="lower --workers",
        )


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _write_beside(draft: Path, base: Path, tokenizer: Path | None, plan: Layout, texts: Mapping[str, str]) -> None:
    """Everything but the weights."""
    copy_beside(base, draft)
    if tokenizer is not None:
        if template_of(tokenizer) is not None:  # it may lie in tokenizer_config.json, which a .jinja file overrules
            (draft / TEMPLATE_FILE).unlink(missing_ok=True)
        copy_beside(tokenizer, draft, tokenizer_only=True)
    write_text(draft / "config.json", json.dumps(configuration(base, plan), indent=2, ensure_ascii=False) + "\n")
    if list(plan.files) != [SINGLE]:
        shards = {name: [output.planned for output in outputs] for name, outputs in plan.files.items()}
        write_text(draft / INDEX, index_text(shards))
    for name, text in texts.items():
        write_text(draft / name, text)


def configuration(base: Path, plan: Layout) -> dict[str, Any]:
    """The base's config.json, true to the tensors: their dtype, the vocabulary's rows, whether the head is tied."""
    config = {key: value for key, value in read_json(base / "config.json").items() if key not in _FREE}
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    if plan.vocabulary is not None and "vocab_size" in text and text["vocab_size"] != plan.vocabulary:
        text["vocab_size"] = plan.vocabulary
    if plan.tied is not None:
        config["tie_word_embeddings"] = plan.tied
        if "tie_word_embeddings" in text:
            text["tie_word_embeddings"] = plan.tied
    config.pop("torch_dtype", None)
    return {**config, "dtype": _NAMES[_main_dtype(plan)]}


def _main_dtype(plan: Layout) -> str:
    """The dtype of most values."""
    sizes: dict[str, int] = {}
    for output in plan.outputs():
        if output.dtype in DTYPES:
            sizes[output.dtype] = sizes.get(output.dtype, 0) + math.prod(output.shape)
    return max(sizes, key=sizes.__getitem__)


def read_back(folder: Path, plan: Layout) -> None:
    """Read a merged model from the disk and compare it with what it should be.

    The headers and the index with the plan; rows of every changed tensor with the sum in float64, made in one piece and
    not by blocks; the tokenizer with the rows. (The bytes were compared when each file was written.)

    Raises:
        InputError: the first thing that differs.
    """
    tensors = {tensor.name: tensor for tensor in read_headers(folder)}
    wanted = {output.name: (output.dtype, output.shape) for output in plan.outputs()}
    if odd := sorted({(n, t.dtype, t.shape) for n, t in tensors.items()} ^ {(n, *w) for n, w in wanted.items()}):
        raise _differs(folder, f"the tensor {odd[0][0]} is not what it should be")
    for output in plan.outputs():
        if output.edit is not None and output.edit.whole is None:
            _compare_rows(output, output.edit, output.source, tensors[output.name], folder)
    _require_rows(folder, plan)


def _compare_rows(output: Output, edit: Edit, source: TensorInfo, there: TensorInfo, folder: Path) -> None:
    base, written = edit.base(base_matrix(source)), base_matrix(there)
    factors = edit.factors() if edit.factors is not None else None
    dense = edit.dense() if edit.dense is not None else None
    chosen = random.Random(output.name).sample(range(base.shape[0]), min(_LOOKED_AT, base.shape[0]))
    for row in sorted({*chosen, *edit.replaced}):
        found = written[row].double()
        if row in edit.replaced:
            expected = edit.replaced[row].double().flatten()
        elif row >= base.shape[0]:
            continue
        else:
            expected = base[row].double() + _change(factors, dense, row, base.shape[1])
        scale = expected.abs().max() + 2.0**-24
        if float((found - expected).abs().max()) > _ROUNDING[output.dtype] * float(scale):
            raise _differs(folder, f"row {row} of {output.name} is not base + change")


def _change(factors: Factors | None, dense: Addition | None, row: int, columns: int) -> torch.Tensor:
    change = torch.zeros(columns, dtype=torch.float64)
    if factors is not None:
        change += factors.b[row].double() @ factors.a.double()
    if dense is not None:
        change += dense(row, row + 1).double().flatten()
    return change


def _require_rows(folder: Path, plan: Layout) -> None:
    """No token may have an id beyond the embedding: it would read another's memory, or fail, at the first use."""
    file = folder / "tokenizer.json"
    if plan.vocabulary is None or not file.is_file():
        return
    added = [token["id"] for token in read_json(file).get("added_tokens") or []]
    if added and max(added) >= plan.vocabulary:
        raise InputError(
            f"the tokenizer has a token with id {max(added)}, the embedding {plan.vocabulary:,} rows",
            where=str(folder),
            fix="give the rows that the adapter was trained with (lft.json), or the tokenizer of the base",
        )


def _differs(folder: Path, what: str) -> InputError:
    return InputError(f"{what}: the export was read back and is wrong", where=str(folder), fix="check the disk")
