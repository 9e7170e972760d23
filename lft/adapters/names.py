"""Names of an adapter's tensors, in every layout that PEFT has written, as (module of the base, part of the adapter).

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight     a          lora_B.weight   b    lora_B.bias  bias
    base_model.model.model.embed_tokens.lora_embedding_A               a          lora_embedding_B     b
    ....q_proj.lora_magnitude_vector                                   magnitude  (with .weight in 2024)
    ....embed_tokens.token_adapter.trainable_tokens_delta              rows
    ....lm_head.weight   ....q_proj.base_layer.bias                    whole: it replaces the base's tensor
    ....lm_head.original_module.weight                                 copy: the base's own, which nothing reads

Some trainers leave the adapter's own name in (``lora_A.default.weight``) or PEFT's wrapper (``modules_to_save.``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lft.base.headers import Limits, TensorInfo
from lft.errors import InputError

PREFIX: Final = "base_model.model."
NAME: Final = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
_FLOATS: Final = frozenset({"F32", "F16", "BF16"})
LIMITS: Final = Limits(4_000_000, 20_000, 512, NAME, _FLOATS, positive=True)
# Some other methods keep indices (VB-LoRA, SHiRA) or buffers beside their numbers.
OTHER_LIMITS: Final = Limits(
    4_000_000, 20_000, 512, NAME, _FLOATS | {"BOOL", "U8", "I8", "I16", "I32", "I64"}, positive=True
)

Kind = Literal["a", "b", "magnitude", "bias", "rows", "whole", "copy"]
_OWN: Final = r"(?:\.(?P<own>(?!weight$|bias$)[^.]+))?"  # the adapter's name
_ENDS: Final[tuple[tuple[str, Kind, bool], ...]] = (
    (rf"lora_A{_OWN}\.weight", "a", False),
    (rf"lora_B{_OWN}\.weight", "b", False),
    (rf"lora_B{_OWN}\.bias", "bias", False),
    (rf"lora_embedding_A{_OWN}", "a", True),
    (rf"lora_embedding_B{_OWN}", "b", True),
    (rf"lora_magnitude_vector{_OWN}(?:\.weight)?", "magnitude", False),
    (rf"(?:token_adapter\.)?trainable_tokens_delta{_OWN}", "rows", False),
)
_LAYOUTS: Final = tuple((re.compile(rf"(?P<module>.+?)\.{end}"), kind, embedding) for end, kind, embedding in _ENDS)
_WHOLE: Final = re.compile(r"(?P<module>.+?)(?:\.modules_to_save(?:\.(?P<own>[^.]+))?)?\.(?P<leaf>[^.]+)")
_COPY: Final = re.compile(r"(?P<module>.+?)\.original_module\.(?P<leaf>[^.]+)")
_WRAPPED: Final = re.compile(r"(.*?)(\.((?:token_adapter\.)?base_layer))?")
# Words of PEFT's own that no layout above explains: a variant or a version that this reader does not know.
_FOREIGN: Final = re.compile(r"(^|\.)(lora_\w+|token_adapter|ranknum|_orig_mod|_fsdp_wrapped_module)\.?")


@dataclass(frozen=True, slots=True)
class Part:
    """What one tensor of an adapter is.

    ``module`` is the base's, without any prefix or wrapper of PEFT; ``leaf`` is the parameter of a whole tensor
    ("weight"), ``own`` the adapter's name where the file has it, ``wrapped`` what of PEFT's lies around the module.
    """

    module: str
    kind: Kind
    embedding: bool = False
    leaf: str = ""
    own: str = ""
    wrapped: str = ""

    @property
    def tensor(self) -> str:
        """The base's tensor that a whole one replaces."""
        return f"{self.module}.{self.leaf}"


def part_of(name: str) -> Part | None:
    """What a tensor's name says; None where no version of PEFT would read it as LoRA's."""
    stem = name.removeprefix(PREFIX)
    for layout, kind, embedding in _LAYOUTS:
        if found := layout.fullmatch(stem):
            return None if _odd(found["module"]) else Part(found["module"], kind, embedding, own=found["own"] or "")
    if found := _COPY.fullmatch(stem):
        return None if _odd(found["module"]) else Part(found["module"], "copy", leaf=found["leaf"])
    return _whole(stem)


def _whole(stem: str) -> Part | None:
    found = _WHOLE.fullmatch(stem)
    if not found or _FOREIGN.search(f".{found['leaf']}"):
        return None
    module, _, wrapped = _WRAPPED.fullmatch(found["module"]).groups()  # type: ignore[union-attr]
    if not module or _odd(module):
        return None
    return Part(module, "whole", leaf=found["leaf"], own=found["own"] or "", wrapped=wrapped or "")


def _odd(module: str) -> bool:
    """Whether something of PEFT's is left in the name of the base's module."""
    return ".base_layer" in module or _FOREIGN.search(module) is not None


def name_of(part: Part) -> str:
    """The name that PEFT gives to a part today, without the adapter's own name."""
    middle = {
        ("a", False): "lora_A.weight",
        ("b", False): "lora_B.weight",
        ("bias", False): "lora_B.bias",
        ("a", True): "lora_embedding_A",
        ("b", True): "lora_embedding_B",
        ("magnitude", False): "lora_magnitude_vector",
        ("rows", False): "token_adapter.trainable_tokens_delta",
        ("copy", False): f"original_module.{part.leaf}",
        ("whole", False): f"{part.wrapped}.{part.leaf}" if part.wrapped else part.leaf,
    }
    return f"{PREFIX}{part.module}.{middle[part.kind, part.embedding]}"


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor and what it is."""

    part: Part
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class Parts:
    """Every tensor of a file: by module and part, and those that say again what another one or the base says."""

    found: Mapping[tuple[str, str], Named]
    copies: tuple[TensorInfo, ...]

    def of(self, kind: Kind) -> dict[str, Named]:
        """The tensors of one kind (of which a module has one) by module."""
        return {one.part.module: one for one in self.found.values() if one.part.kind == kind}


def parts_of(tensors: Sequence[TensorInfo]) -> Parts:
    """What each tensor of a file is.

    Raises:
        InputError: a name that no layout has, two tensors for one part that differ, or several adapters in one file.
    """
    found: dict[tuple[str, str], Named] = {}
    copies = []
    for info in sorted(tensors, key=lambda one: one.name):
        part = part_of(info.name)
        if part is None:
            raise unexplained(info, "no version of PEFT reads this name for a LoRA")
        other = found.get((part.module, part.leaf or part.kind))
        if part.kind == "copy" or (part.kind == "whole" and other and same_bytes(info, other.info)):
            copies.append(info)
        elif other:
            raise unexplained(info, f"{other.info.name!r} is the same part")
        else:
            found[part.module, part.leaf or part.kind] = Named(part, info)
    own = sorted({one.part.own for one in found.values() if one.part.own})
    if len(own) > 1:
        raise InputError(
            f"the file holds {len(own)} adapters ({', '.join(own[:4])})",
            where=str(tensors[0].file),
            fix="save each of them by itself: model.save_pretrained(NEW, selected_adapters=[NAME])",
        )
    return Parts(found, tuple(copies))


def same_bytes(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two tensors are equal to the bit."""
    from lft.adapters.tensors import pieces

    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(first == second for first, second in zip(pieces(one), pieces(other), strict=True))


def unexplained(info: TensorInfo, why: str) -> InputError:
    """The error for a tensor that has no place in what the configuration says."""
    return InputError(
        f"tensor {info.name!r} is not explained by adapter_config.json: {why}",
        where=str(info.file),
        fix="nothing of an adapter is left out silently: ask its author how it was saved",
    )
