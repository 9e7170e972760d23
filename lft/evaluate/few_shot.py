"""Adapters on their base with weights that can be turned, for a search by few-shot loss (``lft.adapters.search``).

The base is loaded once. A weight turns the scale of an adapter's layers, so what is measured is the very sum that
``cat`` merges; rows of tokens are their owners' mean by weight, as ``replaced=mean`` merges them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lft.adapters.adapter import Adapter, open_adapter
from lft.adapters.inputs import Inputs
from lft.adapters.stacking import Piece, Place, in_place, parts_of, write_stack
from lft.adapters.tensors import read_tensor
from lft.base.attach import Find, Lower, recorded_adapters
from lft.base.fingerprint import Fingerprint
from lft.base.resolve import BaseRef
from lft.base.rows import Rows, put_rows
from lft.data.pairs import Pair
from lft.data.tokens import Tokens
from lft.errors import InputError
from lft.evaluate.answer import Answerer, open_answerer
from lft.evaluate.loss import mean_loss
from lft.files import new_folder, seal


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """A model whose adapters' weights can be turned.

    ``layers`` are PEFT's tables of scales with the name and the scale at weight 1, for each adapter; ``rows`` are what
    each brings along of the embeddings.
    """

    answerer: Answerer
    layers: tuple[tuple[tuple[dict[str, float], str, float], ...], ...]
    rows: tuple[tuple[Lower, tuple[Rows, ...]], ...]

    @property
    def brings_rows(self) -> bool:
        """Whether an adapter replaces rows of tokens."""
        return any(rows for _, rows in self.rows)

    def turn(self, weights: Sequence[float]) -> None:
        """Give every adapter its weight.

        Raises:
            InputError: the weights of a row's owners sum to 0, so that no mean of theirs is a row.
        """
        for weight, layers in zip(weights, self.layers, strict=True):
            for scales, name, scale in layers:
                scales[name] = scale * weight
        owned = [
            (replace(lower, share=replace(lower.share, weight=weight)), rows)
            for weight, (lower, rows) in zip(weights, self.rows, strict=True)
        ]
        put_rows(self.answerer.adapted.model.get_base_model(), owned)

    def loss(self, weights: Sequence[float], examples: Sequence[Tokens | Pair]) -> float:
        """Mean loss with these weights; infinite where they make no model."""
        try:
            self.turn(weights)
        except InputError:
            return math.inf
        return mean_loss(self.answerer, examples)


@contextmanager
def weighed(
    inputs: Inputs, base: BaseRef | None, cache: Path, notify: Callable[[str], None], find: Find,
    files_of: str | None = None, base_of: str | None = None,
) -> Iterator[Weighed]:  # fmt: skip
    """Load adapters on their base, each with a weight of its own.

    Args:
        inputs: the adapters, from ``open_inputs``.
        base: the base that they were opened on; None takes the one that they were trained on.
        cache: where converted bases and fingerprints are kept.
        notify: told what takes long.
        find: the folder of an adapter by its identity, for one below that is not where it was.
        files_of: the adapter whose tokenizer and prompt format are taken where those differ.
        base_of: the adapter on whose base they stand, where the adapters' bases were rounded differently.

    Raises:
        InputError: two of them are one adapter, an adapter is no plain LoRA, they do not go together, or nothing says
            how they were asked.
    """
    with TemporaryDirectory(prefix="lft-search-") as home:
        folders = {
            one.ref: one.adapter.folder if base is None else _on(one.adapter, base, Path(home) / f"part{number}")
            for number, one in enumerate(inputs.parents)
        }
        place = Place(folders.__getitem__, find, Path(home) / "none", str)
        parts = in_place(parts_of([Piece(ref) for ref in folders], "stack", "mean", place))
        if len(parts) < len(folders):
            raise InputError("two of them are the same adapter, scales and all", fix="name each adapter once")
        with new_folder(Path(home) / "stack") as draft:
            binding = write_stack(parts, "stack", draft, files_of=files_of, base_of=base_of)
        answerer = open_answerer(Path(home) / "stack", cache, notify, find)
        lowers = recorded_adapters(binding, Fingerprint(binding.weights, binding.tokenizer), Path(home) / "stack", find)
        chosen = [_place_of(open_adapter(folder).digest, lowers) for folder in folders.values()]
        model = answerer.adapted.model
        layers = tuple(tuple(_layers(model, f"below{number}")) for number in chosen)
        yield Weighed(answerer, layers, tuple((lowers[number], _rows(lowers[number])) for number in chosen))


def _on(adapter: Adapter, base: BaseRef, folder: Path) -> Path:
    """A copy of an adapter's files that is bound to the base at hand."""
    folder.mkdir()
    for name, path in (adapter.files.used if adapter.files else {}).items():
        shutil.copyfile(path, folder / name)
    binding = adapter.binding
    assert binding is not None, "inputs that were opened on a base are bound to it"
    written = str(base.folder) if base.kind in ("folder", "gguf") else base.written
    replace(binding, base=written, revision=base.revision).save(folder)
    seal(folder)
    return folder


def _place_of(digest: str, lowers: Sequence[Lower]) -> int:
    return next(number for number, lower in enumerate(lowers) if lower.digest == digest)


def _layers(model: Any, name: str) -> Iterator[tuple[dict[str, float], str, float]]:
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer) and name in module.scaling:
            yield module.scaling, name, module.scaling[name]


def _rows(lower: Lower) -> tuple[Rows, ...]:
    return tuple(Rows(one.module, one.tokens, read_tensor(one.info)) for one in open_adapter(lower.folder).rows)
