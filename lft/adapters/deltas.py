"""An adapter as what it adds to its base.

Letters: m rows and n columns of a base's weight, r rank, V tokens, d width of an embedding.

    file: A [r x n], B [m x r], scale s          here: b = s B [m x r], a = A [r x n]       dW = b a
    embedding: A [r x V], B [d x r]              here: b = s A^T [V x r], a = B^T [r x d]   dW = b a
    Conv1D (the base stores n x m)               here: b = s A^T [n x r], a = B^T [r x m]   dW = b a
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from lft.adapters.tensors import read_tensor, require_finite
from lft.base.files import read_json
from lft.errors import InputError

if TYPE_CHECKING:
    from lft.adapters.adapter import Adapter, LowRank
    from lft.base.headers import TensorInfo

Base = Callable[[str], torch.Tensor | None]
"""A base's tensor by name, None where it has no such tensor."""

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """dW = b @ a of one weight in the orientation of the base's stored weight, the scale inside b.

    float32 CPU tensors, both contiguous: b [m x r], a [r x n].
    """

    b: torch.Tensor
    a: torch.Tensor

    def __post_init__(self) -> None:
        if self.b.ndim != 2 or self.a.ndim != 2 or self.b.shape[1] != self.a.shape[0]:
            raise ValueError(f"b {tuple(self.b.shape)} and a {tuple(self.a.shape)} are no factors of one matrix")

    @property
    def rank(self) -> int:
        """Columns of b; the rank of dW is at most this."""
        return int(self.b.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """m, n."""
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class OnDemand(Mapping[str, Factors]):
    """Factors that are read each time they are asked for and not kept: memory is that of one tensor's."""

    makers: Mapping[str, Callable[[], Factors]]

    def __getitem__(self, name: str) -> Factors:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Whole rows that replace those of an embedding; ids by number and by text (None where the tokenizer is not at
    hand). ``values`` is [k x d] float32."""

    tokens: tuple[int, ...]
    texts: tuple[str, ...] | None
    values: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """An adapter as what it adds to its base, each part by the name of the base's tensor.

    ``factors``: low-rank changes. ``added``: dense additions (biases; what a DoRA adds, [m x n]). ``whole``: tensors
    that replace the base's. ``rows``: rows that replace an embedding's.
    """

    factors: Mapping[str, Factors]
    added: Mapping[str, torch.Tensor] = field(default_factory=lambda: _NONE)
    whole: Mapping[str, torch.Tensor] = field(default_factory=lambda: _NONE)
    rows: Mapping[str, Rows] = field(default_factory=lambda: _NONE)

    def names(self) -> tuple[str, ...]:
        """Every tensor that is added to (not replaced), sorted."""
        return tuple(sorted({*self.factors, *self.added}))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of what is added to a tensor."""
        return self.factors[name].shape if name in self.factors else tuple(self.added[name].shape)


def content_digest(delta: Delta) -> str:
    """Hex sha256 of a delta's parts in the order of their names; how they lay in files does not count."""
    digest = hashlib.sha256()
    for kind, name, tensor in _parts(delta):
        digest.update(f"{kind}|{name}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.to(torch.float32).contiguous().numpy().data)
    for name, rows in sorted(delta.rows.items()):
        digest.update(f"tokens|{name}|{rows.tokens}|{rows.texts}|".encode())
    return digest.hexdigest()


def _parts(delta: Delta) -> list[tuple[str, str, torch.Tensor]]:
    low = [(kind, name, getattr(pair, kind)) for name, pair in delta.factors.items() for kind in ("a", "b")]
    dense = [
        *(("added", name, tensor) for name, tensor in delta.added.items()),
        *(("whole", name, tensor) for name, tensor in delta.whole.items()),
        *(("rows", name, rows.values) for name, rows in delta.rows.items()),
    ]
    return sorted([*low, *dense], key=lambda part: part[:2])


def read_delta(adapter: Adapter, base: Base | None = None) -> Delta:
    """What an opened adapter adds to its base; its factors are read when they are asked for.

    Args:
        adapter: from ``open_adapter``.
        base: the base's tensors; needed for a DoRA only, whose change is of full rank and depends on them (it then
            lies in ``added``, not in ``factors``).

    Raises:
        InputError: a DoRA without its base, a shape that is no matrix, or a tensor that is not finite.
    """
    doras = [low.module for low in adapter.low_rank if low.magnitude is not None]
    if doras and base is None:
        raise InputError(
            f"it is a DoRA ({len(doras)} modules, first {doras[0]}): what it adds depends on the base's weights",
            where=str(adapter.folder),
            fix="hand in the base model (`--base BASE`): its change is then taken as a full matrix",
        )
    require_finite(adapter.tensors)
    factors: dict[str, Callable[[], Factors]] = {}
    added = {}
    for low in adapter.low_rank:
        weight = f"{low.module}.weight"
        if low.magnitude is not None and base is not None:
            added[weight] = _dora(low, read_tensor(low.magnitude), base, adapter.folder)
        else:
            factors[weight] = partial(_factors, low)
        if low.bias is not None:
            added[f"{low.module}.bias"] = _scaled(read_tensor(low.bias), low.scale)
    whole = {part.tensor: read_tensor(part.info) for part in adapter.whole}
    rows = {f"{part.module}.weight": _rows(adapter.folder, part.tokens, part.info) for part in adapter.rows}
    return Delta(OnDemand(factors), added, whole, rows)


def _factors(low: LowRank) -> Factors:
    a, b = read_tensor(low.a), read_tensor(low.b)
    if a.ndim != 2 or b.ndim != 2:
        raise InputError(
            f"{low.module} is no matrix ({list(b.shape)}, {list(a.shape)}): only linear layers and embeddings merge",
            where=str(low.a.file),
        )
    if low.embedding or low.transposed:
        a, b = b.T, a.T
    return Factors(_scaled(b, low.scale).contiguous(), a.contiguous())


def _scaled(tensor: torch.Tensor, scale: float) -> torch.Tensor:
    """Rounded once: the scale of a LoRA need not be a float32."""
    return tensor if scale == 1 else (tensor.double() * scale).float()


def _dora(low: LowRank, magnitude: torch.Tensor, base: Base, folder: Path) -> torch.Tensor:
    """W' - W with W' = magnitude * (W + D) / norms of the rows of W + D (https://arxiv.org/abs/2402.09353)."""
    weight = base(f"{low.module}.weight")
    if weight is None or low.embedding:
        kind = "the base has no such weight" if weight is None else "an embedding under DoRA is not supported"
        raise InputError(f"{low.module}: {kind}", where=str(folder))
    weight = weight.double()
    change = _factors(low)
    tuned = weight + change.b.double() @ change.a.double()
    norms = tuned.norm(dim=0 if low.transposed else 1)
    ratio = magnitude.double().flatten() / norms
    return (tuned * (ratio if low.transposed else ratio[:, None]) - weight).float()


def _rows(folder: Path, tokens: tuple[int, ...], info: TensorInfo) -> Rows:
    return Rows(tokens, token_texts(folder, tokens), read_tensor(info))


def token_texts(folder: Path, tokens: tuple[int, ...]) -> tuple[str, ...] | None:
    """The texts of token ids by the tokenizer.json that lies in a folder; None where it does not say them all."""
    file = folder / "tokenizer.json"
    content = read_json(file) if file.is_file() else None
    if not isinstance(content, dict):
        return None
    known = {token.get("id"): token.get("content") for token in content.get("added_tokens") or []}
    missing = set(tokens) - set(known)
    vocabulary = (content.get("model") or {}).get("vocab") if missing else None
    if isinstance(vocabulary, dict):
        known |= {number: text for text, number in vocabulary.items() if number in missing}
    elif isinstance(vocabulary, list):  # Unigram: [text, score] in the order of ids
        known |= {number: vocabulary[number][0] for number in missing if number < len(vocabulary)}
    texts = [known.get(number) for number in tokens]
    return tuple(str(text) for text in texts) if None not in texts else None
