"""The model card of a pushed adapter: what the hub shows, written from the registry's manifest.

Everything in it was measured or recorded; nothing is praised. Texts of people (names, tags, a recipe) are put where
Markdown and HTML do not act.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lft.adapters.hub_clean import is_public_base
from lft.adapters.markdown import code, front_matter, is_language, licence_entries, slug, table, text
from lft.adapters.store.manifest import Manifest, Tags
from lft.base.package import SCHEME as PACKAGE

_DATASET: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_KNOWN_TAGS: Final = ("lang", "language", "license", "dataset", "datasets", "source")


@dataclass(frozen=True, slots=True)
class Part:
    """An adapter of a stack: its weight, its name and version, and ``user/name@commit`` of the hub."""

    weight: str
    name: str
    hub: str


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is written from.

    ``repo`` is where it will lie; ``digest`` the version's (empty in a rehearsal); ``base`` what others call the base;
    ``recipe`` the text of its recipe without paths; ``files`` sha256 by name; ``below`` names of the adapters that it
    was trained on; ``parts`` the adapters of a stack, which has no tensors of its own.
    """

    repo: str
    manifest: Manifest
    digest: str
    tags: Tags
    base: str
    recipe: str | None
    files: Mapping[str, str]
    below: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def public(self) -> bool:
        """Whether others find the base on the hub."""
        return is_public_base(self.base, self.manifest.base.revision)


