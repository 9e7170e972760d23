"""What `lft adapters show` prints: an adapter's facts, its lineage as a tree, what is active with it."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from lft.cli.adapters_common import WIDTH, amount, counted

if TYPE_CHECKING:
    from lft.adapters.store.layout import Store
    from lft.adapters.store.manifest import Lora, Manifest, Parent, Score, Target
    from lft.adapters.store.versions import Stored

_KEY: Final = 12
_HISTORY: Final = 20  # moves of aliases that are shown


def overview(store: Store, stored: Stored) -> Iterator[str]:
    """Everything about a version, in 80 columns."""
    from lft.adapters.store.marks import scores

    manifest = stored.manifest
    for name, value in _facts(store, stored):
        yield from _fact(name, value)
    if measured := scores(store, manifest):
        yield from ("", "evaluation", *_scores(measured))
    if manifest.lora:
        yield from ("", "norms of what it adds (Frobenius)", *_norms(manifest.lora))
    yield from ("", "lineage", *_tree(_node(store, stored.digest, manifest, set())))
    yield from ("", "active together, lowest first", *_active(store, stored))
    yield from ("", "files", *(f"  {one.sha256[:12]}  {amount(one.size):>10}  {one.path}" for one in manifest.files))


def targets(stored: Stored) -> Iterator[str]:
    """Every adapted module: shape, rank, scale, norm."""
    lora = stored.manifest.lora
    if lora is None:
        yield f"{stored} is no LoRA: {stored.manifest.method}"
        return
    width = max((len(one.module) for one in lora.targets), default=6)
    yield f"{'MODULE':<{width}}  {'SHAPE':>13}  {'RANK':>4}  {'SCALE':>7}  NORM"
    for one in lora.targets:
        yield f"{one.module:<{width}}  {f'{one.m} x {one.n}':>13}  {one.r:>4}  {one.scale:>7}  {one.norm}"
    for name in lora.whole:
        yield f"{name}  replaced whole"


def as_json(store: Store, stored: Stored) -> dict[str, Any]:
    """The manifest with its digest, and what may change: tags, aliases, signatures."""
    from lft.adapters.store.marks import aliases, scores, signatures, tags

    pointing = [word for word, digest in aliases(store, stored.manifest.name).items() if digest == stored.digest]
    now = {key: list(values) for key, values in tags(store, stored.manifest).items()}
    signed = [{"key": one.key, "subject": one.subject, "checked": False} for one in signatures(store, stored.manifest)]
    measured = [asdict(one) for one in scores(store, stored.manifest)]
    marks = {"aliases": pointing, "tags": now, "scores": measured, "signatures": signed}
    return {"digest": stored.digest, **marks, "manifest": asdict(stored.manifest)}


def recipe(store: Store, stored: Stored) -> str:
    """The recipe that an adapter was trained with.

    Raises:
        InputError: none was recorded.
    """
    from lft.adapters.store.blobs import read
    from lft.errors import InputError

    training = stored.manifest.lineage.training
    if training is None or training.recipe is None:
        raise InputError(f"{stored} was not added with the run that made it", fix="lft adapters add RUN records it")
    return read(store, training.recipe).decode("utf-8")


def alias_lines(store: Store, name: str) -> Iterator[str]:
    """Aliases of a name, and how they moved lately."""
    from lft.adapters.store.marks import aliases
    from lft.files import json_lines

    known = aliases(store, name)
    yield name
    for word, digest in known.items():
        yield f"  @{word} -> {_label(store, digest)}"
    if not known:
        yield "  no aliases; lft adapters alias ADAPTER ALIAS sets one"
    moves = [line for line in json_lines(store.log("aliases"))[0] if line.get("name") == name][-_HISTORY:]
    if moves:
        yield "  moves (UTC), newest last"
    for move in moves:
        before, after = (_short(store, move.get(key)) for key in ("from", "to"))
        yield f"    {str(move.get('time'))[:16]}  @{move.get('alias')}  {before} -> {after}"


def _facts(store: Store, stored: Stored) -> Iterator[tuple[str, str]]:
    from lft.adapters.store.marks import aliases, signatures, tags
    from lft.adapters.store.versions import versions

    manifest = stored.manifest
    known = versions(store, manifest.name)
    pointing = [f"@{word}" for word, digest in aliases(store, manifest.name).items() if digest == stored.digest]
    place = "removed" if manifest.version not in known else "newest" if known[0] == manifest.version else "older"
    yield "adapter", f"{stored} ({', '.join([place, *pointing])}; {counted(len(known), 'version')})"
    yield "sha256", stored.digest
    yield "kind", f"{_what(manifest)}, {amount(manifest.size)}"
    yield from _base(manifest)
    said = tags(store, manifest)
    yield "tags", "  ".join(f"{key}={','.join(values)}" for key, values in said.items()) or "none"
    if signed := signatures(store, manifest):
        yield "signed by", f"{', '.join(one.signer for one in signed)} (as it says; lft adapters verify checks it)"
    if lora := manifest.lora:
        form = ", canonical form" if lora.canonical else ""
        yield "low rank", f"rank {lora.r} on {counted(len(lora.targets), 'module')}, {lora.dtype}{form}"
        yield "norm", f"{lora.norm} (Frobenius, all modules together)"
        if lora.whole:
            yield "replaces", f"{counted(len(lora.whole), 'tensor')} of the base: {', '.join(lora.whole[:4])}"
    if added := manifest.tokenizer.added:
        yield "token rows", ", ".join(token.text or f"id {token.id}" for token in added[:8])
    if merge := manifest.merge:
        error = f", error {merge.error}" if merge.error else ""
        yield "merge", f"{merge.method}, {merge.exactness}{error}, in {merge.dtype}"
    yield from _training(manifest)


def _what(manifest: Manifest) -> str:
    """Kind and method; a stack has no method but itself."""
    return manifest.kind if manifest.kind == manifest.method else f"{manifest.kind}, {manifest.method}"


def _base(manifest: Manifest) -> Iterator[tuple[str, str]]:
    base = manifest.base
    yield "base", (base.id or "not recorded") + (f" @ {base.revision}" if base.revision else "")
    if base.weights:
        tokenizer = manifest.tokenizer.fingerprint or "-"
        yield "bound to", f"weights {base.weights[:12]}, tokenizer {tokenizer[:12]}, {base.rows:,} embedding rows"
    else:
        yield "bound to", "nothing: another program made it, so that it fits its base is checked by shapes alone"
    if base.architecture:
        yield "sizes", base.architecture
    if rounded := base.quantization:
        double = ", double quantization" if rounded.double_quant and rounded.kind != "int8" else ""
        yield "trained on", f"the base in {rounded.kind}{double}"


def _training(manifest: Manifest) -> Iterator[tuple[str, str]]:
    training = manifest.lineage.training
    if training is None:
        return
    where = f"{training.device} in {training.dtype}, {counted(training.devices, 'process', 'processes')}"
    yield "trained", f"seed {training.seed}, {where}, engine {training.engine}"
    yield "data", f"train {training.data[:12]}, validation {(training.validation or '-')[:12]} (content hashes)"
    yield "packages", " ".join(f"{name} {number}" for name, number in training.packages.items())


def _fact(name: str, value: str) -> list[str]:
    return textwrap.wrap(
        f"{name:<{_KEY}}{value}",
        WIDTH,
        subsequent_indent=" " * _KEY,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _scores(scores: Sequence[Score]) -> Iterator[str]:
    wide = [max(len(text) for text in column) for column in zip(*((s.suite, s.metric) for s in scores), strict=True)]
    for one in scores:
        over = f"  n = {one.n:,}" if one.n is not None else ""
        between = f"  [{' .. '.join(one.interval)}]" if one.interval else ""
        yield f"  {one.suite:<{wide[0]}}  {one.metric:<{wide[1]}}  {one.value}{between}{over}"


def _norms(lora: Lora) -> Iterator[str]:
    """One line for the modules of a kind (``q_proj``): how many, shape, and how their norms spread."""
    kinds: dict[str, list[Target]] = defaultdict(list)
    for target in lora.targets:
        kinds[target.module.rpartition(".")[2]].append(target)
    width = max((len(kind) for kind in kinds), default=0)
    yield f"  {'':<{width}}  MODULES  {'SHAPE':<15}  NORM"
    for kind, found in sorted(kinds.items()):
        norms = sorted(found, key=lambda one: float(one.norm))
        shapes = {f"{one.m} x {one.n}" for one in found}
        shape = shapes.pop() if len(shapes) == 1 else "several"
        low, high = norms[0].norm, norms[-1].norm
        spread = low if len(found) == 1 else f"{low} to {high} ({_layer(norms[-1].module)})"
        yield f"  {kind:<{width}}  {len(found):>7}  {shape:<15}  {spread}"


def _layer(module: str) -> str:
    number = next((part for part in module.split(".") if part.isdigit()), None)
    return module if number is None else f"layer {number}"


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the tree, and those below it."""

    text: str
    below: tuple[Node, ...] = ()


