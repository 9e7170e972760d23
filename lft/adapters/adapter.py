"""An adapter's folder, read strictly and without torch: every tensor is understood, or the adapter is refused.

adapter_config.json ──▶ Configuration ──┐
adapter_model.safetensors (header) ─────┼──▶ Adapter: low-rank pairs with their scale, whole tensors, token rows
lft.json (where lft made it) ───────────┘
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lft.adapters.configuration import CONFIG_FILE, Configuration, read_configuration
from lft.adapters.folder import Files, require_unchanged, scan
from lft.adapters.names import LIMITS, OTHER_LIMITS, Kind, Named, Parts, parts_of, same_bytes, unexplained
from lft.adapters.patterns import NAME
from lft.base.attach import WEIGHTS
from lft.base.binding import BINDING_FILE, BY_IDENTITY, Below, Binding
from lft.base.embeddings import is_head, is_input
from lft.base.files import read_json
from lft.base.headers import TensorInfo, read_header
from lft.base.identity import Identity, identity
from lft.errors import InputError
from lft.recipe.problems import listed

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PAIR: Final[tuple[Kind, ...]] = ("a", "b", "magnitude", "bias")
# What PEFT also saves as an embedding or head, in models that are not those of `lft.base.embeddings`.
_ALSO_SAVED: Final = ("output", "embeddings", "embedding", "score")


@dataclass(frozen=True, slots=True)
class LowRank:
    """One module's factors in the file: D = scale · B · A (transposed for fan_in_fan_out; (B A)ᵀ for embeddings).

    ``a`` is [r x n] and ``b`` [m x r]; an embedding of V tokens and width d has [r x V] and [d x r]. ``transposed``:
    the base stores its weight as n x m (Conv1D), so far as the configuration knows. ``magnitude`` is DoRA's, ``bias``
    lora_bias' bias of B.
    """

    module: str
    a: TensorInfo
    b: TensorInfo
    r: int
    scale: float
    embedding: bool = False
    transposed: bool = False
    magnitude: TensorInfo | None = None
    bias: TensorInfo | None = None

    @property
    def delta_shape(self) -> tuple[int, int]:
        """Shape of what is added to the base's stored weight."""
        rows, columns = self.b.shape[0], self.a.shape[1]
        return (columns, rows) if self.embedding or self.transposed else (rows, columns)


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor that replaces the base's (modules_to_save, trained biases, saved embeddings).

    ``wrapped`` is what of PEFT's lies around the base's module in the file's name for it.
    """

    tensor: str
    info: TensorInfo
    wrapped: str = ""


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Rows of an embedding that replace the base's rows (trainable_token_indices); ``info`` is [len(tokens) x d]."""

    module: str
    tokens: tuple[int, ...]
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose files were checked; its numbers are still on the disk.

    ``low_rank`` is sorted by module, ``tensors`` are all of the file in the order of their bytes. Of a method that is
    no plain sum (``opaque``) only ``tensors`` is filled. ``copies`` say again what another tensor or the base says.
    """

    folder: Path
    configuration: Configuration
    binding: Binding | None
    low_rank: tuple[LowRank, ...]
    whole: tuple[Whole, ...]
    rows: tuple[TokenRows, ...]
    tensors: tuple[TensorInfo, ...] = ()
    files: Files | None = None
    copies: tuple[TensorInfo, ...] = ()

    @property
    def identity(self) -> Identity:
        """What it is by content: its tensors, and what its configuration makes of them; read from the disk anew."""
        return identity(self.folder)

    @property
    def digest(self) -> str:
        """Hex sha256 of its identity."""
        return self.identity.digest

    @property
    def opaque(self) -> str | None:
        """Why its tensors are not read as sums of low rank; None where they are."""
        return _opaque(self.configuration)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Files of the folder that are not part of the adapter."""
        return self.files.ignored if self.files else ()


def open_adapter(folder: Path) -> Adapter:
    """Read and check an adapter's folder: names, configuration, header, and what each tensor is.

    Args:
        folder: a PEFT folder, made by lft or by anybody else; a snapshot in the hub library's cache.

    Raises:
        InputError: something is missing, damaged, refused, or not explained by the configuration.
    """
    files = scan(folder)
    require_unchanged(files)
    configuration = read_configuration(folder / CONFIG_FILE)
    binding = _binding(files)
    _require_untouched_base(configuration, folder)
    limits = LIMITS if configuration.is_lora else OTHER_LIMITS
    tensors = tuple(read_header(folder / WEIGHTS, limits))
    if not tensors:
        raise InputError("the weights' file is empty", where=str(folder / WEIGHTS), fix="fetch the adapter again")
    if _opaque(configuration):
        return Adapter(folder, configuration, binding, (), (), (), tensors, files)
    parts = parts_of(tensors)
    _require_short_names(parts, configuration, folder)
    low_rank = _low_rank(parts, configuration)
    rows, again = _rows(parts, configuration)
    whole = _whole(parts, configuration, frozenset(one.module for one in low_rank))
    return Adapter(folder, configuration, binding, low_rank, whole, rows, tensors, files, (*parts.copies, *again))


