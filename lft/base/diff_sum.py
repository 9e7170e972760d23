"""Float differences as others release them (LongForm-LLaMA-7B-diff, Alpaca): the model is base + difference, rounded.

Such a release is a model folder whose weights are ``tuned - base``. It does not say which base it is against, and the
sum is the tuned model only up to rounding: float subtraction loses bits that addition cannot bring back. The sum is
taken in float32 and stored in the difference's format, which is what the releases' own instructions compute.

Rows that the base does not have (an added token) are taken as the difference has them. Their makers added them to
freshly initialised rows, which nobody else has; zero is the middle of what those were drawn from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lft.base.diff_bits import FLOATS, Words, added, converted, equal, paired, pieces
from lft.base.diff_files import (
    Planned,
    copy_beside,
    has_tokenizer,
    index_text,
    new_header,
    shards_of,
    write_shard,
)
from lft.base.files import Notify, need_room, read_json
from lft.base.fingerprint import weights_fingerprint
from lft.base.headers import INDEX, SINGLE, TensorInfo, read_headers
from lft.base.resolve import BaseRef, check_folder
from lft.errors import InputError
from lft.files import new_folder, write_text

_SLACK = 64 * 1024 * 1024
# Computed, never trained: the releases' instructions add parameters only, so that these hold the values themselves.
_BUFFER: Final = re.compile(r"(^|\.)(inv_freq|masked_bias)$")


@dataclass(frozen=True, slots=True)
class SumCounts:
    """Tensors that were added, those with rows the base lacks, those of either side that are not in the result."""

    changed: int
    grown: tuple[str, ...]
    left_out: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class _Terms:
    """The tensors of the result, in the difference's order and format, and where their values come from."""

    parts: tuple[TensorInfo, ...]
    base: Mapping[str, TensorInfo]
    left_out: tuple[str, ...]


def check_sum(difference: Sequence[TensorInfo], base: Sequence[TensorInfo] | None, where: Path) -> None:
    """Raise InputError unless tensors can be a float difference, and one against ``base`` when it is given."""
    _require_floats(difference, where)
    if base is not None:
        _terms(difference, base, where)


def apply_sum(base: BaseRef, diff: Path, out: Path, notify: Notify, expect: str | None, token: str | None) -> SumCounts:
    """Write base + difference to the new folder ``out``; see ``diff.apply_diff``."""
    check_folder(diff, str(diff))
    terms = _terms(read_headers(diff), read_headers(base.folder), diff)
    notify("a float difference: it does not record its base, and the sum is the tuned model up to rounding")
    need_room(out, sum(t.end - t.start for t in terms.parts) + _SLACK, "the model")
    with new_folder(out) as draft:
        _write_sums(draft, terms, notify)
        _copy_texts(draft, base, diff, notify)
        _name_rows(draft, terms, token, notify)
        result = weights_fingerprint(draft, None)
        if expect not in (None, result):
            raise InputError(
                f"the sum has weights {result[:16]}..., not {expect}",
                where=base.written,
                fix="use the base that the difference was made from, in the dtype it was made with",
            )
    changed = sum(not _is_copied(part) for part in terms.parts)
    return SumCounts(changed, _grown(terms), terms.left_out, result)


def _is_copied(tensor: TensorInfo) -> bool:
    return tensor.dtype not in FLOATS or _BUFFER.search(tensor.name) is not None


def _grown(terms: _Terms) -> tuple[str, ...]:
    return tuple(sorted(part.name for part in terms.parts if part.shape != terms.base[part.name].shape))


def _terms(difference: Sequence[TensorInfo], base: Sequence[TensorInfo], where: Path) -> _Terms:
    """Match the two by name; InputError for a tensor without its counterpart, or of another shape."""
    _require_floats(difference, where)
    known = {tensor.name: tensor for tensor in base}
    parts = tuple(tensor for tensor in difference if tensor.name in known or not _is_copied(tensor))
    for part in parts:
        if part.name not in known:
            raise InputError(
                f"the difference has tensor {part.name!r}, the base has not",
                where=str(where),
                fix="give the base that the difference was made from",
            )
        _require_sum(part, known[part.name], where)
    there = {tensor.name for tensor in difference}
    absent = [tensor for tensor in base if tensor.name not in there and not _is_copied(tensor)]
    lost = next((tensor for tensor in absent if not _is_second_copy(tensor, base)), None)
    if lost is not None:
        raise InputError(
            f"the base has tensor {lost.name!r}, the difference has not",
            where=str(where),
            fix="give the base that the difference was made from",
        )
    left_out = {t.name for t in difference} ^ set(known)
    return _Terms(parts, known, tuple(sorted(left_out)))


