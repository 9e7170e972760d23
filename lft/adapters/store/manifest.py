"""The manifest of a version: what it is made of, what it belongs to, where it comes from.

It is canonical JSON (sorted keys, no spaces, no floats: a decimal is a string); its sha256 is the version's identity.
Reading is strict: every key and no other, so that two programs never understand one manifest differently.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from lft.adapters.store.names import full_name, version_key
from lft.adapters.store.strict import decoded
from lft.base.configuration import canonical
from lft.base.files import unique_keys
from lft.base.identity import WEIGHTS as WEIGHTS
from lft.errors import InputError

FORMAT: Final = 2
# Keys that manifests of format 1 do not have, and those that the base in them does not have.
_SINCE_2: Final = ("identity",)
_BASE_SINCE_2: Final = ("architecture",)
STACKS: Final = ("stack", "chain")  # kinds that have no tensors of their own, only adapters that they are made of
PARTS: Final = "lft.json"  # which a stack names, with their weights
LARGEST: Final = 16 << 20  # bytes of a manifest; one with every module of a 400-layer model is under one

Kind = Literal["adapter", "merge", "stack", "chain", "export"]
Role = Literal["weights", "config", "binding", "prompt", "tokenizer", "template", "card", "certificate"]
Tags = Mapping[str, tuple[str, ...]]
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?")


@dataclass(frozen=True, slots=True)
class File:
    """A file of the adapter's folder; ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    role: Role


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the base was rounded when the adapter was trained on it."""

    kind: str
    double_quant: bool
    compute_dtype: str


@dataclass(frozen=True, slots=True)
class Base:
    """The base by name and by content; None is what nobody recorded (an adapter of another program).

    ``weights`` and ``config`` are those of ``lft.base.fingerprint``, ``rows`` those of the embedding as trained;
    ``architecture`` is the line of ``lft.base.architecture``.
    """

    id: str
    revision: str | None
    weights: str | None
    config: str | None
    rows: int | None
    quantization: Quantization | None
    architecture: str | None = None


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token whose embedding row the adapter trained; ``text`` is None where no tokenizer lies beside it."""

    id: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The base's tokenizer by content, and what the adapter's own says beyond it."""

    fingerprint: str | None
    template: str | None  # sha256 of the chat template
    end: str | None
    added: tuple[AddedToken, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One adapted module: D = scale * B A is m x n of rank r; ``norm`` is its Frobenius norm."""

    module: str
    m: int
    n: int
    r: int
    scale: str
    norm: str


@dataclass(frozen=True, slots=True)
class Lora:
    """The low-rank part: largest rank, the factors' dtype, Frobenius norm of all targets together.

    ``whole`` are tensors of the base that it replaces.
    """

    r: int
    dtype: str
    canonical: bool
    norm: str
    targets: tuple[Target, ...]
    whole: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parent:
    """An adapter that this one was made from.

    ``digest`` is its manifest's (None where it was never stored), ``weights`` its identity (``lft.base.identity``; in
    manifests of format 1 the sha256 of its tensors alone). ``role`` is ``below`` for one that it was trained on,
    ``input`` for one of a merge; ``weight`` what it was multiplied with: a decimal (``0.7[0-11]``: in these layers
    only), or canonical JSON of decimals by module.
    """

    digest: str | None
    weights: str
    role: Literal["below", "input"]
    weight: str | None


@dataclass(frozen=True, slots=True)
class Training:
    """The run: blobs of its recipe and lock file, and what the lock says (``lft.train.folder.Lock``)."""

    recipe: str | None
    lock: str | None
    data: str
    validation: str | None
    seed: int
    device: str
    dtype: str
    engine: str
    devices: int
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where it comes from. ``name`` is what the recipe or the maker called it."""

    name: str
    lft: str | None
    training: Training | None
    parents: tuple[Parent, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """How a merge was computed; ``params`` is canonical JSON, ``error`` the relative error of a truncation."""

    method: str
    params: str
    seed: int | None
    dtype: str
    exactness: str
    error: str | None
    certificate: str | None  # sha256 of the file that says it in full


@dataclass(frozen=True, slots=True)
class Score:
    """A measured figure: what was measured on what, over ``n`` items."""

    suite: str
    metric: str
    value: str
    n: int | None
    interval: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A version, immutable. ``method`` is the variant in words, ``lora rslora`` (``Configuration.variant``).

    ``identity`` is that of ``lft.base.identity``. A stack or chain has no tensors and no identity: its parts are
    parents in the role ``input``, in its own order. Nor does a manifest of format 1 say an identity.
    """

    kind: Kind
    name: str
    version: str
    method: str
    files: tuple[File, ...]
    base: Base
    tokenizer: Tokenizer
    lora: Lora | None
    tags: Tags
    lineage: Lineage
    merge: Merge | None
    evaluation: tuple[Score, ...]
    identity: str | None = None
    format: int = FORMAT

    @property
    def text(self) -> str:
        """Canonical JSON, of its own format."""
        said = asdict(self)
        if self.format == 1:
            said = {key: value for key, value in said.items() if key not in _SINCE_2}
            said["base"] = {key: value for key, value in said["base"].items() if key not in _BASE_SINCE_2}
        return canonical(said)

    @property
    def digest(self) -> str:
        """Hex sha256 of the canonical JSON: the version's identity."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def weights(self) -> str:
        """Hex sha256 of the tensors; of a stack that of the file that names its parts."""
        wanted = PARTS if self.kind in STACKS else WEIGHTS
        return next(file.sha256 for file in self.files if file.path == wanted)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of all blobs that it needs beside its own."""
        training = self.lineage.training
        run = (training.recipe, training.lock) if training else ()
        return tuple(dict.fromkeys([*(file.sha256 for file in self.files), *(digest for digest in run if digest)]))

    @property
    def parents(self) -> tuple[str, ...]:
        """Digests of the manifests that it was made from, where they were stored."""
        return tuple(parent.digest for parent in self.lineage.parents if parent.digest)