def model_card(facts: CardFacts) -> str:
    """README.md: YAML for the hub's search, then what a person wants to know before using it."""
    parts = [
        _title(facts),
        _parts(facts),
        _base(facts),
        _data(facts),
        _recipe(facts),
        _evaluation(facts),
        _licence(facts),
    ]
    parts += [_loading(facts), _limits(facts), _files(facts)]
    body = "\n\n".join("\n".join(part) for part in map(list, parts) if part)
    return f"{front_matter(metadata(facts))}\n{body}\n"


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The YAML part as a mapping."""
    manifest = facts.manifest
    licence = _first(facts.tags, "license")
    language = sorted({word for key in ("lang", "language") for word in facts.tags.get(key, ()) if is_language(word)})
    words = [word for key, values in facts.tags.items() if key not in _KNOWN_TAGS for word in values]
    found: dict[str, Any] = {
        "base_model": facts.base if facts.public else None,
        "base_model_relation": "adapter" if facts.public else None,
        "library_name": None if facts.parts else "peft",  # PEFT could not load a stack
        "pipeline_tag": "text-generation",
        **licence_entries(licence),
        "language": language,
        "datasets": _datasets(facts),
        "tags": sorted({"lft", *map(slug, manifest.method.split()), *map(slug, words)} - {""}),
    }
    return {key: value for key, value in found.items() if value}


def _title(facts: CardFacts) -> Iterator[str]:
    manifest = facts.manifest
    rank = f" of rank {manifest.lora.r} on {len(manifest.lora.targets)} modules" if manifest.lora else ""
    made = {"merge": "A merge of adapters", "stack": "Adapters together", "chain": "Adapters on one another"}.get(
        manifest.kind, "An adapter"
    )
    yield f"# {text(facts.repo)}"
    yield ""
    yield f"{made} ({text(manifest.method)}{rank}) for {code(facts.base)}."
    yield f"In the registry that it comes from it is {code(f'{manifest.name}:{manifest.version}')}."
    words = [f"{key}: {', '.join(values)}" for key, values in facts.tags.items() if key not in ("license", "source")]
    if words:
        yield f"Tags: {text('; '.join(words))}."


def _parts(facts: CardFacts) -> Iterator[str]:
    if not facts.parts:
        return
    yield "## Its adapters"
    yield ""
    yield "It has no tensors of its own: these adapters are active at once, each times its weight"
    yield "(layers in brackets)" + (", lowest first." if facts.manifest.kind == "chain" else ".")
    yield ""
    yield from table(
        ("weight", "adapter", "on the hub"),
        [(code(one.weight), code(one.name), code(one.hub)) for one in facts.parts],
    )


def _base(facts: CardFacts) -> Iterator[str]:
    base, tokenizer = facts.manifest.base, facts.manifest.tokenizer
    yield "## Base"
    yield ""
    yield from table(
        ("", ""),
        [
            ("model", code(facts.base)),
            ("revision", code(base.revision) if base.revision else "not recorded"),
            ("fingerprint of its weights", code(base.weights) if base.weights else "not recorded"),
            ("fingerprint of its tokenizer", code(tokenizer.fingerprint) if tokenizer.fingerprint else "not recorded"),
            ("embedding rows at training", f"{base.rows:,}" if base.rows else "not recorded"),
            ("rounded at training", code(base.quantization.kind) if base.quantization else "no"),
        ],
    )
    if facts.below:
        yield ""
        yield "It was trained on top of other adapters, which must be active below it: " + ", ".join(
            map(code, facts.below)
        )
    if base.weights:
        yield ""
        yield "`lft` refuses to put it on any other weights; other programs do not check."


def _data(facts: CardFacts) -> Iterator[str]:
    training = facts.manifest.lineage.training
    yield "## Data"
    yield ""
    if not training:
        yield "Not recorded."
        return
    sources = _sources(facts.recipe)
    if sources:
        yield f"Trained on {', '.join(map(code, sources))}."
    yield f"Content hash of what was trained on: {code(training.data)};"
    yield f"of what was validated on: {code(training.validation or 'none')}."


def _recipe(facts: CardFacts) -> Iterator[str]:
    training = facts.manifest.lineage.training
    merge = facts.manifest.merge
    yield "## Recipe"
    yield ""
    if merge:
        yield f"Merged with {code(merge.method)} {code(merge.params)} in {text(merge.dtype)};"
        yield f"exactness: {text(merge.exactness)}."
    if training:
        yield f"Seed {training.seed}, {text(training.device)} x {training.devices}, {text(training.dtype)},"
        yield (
            f"engine {text(training.engine)}; "
            + ", ".join(text(f"{k} {v}") for k, v in training.packages.items())
            + "."
        )
    if facts.recipe:
        fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall(r"`+", facts.recipe)), default=0))
        yield from ("", f"{fence}yaml", facts.recipe.rstrip(), fence)
    if not (merge or training or facts.recipe):
        yield "Not recorded."


def _evaluation(facts: CardFacts) -> Iterator[str]:
    yield "## Evaluation"
    yield ""
    scores = facts.manifest.evaluation
    if not scores:
        yield "Not evaluated by those who pushed it."
        return
    rows = [
        (
            text(one.suite),
            text(one.metric),
            f"{one.value}{f' ({one.interval[0]} to {one.interval[-1]})' if one.interval else ''}",
            f"{one.n:,}" if one.n is not None else "",
        )
        for one in scores
    ]
    yield from table(("measured on", "metric", "value", "n"), rows)


def _licence(facts: CardFacts) -> Iterator[str]:
    licence = _first(facts.tags, "license")
    yield "## Licence"
    yield ""
    yield f"{text(licence)}, for the adapter." if licence else "Not stated by its author."
    yield "The base has its own licence, which also holds for what is made with it."


def _loading(facts: CardFacts) -> Iterator[str]:
    base = facts.manifest.base
    revision = f", revision={json.dumps(base.revision)}" if base.revision and facts.public else ""
    name = facts.base if facts.public else "FOLDER-OF-THE-BASE"
    yield "## How to load it"
    yield ""
    yield from ("With [lft](https://pypi.org/project/lft/), which checks files and base:", "", "```sh")
    yield from (
        f"lft adapters pull {facts.repo}{_named(facts)}",
        f'lft generate --adapter {facts.manifest.name} "your instruction"',
    )
    if facts.parts:
        yield from (
            "```",
            "",
            "It fetches the adapters too. Other programs load them one by one; for those that take one adapter:",
        )
        yield from ("", "```sh", f"lft adapters export {facts.manifest.name} --to peft --out FOLDER", "```")
        return
    yield from ("```", "", "With PEFT and transformers:", "", "```python")
    yield "from peft import PeftModel"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield f'tokenizer = AutoTokenizer.from_pretrained("{facts.repo if _has_tokenizer(facts) else name}")'
    yield f'model = AutoModelForCausalLM.from_pretrained("{name}"{revision})'
    if facts.manifest.tokenizer.added:
        yield f"model.resize_token_embeddings({base.rows or 'len(tokenizer)'})  # it brings rows of tokens of its own"
    yield f'model = PeftModel.from_pretrained(model, "{facts.repo}")'
    yield "```"


def _named(facts: CardFacts) -> str:
    name = facts.manifest.name
    return "" if name == facts.repo else f" --name {name}"


def _has_tokenizer(facts: CardFacts) -> bool:
    return "tokenizer_config.json" in facts.files


def _limits(facts: CardFacts) -> Iterator[str]:
    manifest = facts.manifest
    yield "## Limits"
    yield ""
    yield "- It inherits what its base and its data get wrong. Nobody checked its answers for truth or harm unless the"
    yield "  evaluation above says so."
    if not facts.public:
        where = "a Python package" if facts.base.startswith(PACKAGE) else "not on the hub"
        yield f"- Its base is {where} ({code(facts.base)}), so other programs must be given the base's folder."
    if not manifest.base.weights:
        yield "- The base's weights were not recorded: that it fits is checked by names and shapes only."
    if manifest.base.quantization:
        yield f"- It learned on the base rounded to {manifest.base.quantization.kind}; on the base itself it differs."
    if manifest.tokenizer.added:
        texts = ", ".join(code(token.text or f"id {token.id}") for token in manifest.tokenizer.added[:8])
        yield f"- It has embedding rows of its own for {texts}; programs that leave them out get other answers."
    if manifest.merge and manifest.merge.error:
        yield f"- The merge was cut to its rank with a relative error of {manifest.merge.error}."


def _files(facts: CardFacts) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield from table(("file", "sha256"), [(code(name), code(digest)) for name, digest in sorted(facts.files.items())])
    if facts.digest:
        yield ""
        yield f"Manifest {code(f'sha256:{facts.digest}')}, made by lft."


def _sources(recipe: str | None) -> list[str]:
    """What the recipe trained on, by its own words."""
    return [str(one["path"]) for one in _trained_on(recipe)]


def _datasets(facts: CardFacts) -> list[str]:
    """Data sets by ids of the hub; a path that only looks like one is not taken for one without a revision."""
    tagged = [word for key in ("dataset", "datasets") for word in facts.tags.get(key, ())]
    pinned = [str(one["path"]) for one in _trained_on(facts.recipe) if one.get("revision")]
    return sorted({name for name in (*tagged, *pinned) if _DATASET.fullmatch(name)})


def _trained_on(recipe: str | None) -> list[dict[str, Any]]:
    from ruamel.yaml import YAML, YAMLError

    try:
        said = YAML(typ="safe", pure=True).load(recipe or "{}")
    except YAMLError:
        return []
    data = said.get("data") if isinstance(said, dict) else None
    train = data.get("train") if isinstance(data, dict) else None
    if isinstance(train, str):
        return [{"path": train}]
    return [one for one in train if isinstance(one, dict) and "path" in one] if isinstance(train, list) else []


def _first(tags: Tags, key: str) -> str:
    return next(iter(tags.get(key, ())), "")
