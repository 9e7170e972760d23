"""The numbers of a tensor in a safetensors file, without a library that reads the whole file; finite or refused.

16-bit numbers become float32 exactly. bfloat16 is the upper half of a float32, so numpy, which has no such type, can
read it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lft.base.headers import BITS, TensorInfo
from lft.errors import InputError

if TYPE_CHECKING:
    import torch

CHUNK: Final = 4 * 1024 * 1024  # bytes read at a time
# Bits of the exponent: all of them set means an infinity or not a number.
_EXPONENT: Final[dict[str, tuple[str, int]]] = {
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}


def read_bytes(info: TensorInfo) -> bytes:
    """A tensor as it lies in its file. Raises InputError when the file was cut since its header was read."""
    return b"".join(pieces(info))


def pieces(info: TensorInfo) -> Iterator[bytes]:
    """A tensor's bytes, some at a time. Raises InputError when the file was cut since its header was read."""
    with info.file.open("rb") as file:
        file.seek(info.start)
        left = info.end - info.start
        while left:
            wanted = min(CHUNK, left)
            piece = file.read(wanted)
            if len(piece) != wanted:
                raise InputError(f"the file was cut while tensor {info.name!r} was read", where=str(info.file))
            yield piece
            left -= wanted


def read_array(info: TensorInfo) -> NDArray[np.float32]:
    """A tensor of 16- or 32-bit floats as float32, of the shape in its header.

    Raises:
        InputError: it is of another type, or the file was cut since.
    """
    return as_float32(read_bytes(info), info).reshape(info.shape)


def as_float32(data: bytes, info: TensorInfo) -> NDArray[np.float32]:
    """Little-endian floats of a tensor's type as float32, exactly; one dimension."""
    if info.dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if info.dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if info.dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    raise InputError(f"tensor {info.name!r} is {info.dtype}, not a 16- or 32-bit float", where=str(info.file))


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """A tensor of 16- or 32-bit floats as float32 on the CPU, contiguous, its memory its own.

    Raises:
        InputError: it is of another type, or the file was cut since.
    """
    import torch

    return torch.from_numpy(read_array(info))


def require_finite(tensors: Iterable[TensorInfo]) -> None:
    """Raise InputError at the first tensor that holds an infinity or something that is no number.

    Every byte of the floats is read once; memory is a few chunks.
    """
    for info in tensors:
        if info.dtype not in _EXPONENT:
            continue
        kind, mask = _EXPONENT[info.dtype]
        seen = 0
        for piece in pieces(info):
            odd = np.flatnonzero((np.frombuffer(piece, kind) & mask) == mask)
            if len(odd):
                raise InputError(
                    f"tensor {info.name!r} holds a number that is not finite (element {seen + int(odd[0]):,})",
                    where=str(info.file),
                    fix="the training that made it diverged; use an earlier checkpoint",
                )
            seen += len(piece) * 8 // BITS[info.dtype]