def require_additive(adapter: Adapter) -> None:
    """Raise InputError unless an adapter's tensors are read as low-rank sums, whole tensors and rows."""
    if why := adapter.opaque:
        raise InputError(
            f"{why}: what it does to the base is no sum that can be scaled, merged or exported",
            where=str(adapter.folder),
            fix="use it alone on its base, or train a LoRA",
        )


def _opaque(configuration: Configuration) -> str | None:
    if configuration.method not in ("lora", "trainable_tokens"):
        return f"its method is {configuration.method}"
    if configuration.also:
        return f"it is a LoRA with {', '.join(configuration.also)}"
    return None


def _require_untouched_base(configuration: Configuration, folder: Path) -> None:
    if not configuration.changes_base:
        return
    start = configuration.start
    if start == "loftq":
        what = "it was trained on what LoftQ's quantization left of the base, which is not the base"
        fix = "merge it with PEFT into that base, or train it with lft (method.kind: loftq)"
    else:
        what = f"its start ({start}) was taken out of the base's weights, so it is not right on the base as it is"
        fix = (
            "save it as a plain LoRA where it was trained, from the adapter as it was before the first step: "
            "model.save_pretrained(NEW, path_initial_model_for_weight_conversion=INITIAL)"
        )
    raise InputError(what, where=str(folder / CONFIG_FILE), fix=fix)


def _binding(files: Files) -> Binding | None:
    """``lft.json``, with the types that the rest relies on."""
    if BINDING_FILE not in files.used:
        return None
    found = Binding.load(files.folder)
    texts = (found.base, found.recipe, found.lft, found.name, found.weights, found.tokenizer)
    digests = (found.weights, found.tokenizer, *(below.weights for below in found.below))
    sound = (
        all(isinstance(text, str) for text in (*texts, *digests, *(below.path for below in found.below)))
        and all(_DIGEST.fullmatch(digest) for digest in digests)
        and (found.revision is None or isinstance(found.revision, str))
        and type(found.rows) is int
        and found.rows > 0
        and isinstance(found.tags, dict)
        and found.quantize in (None, "nf4", "fp4", "int8")
    )
    if not sound:
        raise InputError(f"{BINDING_FILE} holds values that lft does not write", where=str(files.folder))
    if found.below and read_json(files.used[BINDING_FILE])["format"] < BY_IDENTITY:
        return replace(found, below=tuple(_renewed(one, files.folder) for one in found.below))
    return found


def _renewed(below: Below, folder: Path) -> Below:
    """With the identity of an adapter that an older file names by its weights, where that adapter is still there."""
    place = Path(os.path.normpath(folder / below.path))
    if not (place / WEIGHTS).is_file() or not (place / CONFIG_FILE).is_file():
        return below
    there = identity(place)
    return replace(below, weights=there.digest) if there.is_meant(below.weights) else below


def _require_short_names(parts: Parts, configuration: Configuration, folder: Path) -> None:
    """A pattern is only tried on names of a length that cannot make it slow."""
    longest = max((len(one.part.module) for one in parts.found.values()), default=0)
    if configuration.patterns and longest > NAME:
        what = f"a module name of {longest} characters and a pattern to match it with; {NAME} are allowed"
        raise InputError(what, where=str(folder / WEIGHTS))


def _low_rank(parts: Parts, configuration: Configuration) -> tuple[LowRank, ...]:
    a, b, magnitudes, biases = (parts.of(kind) for kind in _PAIR)
    for one, other, name in ((a, b, "B"), (b, a, "A"), (magnitudes, a, "A"), (biases, a, "A")):
        for module in one.keys() - other.keys():
            raise unexplained(one[module].info, f"its {name} is missing")
    for found, on, key in (
        (magnitudes, configuration.use_dora, "use_dora"),
        (biases, configuration.lora_bias, "lora_bias"),
    ):
        if on and (lacking := sorted(a.keys() - found.keys())):
            raise InputError(f"{key} is set and {lacking[0]} has nothing for it", where=str(a[lacking[0]].info.file))
        if not on and found:
            raise unexplained(next(iter(found.values())).info, f"{key} is not set")
    made = (_pair(a[m], b[m], magnitudes.get(m), biases.get(m), configuration) for m in sorted(a))
    return tuple(made)