def _require_floats(difference: Sequence[TensorInfo], where: Path) -> None:
    odd = next((t for t in difference if t.dtype not in FLOATS and t.dtype not in ("BOOL", "U8", "I64")), None)
    if odd is not None:
        raise InputError(f"tensor {odd.name!r} is {odd.dtype}; sums are made in F16, BF16 or F32", where=str(where))


def _require_sum(part: TensorInfo, base: TensorInfo, where: Path) -> None:
    grown = len(part.shape) == len(base.shape) > 0 and part.shape[0] > base.shape[0]
    if part.shape != base.shape and not (grown and part.shape[1:] == base.shape[1:]):
        raise InputError(
            f"tensor {part.name!r} has shape {part.shape}, the base's has {base.shape}",
            where=str(where),
            fix="give the base that the difference was made from",
        )
    if part.dtype != base.dtype and not {part.dtype, base.dtype} <= set(FLOATS):
        raise InputError(f"tensor {part.name!r} is {part.dtype}, the base's is {base.dtype}", where=str(where))


def _is_second_copy(tensor: TensorInfo, base: Sequence[TensorInfo]) -> bool:
    """Whether the base stores the same values under another name: a tied output head that was saved twice."""
    return any(other is not tensor and equal(tensor, replace(other, name=tensor.name)) for other in base)


def _write_sums(draft: Path, terms: _Terms, notify: Notify) -> None:
    by_file = shards_of(terms.parts)
    single = len(by_file) == 1
    planned: dict[str, list[Planned]] = {}
    for number, (file, tensors) in enumerate(by_file.items(), start=1):
        name = SINGLE if single else file.name
        notify(f"shard {number} of {len(by_file)}: {name}")
        planned[name] = [Planned(t.name, t.dtype, t.shape, t.end - t.start) for t in tensors]
        header = new_header(planned[name])
        sources = {t.name: t for t in tensors}

        def content(target: TensorInfo, sources: dict[str, TensorInfo] = sources) -> Iterator[Words]:
            return _sum(sources[target.name], terms.base[target.name])

        size = 8 + len(header.encode()) + sum(p.size for p in planned[name])
        write_shard(draft / name, header, size, content)
    if not single:
        write_text(draft / INDEX, index_text(planned))


def _sum(part: TensorInfo, base: TensorInfo) -> Iterator[Words]:
    if _is_copied(part):
        for words in pieces(base):
            yield converted(words, base.dtype, part.dtype)
        return
    for upper, lower in paired(part, base):
        yield added(upper, part.dtype, lower, base.dtype)


def _copy_texts(draft: Path, base: BaseRef, diff: Path, notify: Notify) -> None:
    """Configuration of the difference; its tokenizer, or the base's when the release has none."""
    if not has_tokenizer(copy_beside(diff, draft)) and has_tokenizer(
        copy_beside(base.folder, draft, tokenizer_only=True)
    ):
        notify("the release has no tokenizer; the base's is taken")


def _name_rows(draft: Path, terms: _Terms, token: str | None, notify: Notify) -> None:
    """Give an added row its token in the tokenizer; say so when there are rows without one."""
    rows = max((part.shape[0] for part in terms.parts if part.name in _grown(terms)), default=None)
    if token is None:
        if rows is not None and _vocabulary(draft) < rows:
            notify(
                f"the weights have {rows} rows, more than the tokenizer has tokens: name the new one with --add-token"
            )
        return
    if rows is None:
        raise InputError(f"the difference adds no row for {token!r}", fix="leave --add-token out")
    from lft.base.load import load_tokenizer
    from lft.base.tokens import extend_tokenizer

    tokenizer = load_tokenizer(BaseRef(str(draft), "folder", draft, None, False))
    (number,) = extend_tokenizer(tokenizer, [token])
    if number >= rows:
        raise InputError(
            f"{token!r} would be token {number}, and the weights have {rows} rows",
            where=str(draft),
            fix="check the base's tokenizer",
        )
    tokenizer.save_pretrained(draft)


def _vocabulary(folder: Path) -> int:
    """How many tokens the folder's tokenizer.json has; huge when there is none to look at."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return 2**63
    content = read_json(path)
    vocabulary = content.get("model", {}).get("vocab", ())
    ids = {token["id"] for token in content.get("added_tokens", ())}
    return max(len(vocabulary), *(int(number) + 1 for number in ids), 0)
