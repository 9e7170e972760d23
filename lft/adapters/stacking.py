"""Stacks as saved objects: adapters that are active at once, each with a weight, as one name.

stack   0.7*de + 0.3*recipes     the order means nothing: any order of the same parts is the same file, bit for bit
chain   de, then recipes         language below task: rows of tokens are the upper one's

On the disk a stack is a folder without tensors: ``lft.json`` names the parts by their identities (and by where they
are: in a registry beside it), and prompt format and tokenizer are those that all parts share.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from lft.adapters.adapter import Adapter, open_adapter, require_additive
from lft.adapters.deltas import Delta, token_texts
from lft.adapters.expression import parse_expression
from lft.adapters.merge_folder import carried_files, merged_binding, rounded_like
from lft.adapters.peft_folder import Named
from lft.adapters.sources import Source, require_same_base
from lft.adapters.weights import plus
from lft.base.attach import Find, recorded_folder
from lft.base.binding import Below, Binding, is_stack
from lft.base.rows import row_factor
from lft.base.shares import layer_ranges, written_layers
from lft.errors import InputError, RecipeError

Kind = Literal["stack", "chain"]
How = Literal["exact", "mean"]
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PIECE: Final = re.compile(
    rf"(?:(?P<before>{_NUMBER})\s*\*\s*)?(?P<ref>.+?)(?:\[(?P<layers>[^\[\]]*)\])?(?:\s*\*\s*(?P<after>{_NUMBER}))?"
)
_SUM: Final = re.compile(r"\S\s+[+-]\s+\S")  # a name may hold + and -, but not with blanks around them


@dataclass(frozen=True, slots=True)
class Piece:
    """What somebody wrote: an adapter or a stack, how much of it, and in which layers (empty for all)."""

    ref: str
    weight: float = 1.0
    layers: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is the whole adapter."""
        return self.weight == 1 and not self.layers


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """An adapter that is ready to stand in a stack; ``version`` is its manifest's digest, None outside a registry."""

    ref: str
    adapter: Adapter
    share: Below
    version: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where adapters are found: ``folder_of`` what was written, ``find`` by identity; ``checkouts`` are named by
    their manifests' digests, and ``label`` turns such a digest into a name for people."""

    folder_of: Callable[[str], Path]
    find: Find
    checkouts: Path
    label: Callable[[str], str]


def piece_of(written: str) -> Piece:
    """A piece from ``name``, ``0.5*name``, ``name*0.5`` or ``name[0-11]*0.5``; a folder that is there is a folder.

    Raises:
        RecipeError: a weight or layers cannot be read.
    """
    if written.strip() and Path(os.path.expanduser(written)).is_dir():
        return Piece(written)
    found = _PIECE.fullmatch(written.strip())
    if found is None or (found["before"] and found["after"]):
        raise RecipeError(f"{written[:80]!r} is no adapter", fix="write name, 0.5*name, or name*0.5")
    return _piece(found["ref"], float(found["before"] or found["after"] or 1), found["layers"])


def pieces_of(expression: str) -> tuple[Piece, ...]:
    """The pieces of a weighted sum, ``0.7*de + 0.3*recipes[0-11]``.

    Raises:
        RecipeError: it cannot be read; with the column.
    """
    terms = parse_expression(expression)
    split = [(re.fullmatch(r"(.+?)(?:\[([^\[\]]*)\])?", term.ref), term.weight) for term in terms]
    return tuple(_piece(found[1], weight, found[2]) for found, weight in split if found and isinstance(weight, float))


def together(words: Sequence[str]) -> tuple[Kind, tuple[Piece, ...]]:
    """Adapters that are to be active together without a name: whole ones as a chain, else what all words add up to.

    Args:
        words: each as ``piece_of`` takes it, or a weighted sum as ``pieces_of`` does.

    Raises:
        RecipeError: one of them cannot be read.
    """
    sums = [not Path(os.path.expanduser(one)).is_dir() and bool(_SUM.search(one)) for one in words]
    each = [pieces_of(one) if is_sum else (piece_of(one),) for one, is_sum in zip(words, sums, strict=True)]
    pieces = tuple(piece for some in each for piece in some)
    whole = not any(sums) and all(piece.plain for piece in pieces)
    return ("chain" if whole else "stack"), pieces


def _piece(ref: str, weight: float, layers: str | None) -> Piece:
    if not math.isfinite(weight):
        raise RecipeError(f"{weight} is no weight", where=ref)
    if layers == "":
        raise RecipeError("[] names no layers", where=ref, fix="write numbers and ranges: name[0-11,16]")
    return Piece(ref, weight, written_layers(layer_ranges(layers or "")))


