"""Cards of the catalogue: ``adapters/<ns>/<name>.yaml`` says about an adapter what people want to know.

A card is reviewed in git and read by people; what an adapter is, is said by its digest. The schema is closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lft.adapters.store.layout import Store
from lft.adapters.store.lookup import resolve
from lft.adapters.store.marks import scores, tags
from lft.adapters.store.names import LONGEST
from lft.adapters.store.versions import Stored, version, versions
from lft.errors import InputError
from lft.recipe.document import MappingNode, Node, ScalarNode, plain_value, read_document

NAME: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
VERSION: Final = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"
DIGEST: Final = r"^sha256:[0-9a-f]{64}$"
SOURCE: Final = rf"(^hub:[A-Za-z0-9._-]+/[A-Za-z0-9._-]+@[0-9a-f]{{40}}$)|({DIGEST})"
DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?$"

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]*(:[A-Za-z0-9][A-Za-z0-9._/@-]*)?")

Name = Annotated[str, StringConstraints(max_length=LONGEST, pattern=NAME)]
Version = Annotated[str, StringConstraints(pattern=VERSION)]
Said = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CardVersion(_Closed):
    """A version and what it is."""

    version: Version = Field(description="three numbers")
    digest: Annotated[str, StringConstraints(pattern=DIGEST)] = Field(description="sha256: of its manifest")


class CardScore(_Closed):
    """A measured figure."""

    suite: Said = Field(description="what it was measured on")
    metric: Said = Field(description="what was measured")
    value: Annotated[str, StringConstraints(pattern=DECIMAL)] = Field(description="a decimal, in quotes")
    n: int | None = Field(None, ge=1, description="over how many items")


class Card(_Closed):
    """What the catalogue says about an adapter."""

    name: Name = Field(description="namespace/name; the file is adapters/namespace/name.yaml")
    summary: Said = Field(description="one sentence: what it does, for whom")
    base: Said = Field(description="the base model, with its commit where it has one: id@commit")
    tags: dict[str, tuple[Said, ...]] = Field(description="lang, domain, task ...: lists of words")
    source: Annotated[str, StringConstraints(pattern=SOURCE)] = Field(
        description="where it is had: hub:user/name@commit, or sha256: of the default version's manifest"
    )
    default_version: Version = Field(description="the version to take")
    versions: tuple[CardVersion, ...] = Field(min_length=1, description="all that may be used, newest first")
    depends_on: tuple[Annotated[str, StringConstraints(pattern=NAME[:-1] + ":" + VERSION[1:])], ...] = Field(
        (), description="adapters that lie below it: namespace/name:version"
    )
    license: Said = Field(description="SPDX name of the licence")
    intended_use: Said = Field(description="what it is good for")
    limits: Said = Field(description="what it is not good for, and what was not checked")
    eval: tuple[CardScore, ...] = Field((), description="measured figures")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [one.version for one in self.versions]
        if len(set(known)) < len(known):
            raise ValueError("versions: one is listed twice")
        if self.default_version not in known:
            raise ValueError(f"default_version: {self.default_version} is not among versions")
        return self


def card_schema() -> dict[str, Any]:
    """The JSON schema of a card, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Card.model_json_schema()}


def read_card(path: Path, catalogue: Path) -> Card:
    """A card of a catalogue.

    Raises:
        InputError: it is not YAML, breaks the schema, or lies where another name belongs; the message has all of it.
    """
    document = read_document(path, str(path))
    if document.problems or document.root is None:
        problems = [str(problem) for problem in document.problems] or ["the file is empty"]
        raise InputError("\n".join(problems), fix="see adapters/README.md")
    try:
        card = Card.model_validate_json(_json(document.root))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc'])) or 'card'}: {one['msg']}" for one in error.errors()]
        raise InputError("; ".join(lines), where=str(path), fix="see adapters/README.md") from None
    if path.relative_to(catalogue).as_posix() != f"{card.name}.yaml":
        raise InputError(f"it is the card of {card.name}", where=str(path), fix=f"move it to {card.name}.yaml")
    return card


def card_text(store: Store, stored: Stored) -> str:
    """The card of a stored adapter as YAML: what the registry knows is filled in, what only people know is empty.

    Args:
        store: the registry.
        stored: its default version.
    """
    manifest = stored.manifest
    found = [version(store, manifest.name, number) for number in versions(store, manifest.name)] or [stored]
    labels = dict(tags(store, manifest))
    licence = labels.pop("license", ("",))[0]
    base = manifest.base
    card = Card.model_construct(
        name=manifest.name,
        summary="",
        base=f"{base.id}@{base.revision}" if base.revision else base.id,
        tags=labels,
        source=f"sha256:{stored.digest}",
        default_version=manifest.version,
        versions=tuple(CardVersion(version=one.manifest.version, digest=f"sha256:{one.digest}") for one in found),
        depends_on=tuple(str(resolve(store, f"sha256:{parent}")) for parent in manifest.parents),
        license=licence,
        intended_use="",
        limits="",
        eval=tuple(CardScore(suite=s.suite, metric=s.metric, value=s.value, n=s.n) for s in scores(store, manifest)),
    )
    return "".join(_entry(key, value) for key, value in card)


def _entry(key: str, value: Any) -> str:
    """A key with what belongs there in front, in YAML that people edit; a text in quotes is one of JSON as well."""
    said = f"# {Card.model_fields[key].description}\n{key}:"
    if isinstance(value, Mapping):
        inner = "".join(f"  {_flow(name)}: [{', '.join(map(_flow, words))}]\n" for name, words in value.items())
        return f"{said}\n{inner}" if inner else f"{said} {{}}\n"
    if not isinstance(value, tuple):
        return f"{said} {_flow(value)}\n"
    if not value:
        return f"{said} []\n"
    return f"{said}\n" + "".join(_item(one) for one in value)


def _item(value: Any) -> str:
    if not isinstance(value, BaseModel):
        return f"  - {_flow(value)}\n"
    lines = [f"{key}: {_flow(item)}" for key, item in value if item is not None]
    return f"  - {lines[0]}\n" + "".join(f"    {line}\n" for line in lines[1:])


def _flow(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and isinstance(plain_value(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _json(node: Node) -> str:

    return json.dumps(_plain(node))


def _plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key: _plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, ScalarNode):
        return node.value
    return [_plain(item) for item in node.items]
