"""An adapter as a GGUF file, which llama.cpp and Ollama put on a base of theirs at load.

    general.type = adapter · adapter.type = lora · adapter.lora.alpha
    <llama.cpp's tensor>.lora_a  [r x n]      .lora_b  [m x r]      change = (alpha / r) b·a

llama.cpp takes one alpha for all tensors and the rank from each, so all have the same rank here (zeros fill the
smaller ones), alpha is that rank, and the scale lies in b.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lft.adapters.deltas import Delta, Factors
from lft.adapters.export.gguf_names import Architecture, architecture, permuted, unpermuted
from lft.base.diff_files import require_new
from lft.base.embeddings import is_head, is_input
from lft.errors import InputError, RecipeError
from lft.files import new_file

_LOSS: Final = {"F32": 0.0, "F16": 2.0**-9}


@dataclass(frozen=True, slots=True)
class GgufLora:
    """A written adapter: tensors pairs, rank of all of them, bytes."""

    file: Path
    architecture: str
    pairs: int
    rank: int
    size: int


def export_gguf_lora(
    base: Path, delta: Delta, file: Path, *, name: str, base_name: str, dtype: str = "F32"
) -> GgufLora:
    """Write an adapter as GGUF, read it back, and compare each product with the adapter's.

    Args:
        base: folder with the base's config.json.
        delta: what the adapter adds.
        file: a new file, ``*.gguf``.
        name: the adapter's name, for people.
        base_name: the base's hub id, for people.
        dtype: F32 or F16.

    Raises:
        InputError: a part that llama.cpp cannot put on a base (token rows, whole tensors, biases), or a wrong file.
        RecipeError: the file exists, or ``dtype`` is another one.
        MachineError: no room on the disk.
    """
    require_new(file)
    if dtype not in _LOSS:
        raise RecipeError(f"an adapter's GGUF is F32 or F16, not {dtype}", where=str(file))
    plan = architecture(base)
    _require_low_rank(delta, plan, file)
    rank = max(pair.rank for pair in delta.factors.values())
    with new_file(file) as draft:
        _write(draft, plan, delta, rank, name, base_name, dtype)
        _read_back(draft, plan, delta, rank, _LOSS[dtype])
    return GgufLora(file, plan.name, len(delta.factors), rank, file.stat().st_size)


def _require_low_rank(delta: Delta, plan: Architecture, file: Path) -> None:
    """llama.cpp takes low-rank pairs alone, and leaves what it does not know without a word."""
    rest = [*delta.rows, *delta.whole, *delta.added]
    tied = [name for name in delta.factors if plan.tied and is_head(name)]
    embeddings = [name for name in delta.factors if is_input(name)]
    if rest or tied or embeddings or not delta.factors:
        first = (rest or tied or embeddings or ["nothing"])[0]
        raise InputError(
            f"a GGUF adapter holds low-rank changes of linear layers alone, and this one changes {first}",
            where=str(file),
            fix="export the merged model instead: --to merged, or train with data.eoi: text where a token's row is it",
        )


def _write(file: Path, plan: Architecture, delta: Delta, rank: int, name: str, base_name: str, dtype: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(file, plan.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    writer.add_name(name)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_name)
    for weight, pair in sorted(delta.factors.items()):
        there = plan.tensor(weight, file)
        a, b = padded(pair, rank)
        for part, tensor in (("lora_a", a), ("lora_b", permuted(b, plan.heads_of(weight)))):
            writer.add_tensor(f"{there}.{part}", _numbers(tensor, dtype, f"{weight} {part}"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def padded(pair: Factors, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """a [rank x n] and b [m x rank] with zeros behind the pair's own rank."""
    more = rank - pair.rank
    return torch.nn.functional.pad(pair.a, (0, 0, 0, more)), torch.nn.functional.pad(pair.b, (0, more))


def _numbers(tensor: torch.Tensor, dtype: str, what: str) -> Any:
    found = tensor.contiguous() if dtype == "F32" else tensor.half()
    if not torch.isfinite(found).all():
        raise InputError(f"{what} holds numbers that are not finite in {dtype}", fix="write --dtype F32")
    return found.numpy()


def _read_back(file: Path, plan: Architecture, delta: Delta, rank: int, loss: float) -> None:
    import gguf

    reader = gguf.GGUFReader(file)
    tensors = {tensor.name: torch.tensor(tensor.data).float() for tensor in reader.tensors}
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    if len(tensors) != 2 * len(delta.factors):
        raise _wrong(file, f"it holds {len(tensors)} tensors, not {2 * len(delta.factors)}")
    for weight, pair in delta.factors.items():
        there = plan.tensor(weight, file)
        a, b = tensors[f"{there}.lora_a"], unpermuted(tensors[f"{there}.lora_b"], plan.heads_of(weight))
        if a.shape != (rank, pair.shape[1]) or b.shape != (pair.shape[0], rank):
            raise _wrong(file, f"the factors of {weight} have other shapes")
        # Equal factors have equal products; in 16 bit each number may be off by its own rounding.
        for found, wanted in zip((a, b), padded(pair, rank), strict=True):
            off = (found * (alpha / rank if found is b else 1) - wanted).abs()
            if bool((off > loss * wanted.abs() + (2.0**-24 if loss else 0)).any()):
                raise _wrong(file, f"the factors of {weight} are not the adapter's")


def _wrong(file: Path, what: str) -> InputError:
    return InputError(f"{what}: the export was read back and is wrong", where=str(file), fix="check the disk")