def parts_of(pieces: Sequence[Piece], kind: Kind, rows: How, place: Place) -> tuple[Part, ...]:
    """The adapters of a stack, in its own order: of a weighted sum by their digests, of a chain lowest first.

    Stacks among the pieces become their parts; what lies below a part comes along when the stack is used.

    Args:
        pieces: what was written.
        kind: a weighted sum or a chain.
        rows: how the rows of tokens of a weighted sum become one.
        place: where adapters are found.

    Raises:
        InputError: there is no such adapter, the parts do not belong together, or one of them cannot be active beside
            others.
        RecipeError: a part stands twice in other layers.
    """
    found = [_opened(piece, kind, rows, place) for piece in pieces]
    parts = _summed(part for one in found for part in one) if kind == "stack" else _chained(found)
    for part in parts:
        _require_plain(part)
    _require_one_base(parts, kind, place.find)
    _require_rows(parts)
    return parts


def _opened(piece: Piece, kind: Kind, rows: How, place: Place) -> list[Part]:
    folder = place.folder_of(piece.ref)
    if is_stack(folder):
        return _of_stack(piece, folder, kind, rows, place)
    adapter = open_adapter(folder)
    share = Below("", adapter.digest, piece.weight, piece.layers, int(kind == "stack"), rows)
    return [_part(piece.ref, adapter, share, place)]


def _of_stack(piece: Piece, folder: Path, kind: Kind, rows: How, place: Place) -> list[Part]:
    """The parts of a stack inside another."""
    binding = Binding.load(folder)
    if piece.layers:
        raise RecipeError("a stack has layers for each of its parts", where=piece.ref, fix="make another stack")
    made = []
    for below in binding.below:
        adapter = open_adapter(recorded_folder(below, folder, place.find))
        share = replace(below, weights=adapter.digest, weight=times(piece.weight, below.weight))
        if kind == "stack":
            if binding.stack == "chain" and adapter.rows:
                raise InputError(
                    "it is a chain whose parts bring rows of tokens, so that their order means something",
                    where=piece.ref,
                    fix="name its adapters in the sum, or make a chain of this one and the others: --chain",
                )
            share = replace(share, sum=1, rows=rows)
        made.append(_part(piece.ref, adapter, share, place))
    return made


def _part(ref: str, adapter: Adapter, share: Below, place: Place) -> Part:
    folder = adapter.folder.resolve()
    known = folder.parent == place.checkouts.resolve()
    path = f"../{folder.name}" if known else str(folder)
    name = place.label(folder.name) if known else ref
    return Part(name, adapter, replace(share, path=path), folder.name if known else None)


def times(one: float, other: float) -> float:
    """A product as it is written: 0.1 times 3 makes 0.3."""
    return float(Decimal(repr(float(one))) * Decimal(repr(float(other))))


def _summed(found: Iterable[Part]) -> tuple[Part, ...]:
    """In an order of their own, the same adapter once, without those of weight 0."""
    by_identity: dict[str, Part] = {}
    for part in found:
        known = by_identity.setdefault(part.share.weights, part)
        if known is not part:
            if known.share.layers != part.share.layers:
                raise _twice(part)
            weight = plus(float(known.share.weight), float(part.share.weight))
            by_identity[part.share.weights] = replace(known, share=replace(known.share, weight=weight))
    parts = tuple(part for _, part in sorted(by_identity.items()) if part.share.weight != 0)
    if not parts:
        raise RecipeError("nothing is left of this sum", fix="give at least one adapter a weight other than 0")
    return parts


