"""README.md of a merged model: what it is made of, by digest; under which licences; how to load it.

Everything in it was recorded or read; no path of this machine stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lft.adapters.adapter import Adapter
from lft.adapters.certificate import Certificate
from lft.adapters.export.opened import Opened
from lft.adapters.hub_clean import is_public_base
from lft.adapters.markdown import code, front_matter, is_language, licence_entries, licence_in, slug, table, text
from lft.adapters.store.index import with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.manifest import Tags
from lft.adapters.store.marks import tags as tags_of
from lft.adapters.store.versions import by_digest
from lft.base.files import read_json
from lft.hub.secrets import is_local

CARD_FILE: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Part:
    """An adapter in the model: what others may call it, its identity, how much of it, and what is known."""

    name: str
    digest: str
    share: str
    over: str
    tags: Tags
    licence: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a card is written from.

    ``base`` is what others call the base; ``merged_into`` says which form of a quantized one ("trained", "original";
    empty where it was none); ``pair``: it is an encoder-decoder.
    """

    name: str
    base: str
    public: bool
    revision: str | None
    weights: str
    base_licence: str
    parts: tuple[Part, ...]
    certificate: Certificate | None
    merged_into: str
    pair: bool

    @property
    def licences(self) -> list[str]:
        """Of the base and of the adapters; empty where one is not known."""
        return [self.base_licence, *(part.licence for part in self.parts)]


def facts_of(opened: Opened, store: Store, merged_into: str = "") -> ModelFacts:
    """What is known of a model that is about to be written.

    Args:
        opened: the adapter, stack or merge on its base.
        store: the registry, which knows names and tags.
        merged_into: see ``ModelFacts``.
    """
    base, top = opened.base, opened.adapter
    shares = {below.weights: below.share for below in top.binding.below} if top.binding else {}
    weights = {one.digest: _written(one.weight) for one in opened.certificate.parents} if opened.certificate else {}
    merged = [one.adapter for one in opened.parents] if opened.certificate else []
    adapters = [one for one in (*opened.stacked.adapters, *merged) if one.tensors]
    known = {adapter.digest: adapter for adapter in adapters}
    parts = tuple(
        _part(adapter, digest, weights.get(digest, _share(shares, adapter)), store) for digest, adapter in known.items()
    )
    config = read_json(base.folder / "config.json")
    name = base.written.rstrip("/").rpartition("/")[2] if is_local(base.written) else base.written
    return ModelFacts(
        opened.name, name, base.kind == "hub" and is_public_base(base.written, base.revision), base.revision,
        top.binding.weights if top.binding else "", licence_in(base.folder), parts, opened.certificate, merged_into,
        bool(config.get("is_encoder_decoder")),
    )  # fmt: skip


def _share(shares: Mapping[str, str], adapter: Adapter) -> str:
    """How much of it a stack has; an older one names its adapters by their tensors alone."""
    known = adapter.identity
    return next((share for name, share in shares.items() if known.is_meant(name)), "1")


def _part(adapter: Adapter, digest: str, share: str, store: Store) -> Part:
    binding = adapter.binding
    found = with_weights(store, digest)
    if found:
        manifest = by_digest(store, found[0][0]).manifest
        name, tags = f"{manifest.name}:{manifest.version}", tags_of(store, manifest)
    else:
        name = binding.name if binding and binding.name else adapter.folder.name
        tags = binding.tags if binding else {}
    licence = next(iter(tags.get("license", ())), "") or licence_in(adapter.folder)
    return Part(name, digest, share, binding.over if binding else "", tags, licence)


def _written(weight: object) -> str:
    return weight if isinstance(weight, str) else "by pattern"


def model_card(facts: ModelFacts) -> str:
    """README.md."""
    parts = [_title(facts), _base(facts), _adapters(facts), _merge(facts), _licence(facts), _loading(facts)]
    body = "\n\n".join("\n".join(part) for part in parts)
    return f"{front_matter(metadata(facts))}\n{body}\n"


def metadata(facts: ModelFacts) -> dict[str, Any]:
    """The head as a mapping; a licence only where base and adapters are known to have the same."""
    languages = {word for part in facts.parts for key in ("lang", "language") for word in part.tags.get(key, ())}
    one_licence = facts.base_licence if len(set(facts.licences)) == 1 else ""
    found: dict[str, Any] = {
        "base_model": facts.base if facts.public else None,
        "base_model_relation": ("merge" if len(facts.parts) > 1 else "finetune") if facts.public else None,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **licence_entries(one_licence),
        "language": sorted(filter(is_language, languages)),
        "tags": ["lft", *(["merge", slug(facts.certificate.method)] if facts.certificate else [])],
    }
    return {key: value for key, value in found.items() if value}


def _title(facts: ModelFacts) -> Iterator[str]:
    yield f"# {text(facts.name)}"
    yield ""
    count = f"{len(facts.parts)} adapters" if len(facts.parts) > 1 else "an adapter"
    yield f"{code(facts.base)} with {count} merged into its weights: added in float32 and rounded once."


def _base(facts: ModelFacts) -> Iterator[str]:
    rows = [
        ("model", code(facts.base)),
        ("revision", code(facts.revision) if facts.revision else "none"),
        ("fingerprint of its weights", code(facts.weights) if facts.weights else "not recorded"),
    ]
    if facts.merged_into:
        rounded = "with the rounding that training saw" if facts.merged_into == "trained" else "as it is stored"
        rows.append(("taken", rounded))
    yield "## Base"
    yield ""
    yield from table(("", ""), rows)
    if not facts.public:
        yield ""
        yield "It has no name on the hub, so others find it by that fingerprint alone."


def _adapters(facts: ModelFacts) -> Iterator[str]:
    yield "## Adapters"
    yield ""
    rows = [
        (code(part.name), code(part.digest), text(part.share), text(part.over or "the base as it is stored"))
        for part in facts.parts
    ]
    yield from table(("adapter", "identity", "weight", "trained over"), rows)


def _merge(facts: ModelFacts) -> Iterator[str]:
    yield "## Merge"
    yield ""
    if facts.certificate is None:
        yield "The sum of all changes, exact up to that one rounding."
        return
    found = facts.certificate
    parameters = ", ".join(f"{key} {value}" for key, value in found.parameters)
    yield f"Method {code(found.method)} ({text(parameters)}); exactness: {text(found.exactness)}."
    yield f"The certificate {code('merge.json')} says how to do it again (sha256 {code(found.digest)})."


def _licence(facts: ModelFacts) -> Iterator[str]:
    yield "## Licence"
    yield ""
    rows = [("base", code(facts.base), text(facts.base_licence or "not stated where it was read"))]
    rows += [("adapter", code(part.name), text(part.licence or "not stated")) for part in facts.parts]
    yield from table(("", "", "licence"), rows)
    yield ""
    yield "The base's licence and those of the adapters hold for this model, also where none is stated here."


def _loading(facts: ModelFacts) -> Iterator[str]:
    kind = "AutoModelForSeq2SeqLM" if facts.pair else "AutoModelForCausalLM"
    yield "## How to load it"
    yield ""
    yield "```python"
    yield f"from transformers import {kind}, AutoTokenizer"
    yield ""
    yield 'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
    yield f'model = {kind}.from_pretrained("FOLDER")'
    yield "```"
    yield ""
    yield "`prompt_format.json`, where it is there, and the chat template say how the model was trained to be asked."
