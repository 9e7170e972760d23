"""A model's weights written anew with changes in them, a block of rows at a time.

base file ──mmap──▶ rows, float32 ──+ b·a──+ dense──▶ one rounding ──▶ sink: sha256, new file
                                                          └──▶ what rounding left of the change

Memory is a few blocks a worker, whatever the size of the model and of the stack. The sum is made in float32 and rounded
once (2.5 of the registry's research: four adapters merged one after another lose twice as much). The base is mapped,
so its bytes are the page cache's.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from lft.adapters.deltas import Factors
from lft.adapters.export.sink import AT_ONCE, Sink, require_on_disk
from lft.base.diff_files import Planned, new_header
from lft.base.headers import BITS, TensorInfo
from lft.errors import InputError
from lft.files import disk_errors

# Values of a block: small enough that its float32 copies stay in a processor's own cache (128 k is the fastest of
# 16 k to 256 k on the machine of the bench).
BLOCK: Final = 128 * 1024
DTYPES: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


Addition = Callable[[int, int], torch.Tensor]
"""Rows from, to -> what is added to them, [rows x columns] float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What becomes of one tensor of the base.

    ``rows`` it has afterwards (an embedding may grow). ``factors`` and ``dense`` (both made when their tensor is
    written, and let go) are added to the rows that were there before; ``whole`` takes the tensor's place;
    ``replaced`` takes the place of single rows, and ``filler`` that of grown rows which nothing replaces. ``seen``
    makes of the base's matrix the one that training saw (a quantized base, with its rounding); ``onto_seen``: that is
    what the change is added to, else it is only compared.
    """

    rows: int
    factors: Callable[[], Factors] | None = None
    dense: Callable[[], Addition] | None = None
    whole: torch.Tensor | None = None
    replaced: Mapping[int, torch.Tensor] = field(default_factory=dict)
    filler: torch.Tensor | None = None
    seen: Callable[[torch.Tensor], torch.Tensor] | None = None
    onto_seen: bool = True

    def base(self, stored: torch.Tensor) -> torch.Tensor:
        """The matrix that the change is added to."""
        return stored if self.seen is None or not self.onto_seen else self.seen(stored)

    @property
    def adds(self) -> bool:
        """Whether something is added to rows that were there before."""
        return self.factors is not None or self.dense is not None


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of a new file: under ``name``, made of the base's ``source``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: TensorInfo
    edit: Edit | None

    @property
    def planned(self) -> Planned:
        """Its line in the header."""
        return Planned(self.name, self.dtype, self.shape, math.prod(self.shape) * BITS[self.dtype] // 8)

    @property
    def copied(self) -> bool:
        """Whether its bytes are the base's."""
        return self.edit is None and self.source.dtype == self.dtype


@dataclass(frozen=True, slots=True)
class Retained:
    """What the file's precision left of a change: norms of the change and of the part of it that rounding lost.

    ``quantized`` is the norm of what quantizing the base had changed in it (0 where the base is taken as it is stored).
    """

    tensor: str
    change: float
    lost: float
    quantized: float = 0.0

    @property
    def share(self) -> float:
        """Lost over changed; above 0.5 the model has hardly been changed."""
        return self.lost / self.change if self.change else 0.0


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written, and read back."""

    name: str
    size: int
    sha256: str
    retained: tuple[Retained, ...]


def write_files(folder: Path, files: Mapping[str, Sequence[Output]], workers: int) -> list[Written]:
    """Write safetensors files, several at once, and read each back.

    Args:
        folder: an existing folder; nothing of these names is in it.
        files: the tensors of each file, in the order in which they are to lie.
        workers: files in work at one time; each keeps one processor and a few blocks busy.

    Raises:
        InputError: the base's file was cut, a result is not finite (the tensor is named), or a file does not hold what
            was written to it.
        MachineError: the disk is full.
    """
    workers = max(1, min(workers, len(files)))
    largest_first = sorted(files, key=lambda name: -sum(output.planned.size for output in files[name]))
    with (
        ThreadPoolExecutor(workers) as closing,  # while one file is flushed and read back, the next one is summed
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as summing,
    ):
        pending = {name: summing.submit(_write_file, folder / name, files[name], closing) for name in largest_first}
        try:
            written = [pending[name].result().result() for name in files]
        except BaseException:
            summing.shutdown(cancel_futures=True)
            raise
    _give_back_memory()
    return written


def _give_back_memory() -> None:
    """glibc keeps what a thread freed for that thread: up to 100 MB of full matrices after each file."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _write_file(path: Path, outputs: Sequence[Output], closing: ThreadPoolExecutor) -> Future[Written]:
    header = new_header([output.planned for output in outputs]).encode()
    with disk_errors(path), path.open("xb", buffering=0) as stream, Sink(stream) as sink:
        place = _Workplace()
        sink.write(len(header).to_bytes(8, "little") + header)
        retained = [found for output in outputs if (found := _write_tensor(sink, output, place)) is not None]
    _give_back_memory()
    return closing.submit(_closed, path, sink, tuple(retained))