def _chained(found: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    """As they come; each weighted sum in it has a number of its own."""
    numbers: dict[tuple[int, int], int] = {}
    made: list[Part] = []
    for place, part in ((place, part) for place, parts in enumerate(found) for part in parts):
        if part.share.weights in {one.share.weights for one in made}:
            raise _twice(part)
        number = numbers.setdefault((place, part.share.sum), len(numbers) + 1) if part.share.sum else 0
        made.append(replace(part, share=replace(part.share, sum=number)))
    return tuple(made)


def _twice(part: Part) -> RecipeError:
    return RecipeError(f"{part.ref} stands in the stack twice", fix="name it once, with one weight and its layers")


def _require_plain(part: Part) -> None:
    """Raise InputError unless PEFT can hold an adapter active beside others, scaled by a weight."""
    adapter = part.adapter
    require_additive(adapter)
    low = adapter.low_rank
    odd = {
        "a DoRA": any(one.magnitude is not None for one in low),
        "a LoRA with biases": any(one.bias is not None for one in low),
        f"it replaces {adapter.whole[0].tensor if adapter.whole else ''}": bool(adapter.whole),
    }
    if why := next((name for name, is_so in odd.items() if is_so), None):
        raise InputError(
            f"{why}: only plain LoRAs are active together", where=part.ref, fix="merge them: lft adapters merge"
        )


def _require_one_base(parts: Sequence[Part], kind: Kind, find: Find) -> None:
    """A chain brings what lies below its parts; parts of a sum must lie on the same, or it is not said what is."""
    sources = [_source(part.ref, part.adapter) for part in parts]
    for part in parts if kind == "chain" else ():
        for below in part.adapter.binding.below if part.adapter.binding else ():
            if not any(below.weights in (one.digest, one.weights) for one in sources):
                lower = open_adapter(recorded_folder(below, part.adapter.folder, find))
                sources.append(_source(f"what lies below {part.ref}", lower))
    if not require_same_base(sources):
        raise InputError(
            f"nothing says what base {parts[0].ref} belongs to: another program made it",
            fix="stacks take adapters that lft trained or merged; use this one by itself, with its base",
        )


def _source(ref: str, adapter: Adapter) -> Source:
    known = adapter.identity
    return Source(ref, known.digest, Delta({}), adapter.binding, weights=known.weights)


@dataclass(frozen=True, slots=True, eq=False)
class _Owned:
    """A row of a token that some parts replace, one of them alone or all in one sum."""

    text: str
    parts: tuple[Part, ...]

    @property
    def weights(self) -> list[float]:
        """Of those that have it."""
        return [float(part.share.weight) for part in self.parts]


def _rows(parts: Sequence[Part]) -> list[_Owned]:
    """Rows by who replaces them. Raises InputError where a number means two tokens."""
    owners: dict[tuple[int, str, int], list[Part]] = {}
    texts: dict[int, tuple[str, Part]] = {}
    for place, part in enumerate(parts):
        for rows in part.adapter.rows:
            named = token_texts(part.adapter.folder, rows.tokens) or map(str, rows.tokens)
            for token, text in zip(rows.tokens, named, strict=True):
                known, other = texts.setdefault(token, (text, part))
                if known != text:
                    raise InputError(f"token {token} is {known} in {other.ref} and {text} in {part.ref}")
                owners.setdefault((part.share.sum or -place, rows.module, token), []).append(part)
    return [_Owned(texts[token][0], tuple(having)) for (_, _, token), having in owners.items()]


def _require_rows(parts: Sequence[Part]) -> None:
    """Raise InputError where a row of a token would be replaced by halves."""
    for row in _rows(parts):
        share = row.parts[0].share
        if row_factor(row.weights, share.rows if share.sum else "exact") is None:
            refs = " and ".join(part.ref for part in row.parts)
            raise InputError(
                f"the row of the token {row.text} is replaced by {refs}, and their weights sum to "
                f"{sum(row.weights):g}, not 1",
                fix="let the weights of those that have it sum to 1, or let it be their mean: "
                "lft adapters stack ... --rows mean",
            )


def averaged(parts: Sequence[Part]) -> tuple[str, ...]:
    """Tokens whose rows are the mean of their owners' because the weights do not sum to 1."""
    odd = [row.text for row in _rows(parts) if row_factor(row.weights, "exact") is None]
    return tuple(dict.fromkeys(odd))


def _require_tokens(parts: Sequence[Part], folder: Path, files_of: str | None) -> None:
    """Raise InputError where the tokenizer that was taken lacks a token whose row a part brings."""
    for part in parts:
        for rows in part.adapter.rows:
            wanted = token_texts(part.adapter.folder, rows.tokens)
            for text in wanted or ():
                if text not in (token_texts(folder, rows.tokens) or ()):
                    raise InputError(
                        f"the tokenizer of {files_of or 'all parts'} has not the token {text} of {part.ref}",
                        fix=f"take that adapter's: --files-of {part.ref} (of lft adapters merge, stack and export)",
                    )


def in_place(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Parts that are named by where they are, for a stack that lies outside the registry and is not kept."""
    return tuple(replace(part, share=replace(part.share, path=str(part.adapter.folder.resolve()))) for part in parts)


def write_stack(
    parts: Sequence[Part],
    kind: Kind,
    folder: Path,
    name: str = "",
    *,
    files_of: str | None = None,
    base_of: str | None = None,
) -> Binding:
    """Write a stack's files into an empty folder: its binding, and what its parts share.

    Args:
        parts: from ``parts_of``.
        kind: a weighted sum or a chain.
        folder: a draft.
        name: what it is called.
        files_of: the part whose tokenizer and prompt format are taken where those of the parts differ.
        base_of: the part on whose base they stand, where the parts' bases were rounded differently.

    Raises:
        InputError: they differ, and nobody said whose are taken.
    """
    named = [Named(part.ref, part.adapter) for part in parts]
    like = rounded_like(named, base_of)
    for file, path in carried_files(named, files_of).items():
        shutil.copyfile(path, folder / file)
    _require_tokens(parts, folder, files_of)
    bound = merged_binding(named, kind, name, like)
    assert bound is not None  # parts_of wants all of them bound
    binding = replace(bound, recipe=kind, below=tuple(part.share for part in parts), stack=kind)
    binding.save(folder)
    return binding