def _pair(a: Named, b: Named, magnitude: Named | None, bias: Named | None, configuration: Configuration) -> LowRank:
    module, where = a.part.module, f"{a.info.file}: {a.part.module}"
    if len(a.info.shape) != 2 or len(b.info.shape) != 2:
        raise InputError(
            f"A is {a.info.shape} and B is {b.info.shape}; only linear layers and embeddings are read", where=where
        )
    r = configuration.rank(module)
    if a.part.embedding != b.part.embedding or a.info.shape[0] != r or b.info.shape[1] != r:
        raise InputError(
            f"A is {a.info.shape} and B is {b.info.shape}, and the configuration says rank {r}",
            where=where,
            fix="the configuration is of another adapter, or the tensors were saved in parts (ZeRO-3, FSDP)",
        )
    if len(alphas := configuration.alphas(module)) > 1:
        said = listed([f"{alpha:g}" for alpha in sorted(alphas)])
        raise InputError(
            f"several patterns of alpha_pattern give it an alpha ({said}), and PEFT does not keep which comes first",
            where=where,
            fix="write alpha_pattern so that one pattern matches each module, with the alpha that it was trained with",
        )
    for one in (magnitude, bias):
        if one is not None and one.info.shape != (b.info.shape[0],):
            raise InputError(f"{one.info.name!r} is {one.info.shape} for B {b.info.shape}", where=where)
    embedding = a.part.embedding
    return LowRank(
        module,
        a.info,
        b.info,
        r,
        configuration.scale(module),
        embedding,
        configuration.fan_in_fan_out and not embedding,
        magnitude.info if magnitude else None,
        bias.info if bias else None,
    )


def _rows(parts: Parts, configuration: Configuration) -> tuple[tuple[TokenRows, ...], tuple[TensorInfo, ...]]:
    """Token rows, and those of a tied head, which PEFT may save again."""
    made: list[TokenRows] = []
    again = []
    left = dict(configuration.token_indices)
    # Embeddings that are named go first; of what is left, only a copy of theirs is explained.
    found = sorted(parts.of("rows").items(), key=lambda one: (_naming(left, one[0]) is None, one[0]))
    for module, one in found:
        name = _naming(left, module)
        if name is None:
            if not any(same_bytes(one.info, other.info) for other in made):
                raise unexplained(one.info, "the token indices do not name this embedding")
            again.append(one.info)
            continue
        tokens = left.pop(name)
        if len(one.info.shape) != 2 or one.info.shape[0] != len(tokens):
            raise unexplained(one.info, f"it is {one.info.shape} for {len(tokens)} tokens")
        made.append(TokenRows(module, tokens, one.info))
    for name, tokens in left.items():
        if tokens not in [one.tokens for one in made]:  # of embeddings that are tied, PEFT saves one
            where = str(next(iter(parts.found.values())).info.file)
            raise InputError(f"the rows of {name or 'the embedding'} are missing ({len(tokens)} tokens)", where=where)
    return tuple(sorted(made, key=lambda one: one.module)), tuple(again)


def _naming(indices: Mapping[str, tuple[int, ...]], module: str) -> str | None:
    """The name among the token indices that means an embedding; "" is the model's input embedding."""
    named = [name for name in indices if name and (module == name or module.endswith(f".{name}"))]
    if len(named) == 1:
        return named[0]
    return "" if "" in indices and not named and not is_head(module) else None


def _whole(parts: Parts, configuration: Configuration, adapted: Iterable[str]) -> tuple[Whole, ...]:
    made = []
    for found in parts.found.values():
        if found.part.kind != "whole":
            continue
        if not _explained(found, configuration, adapted):
            raise unexplained(found.info, "neither modules_to_save nor bias nor a saved embedding")
        made.append(Whole(found.part.tensor, found.info, found.part.wrapped))
    return tuple(sorted(made, key=lambda one: one.tensor))


def _explained(found: Named, configuration: Configuration, adapted: Iterable[str]) -> bool:
    """Whether PEFT saves this tensor of the base beside the adapter's own."""
    module, leaf = found.part.module, found.part.leaf
    if any(_within(module, name) for name in configuration.modules_to_save):
        return True
    if leaf == "bias":
        return configuration.bias == "all" or (configuration.bias == "lora_only" and module in adapted)
    named = is_input(module) or is_head(module) or module.rsplit(".", 1)[-1] in _ALSO_SAVED
    embedding = named and len(found.info.shape) == 2
    return leaf == "weight" and (embedding or bool(found.part.wrapped))


def _within(module: str, name: str) -> bool:
    """Whether a module is one that was named, or inside it."""
    return f".{name}." in f".{module}."