def _node(store: Store, digest: str, manifest: Manifest, seen: set[str]) -> Node:
    """A version with what it was made from: adapters, then recipe and data, then the base."""
    label = f"{manifest.name}:{manifest.version}"
    if digest in seen:
        return Node(f"{label} (as above)")
    seen.add(digest)
    below = [_parent(store, parent, seen) for parent in manifest.lineage.parents]
    if training := manifest.lineage.training:
        stored = f"recipe {training.recipe[:12]}, " if training.recipe else ""
        below.append(Node(f"run: {stored}data {training.data[:12]}, seed {training.seed}"))
    base = manifest.base
    revision = f" @ {base.revision[:12]}" if base.revision else ""
    weights = f" (weights {base.weights[:12]})" if base.weights else ""
    below.append(Node(f"base: {base.id or 'not recorded'}{revision}{weights}"))
    rank = f", rank {manifest.lora.r}" if manifest.lora else ""
    return Node(f"{label}  {_what(manifest)}{rank}", tuple(below))


def _parent(store: Store, parent: Parent, seen: set[str]) -> Node:
    from lft.adapters.store.versions import by_digest
    from lft.errors import InputError

    weight = f" x {parent.weight}" if parent.weight else ""
    role = f"{parent.role}{weight}: "
    if parent.digest is None:
        return Node(f"{role}an adapter that is not in the registry ({parent.weights[:12]})")
    try:
        found = by_digest(store, parent.digest).manifest
    except InputError as error:
        return Node(f"{role}{error.what}")
    node = _node(store, parent.digest, found, seen)
    return Node(role + node.text, node.below)