def _closed(path: Path, sink: Sink, retained: tuple[Retained, ...]) -> Written:
    with disk_errors(path):
        require_on_disk(path, sink)
    return Written(path.name, sink.size, sink.sha256, retained)


def _write_tensor(sink: Sink, output: Output, place: _Workplace) -> Retained | None:
    if output.edit is not None and output.edit.whole is not None:
        whole = output.edit.whole.to(DTYPES[output.dtype])
        if not torch.isfinite(whole).all():
            raise _not_finite(output.name, output.dtype)
        sink.write(_bytes(whole))
        return None
    if not output.copied:
        return _write_rows(sink, output, base_matrix(output.source), place)
    data = mapped(output.source)
    for start in range(0, len(data), AT_ONCE):
        sink.write(data[start : start + AT_ONCE])
    return None


def _write_rows(sink: Sink, output: Output, base: torch.Tensor, place: _Workplace) -> Retained | None:
    """Block by block. base: [rows x columns] as the base stores it."""
    edit = output.edit or Edit(base.shape[0])
    seen = edit.seen(base) if edit.seen else None
    quantized = float((base.float() - seen).norm()) if seen is not None else 0.0
    base = seen if seen is not None and edit.onto_seen else base
    factors = edit.factors() if edit.factors is not None else None
    dense = edit.dense() if edit.dense is not None else None
    work = place.laid_out(base.shape[1], DTYPES[output.dtype])
    narrows = output.dtype != output.source.dtype
    change = lost = 0.0
    for start in range(0, base.shape[0], work.rows):
        end = min(start + work.rows, base.shape[0])
        block = work.summed(base[start:end], factors, dense, start)
        if edit.adds:
            change, lost = change + block.change, lost + block.lost
            if not math.isfinite(lost):
                raise _not_finite(output.name, output.dtype)
        elif narrows and not torch.isfinite(block.values).all():
            raise _not_finite(output.name, output.dtype)
        for row in range(start, end) if edit.replaced else ():
            if row in edit.replaced:
                block.values[row - start] = edit.replaced[row]
        sink.write(_bytes(block.values))
    if edit.rows > base.shape[0]:
        sink.write(_bytes(_grown(edit, base.shape[0]).to(DTYPES[output.dtype])))
    return Retained(output.name, math.sqrt(change), math.sqrt(lost), quantized) if edit.adds else None


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Rows ready to be written; the squared norms of what was added and of what rounding lost of it."""

    values: torch.Tensor
    change: float
    lost: float


class _Workplace:
    """The memory of one file's worker, for one tensor after the other."""

    def __init__(self) -> None:
        self._floats = torch.empty(2, BLOCK)
        self._bytes = torch.empty(AT_ONCE, dtype=torch.uint8)

    def laid_out(self, columns: int, dtype: torch.dtype) -> _Buffers:
        """The buffers of one tensor."""
        block = max(1, BLOCK // columns)
        rows = block * max(1, AT_ONCE // (block * columns * dtype.itemsize))
        if block * columns > self._floats.shape[1]:
            self._floats = torch.empty(2, block * columns)
        if (size := rows * columns * dtype.itemsize) > self._bytes.shape[0]:
            self._bytes = torch.empty(size, dtype=torch.uint8)
        total, change = self._floats[:, : block * columns].view(2, block, columns)
        return _Buffers(total, change, self._bytes[:size].view(dtype).view(rows, columns))


class _Buffers:
    """Sums are made in blocks that fit a cache, and gathered to be written at once.

    total, change: [block x columns] float32. rounded: [rows x columns].
    """

    def __init__(self, total: torch.Tensor, change: torch.Tensor, rounded: torch.Tensor) -> None:
        self._sum, self._change, self._rounded = total, change, rounded
        self.block, self.rows = total.shape[0], rounded.shape[0]

    def summed(self, base: torch.Tensor, factors: Factors | None, dense: Addition | None, start: int) -> _Block:
        """base + change, rounded once. base: the rows from ``start`` on, at most ``rows`` of them."""
        values = self._rounded[: base.shape[0]]
        if factors is None and dense is None:
            return _Block(values.copy_(base), 0.0, 0.0)
        change = lost = 0.0
        for at in range(0, base.shape[0], self.block):
            part = values[at : at + self.block]
            sizes = self._add(base[at : at + self.block], factors, dense, start + at, part)
            change, lost = change + sizes[0], lost + sizes[1]
        return _Block(values, change, lost)

    def _add(
        self, base: torch.Tensor, factors: Factors | None, dense: Addition | None, start: int, into: torch.Tensor
    ) -> tuple[float, float]:
        """One block's sum into ``into``; squared norms of the change, and of what rounding lost."""
        end = start + base.shape[0]
        total, change = self._sum[: base.shape[0]].copy_(base), self._change[: base.shape[0]]
        if factors is not None:
            torch.mm(factors.b[start:end], factors.a, out=change)
        if dense is not None:
            change.copy_(dense(start, end)) if factors is None else change.add_(dense(start, end))
        size = float(torch.dot(change.view(-1), change.view(-1)))
        into.copy_(total.add_(change))
        change.copy_(into).sub_(total)  # a number that overflowed is inf here, one that is no number stays none
        return size, float(torch.dot(change.view(-1), change.view(-1)))


def _grown(edit: Edit, before: int) -> torch.Tensor:
    assert edit.filler is not None, "an embedding grew and nothing says what its new rows are"
    return torch.stack([edit.replaced.get(row, edit.filler) for row in range(before, edit.rows)])


def _not_finite(name: str, dtype: str) -> InputError:
    fix = "write a wider format: --dtype float32" if dtype == "F16" else "look at the adapter: lft adapters verify"
    return InputError(f"the merged tensor {name} holds numbers that are not finite in {dtype}", where=name, fix=fix)


def base_matrix(tensor: TensorInfo) -> torch.Tensor:
    """A base's tensor [rows x columns], mapped, not read; a vector is one column."""
    rows, columns = (tensor.shape[0], math.prod(tensor.shape[1:])) if tensor.shape else (1, 1)
    return torch.frombuffer(mapped(tensor), dtype=DTYPES[tensor.dtype]).view(rows, columns)


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.contiguous().view(torch.uint8).numpy().data if tensor.numel() else b""


def mapped(tensor: TensorInfo) -> memoryview:
    """A tensor's bytes, mapped from its file for as long as anything made of the view lives.

    Raises:
        InputError: the file is shorter than its header says.
    """
    if tensor.end > tensor.file.stat().st_size:
        raise InputError(f"the file was cut while tensor {tensor.name!r} was read", where=str(tensor.file))
    if tensor.start == tensor.end:
        return memoryview(b"")
    first = tensor.start - tensor.start % mmap.ALLOCATIONGRANULARITY
    with tensor.file.open("rb") as file:
        # A private map: torch wants a buffer that it may write to, and nobody does.
        data = mmap.mmap(file.fileno(), tensor.end - first, access=mmap.ACCESS_COPY, offset=first)
    data.madvise(mmap.MADV_SEQUENTIAL)
    return memoryview(data)[tensor.start - first :]