def read_manifest(text: bytes, where: str) -> Manifest:
    """A manifest from its canonical JSON.

    Raises:
        InputError: it is not one that this version could have written.
    """
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it has {len(text)} bytes; {LARGEST} are allowed")
        content = json.loads(text, object_pairs_hook=unique_keys)
        if isinstance(content, dict) and content.get("format") not in range(1, FORMAT + 1):
            raise InputError(
                f"the manifest has format {str(content.get('format'))[:20]}, this version knows 1 to {FORMAT}",
                where=where,
                fix="use a newer version of lft",
            )
        manifest = decoded(Manifest, _completed(content))
        require_sound(manifest)
        if canonical(content).encode() != text:
            raise ValueError("it is not canonical JSON")
    except (ValueError, RecursionError) as error:
        raise InputError(f"no manifest: {error}", where=where, fix="lft adapters fsck") from None
    return manifest


def _completed(content: Any) -> Any:
    """With the keys that format 1 did not have, which one of that format may not have either."""
    if not isinstance(content, dict) or content["format"] > 1:
        return content
    base = content.get("base")
    if odd := [key for key in _SINCE_2 if key in content] + [key for key in _BASE_SINCE_2 if key in (base or ())]:
        raise ValueError(f"it is of format 1 and has the key {odd[0]}")
    filled = {**content, **dict.fromkeys(_SINCE_2)}
    return {**filled, "base": {**base, **dict.fromkeys(_BASE_SINCE_2)}} if isinstance(base, dict) else filled


def require_sound(manifest: Manifest) -> None:
    """Raise ValueError where a manifest says what none may say."""
    if manifest.name != full_name(manifest.name):
        raise ValueError("its name lacks a namespace")
    version_key(manifest.version)
    paths = [file.path for file in manifest.files]
    if paths != sorted(set(paths)) or not all(_PATH.fullmatch(path) for path in paths):
        raise ValueError("its files are not in order, or one has a name that none may have")
    stack = manifest.kind in STACKS
    if (PARTS if stack else WEIGHTS) not in paths:
        raise ValueError(f"it has no {PARTS if stack else WEIGHTS}")
    if stack and (WEIGHTS in paths or not manifest.lineage.parents):
        raise ValueError("a stack has parts, and no tensors of its own")
    if any(file.size < 0 for file in manifest.files):
        raise ValueError("a file has a negative size")
    for digest in _digests(manifest):
        if not _HEX.fullmatch(digest):
            raise ValueError(f"{digest[:70]!r} is no sha256")
    for number in _decimals(manifest):
        if not _DECIMAL.fullmatch(number) or not math.isfinite(float(number)):
            raise ValueError(f"{number[:40]!r} is no decimal")


def decimal(number: float) -> str:
    """A number as manifests hold it: six significant digits.

    Raises:
        InputError: it is not finite.
    """
    if not math.isfinite(number):
        raise InputError(f"{number} cannot be recorded in a manifest", fix="look for NaN or infinity in the adapter")
    return format(number, ".6g")


def _digests(manifest: Manifest) -> list[str]:
    base, tokenizer, merge = manifest.base, manifest.tokenizer, manifest.merge
    optional: list[Any] = [manifest.identity, base.weights, base.config, tokenizer.fingerprint, tokenizer.template]
    optional += [merge.certificate] if merge else []
    optional += [parent.digest for parent in manifest.lineage.parents]
    needed = [*manifest.blobs, *(parent.weights for parent in manifest.lineage.parents)]
    return [*needed, *(digest for digest in optional if digest is not None)]


def _decimals(manifest: Manifest) -> list[str]:
    found = [text for score in manifest.evaluation for text in (score.value, *score.interval)]
    if manifest.merge and manifest.merge.error is not None:
        found.append(manifest.merge.error)
    if manifest.lora:
        found += [manifest.lora.norm, *(text for t in manifest.lora.targets for text in (t.scale, t.norm))]
    return found