def _tree(node: Node, above: str = "  ") -> Iterator[str]:
    """A tree in text; a long line goes on under itself."""
    yield above + node.text
    yield from _branches(node, above)


def _branches(node: Node, above: str) -> Iterator[str]:
    for number, below in enumerate(node.below):
        last = number == len(node.below) - 1
        line, rest = ("└── ", "    ") if last else ("├── ", "│   ")
        first, *more = textwrap.wrap(
            below.text, max(WIDTH - len(above) - 4, 24), break_on_hyphens=False, break_long_words=True
        )
        yield above + line + first
        bar = "│ " if below.below else "  "
        for text in more:
            yield above + rest + bar + text
        yield from _branches(below, above + rest)


def _active(store: Store, stored: Stored) -> Iterator[str]:
    """What takes part when this adapter is used: the base, the adapters below it, itself."""
    from lft.adapters.store.active import active, by_layer

    base = stored.manifest.base
    rounded = f" in {base.quantization.kind}" if base.quantization else ""
    yield f"  base {base.id or 'not recorded'}{rounded}"
    parts = active(store, stored)
    for place, one in enumerate(parts, 1):
        itself = " (itself)" if one.manifest is stored.manifest and len(parts) > 1 else ""
        where = f" in layers {one.layers}" if one.layers else ""
        yield f"  [{place}] {one.weight} x {one.name}{where}{itself}"
    lines = by_layer(parts)
    width = max([6, *(len(line.layers or "-") for line in lines)])
    for number, line in enumerate(lines):
        if not number:
            yield f"  {'LAYERS':<{width}}  MODULES: [adapter] x weight, rank"
        said = "  ".join(f"[{place}] x {weight}, r {rank}" for place, weight, rank in line.parts)
        yield from textwrap.wrap(
            f"{' '.join(line.modules)}:  {said}",
            WIDTH,
            initial_indent=f"  {line.layers or '-':<{width}}  ",
            subsequent_indent=" " * (width + 6),
            break_on_hyphens=False,
        )


def _label(store: Store, digest: object) -> str:
    from lft.adapters.store.versions import by_digest
    from lft.errors import InputError

    if not isinstance(digest, str):
        return "nothing"
    try:
        return f"{by_digest(store, digest)} (sha256:{digest[:12]})"
    except InputError:
        return f"sha256:{digest[:12]}, which is gone"


def _short(store: Store, digest: object) -> str:
    """A version's number; its digest where it is gone."""
    label = _label(store, digest)
    return label.partition(" ")[0].rpartition(":")[2] if label.endswith(")") else label
